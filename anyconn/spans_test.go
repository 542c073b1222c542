package anyconn

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
)

// spans makes a span of each connection, from its first event to its Close.
func spans(start func(name string) (event func(name string, bytes int), end func(error))) evnet.Tracer {
	type span struct {
		event func(string, int)
		end   func(error)
	}
	open := map[*evnet.Socket]span{}
	return func(ev evnet.TraceEvent) {
		s := ev.Socket
		if s == nil {
			return
		}
		if _, ok := open[s]; !ok {
			event, end := start("connection")
			open[s] = span{event, end}
		}
		open[s].event(string(ev.Name), len(ev.Chunk))
		if ev.Name == evnet.EventClose {
			open[s].end(s.Err())
			delete(open, s)
		}
	}
}

// openTelemetry returns the function with which spans starts a span.
func openTelemetry(tracer api.Tracer) func(string) (func(string, int), func(error)) {
	return func(name string) (func(string, int), func(error)) {
		_, span := tracer.Start(context.Background(), name)
		event := func(name string, bytes int) {
			span.AddEvent(name, api.WithAttributes(attribute.Int("bytes", bytes)))
		}
		end := func(err error) {
			if err != nil {
				span.RecordError(err)
				span.SetStatus(codes.Error, err.Error())
			}
			span.End()
		}
		return event, end
	}
}

// The guide contains spans exactly as it is written here.
func TestSpans_EqualTheGuide(t *testing.T) {
	here, err := os.ReadFile("spans_test.go")
	require.NoError(t, err)
	guide, err := os.ReadFile("../docs/guide.md")
	require.NoError(t, err)
	_, shim, _ := strings.Cut(string(here), "// spans makes")
	shim, _, _ = strings.Cut(shim, "\n\n")
	assert.Contains(t, string(guide), "// spans makes"+shim+"\n```")
}

// Each connection becomes an OpenTelemetry span with its events. A failure is the span's error.
func TestSpansOfOpenTelemetry(t *testing.T) {
	recorded := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorded))
	l := evnet.NewLoop()
	l.SetTracer(spans(openTelemetry(provider.Tracer("evnet"))))
	client, server := tcpConns(t)
	echo := evnet.Wrap(server, &evnet.SocketOptions{Loop: l})
	echo.Pipe(echo)
	go func() {
		_, _ = io.WriteString(client, "hello")
		_ = client.(*net.TCPConn).CloseWrite()
		_, _ = io.ReadAll(client)
		_ = client.Close()
	}()
	l.Run()
	refused := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	refused.On.Error(func(error) {})
	refused.Connect("tcp", server.LocalAddr().String()) // its listener is closed
	l.Run()
	require.NoError(t, provider.Shutdown(t.Context()))

	ended := recorded.Ended()
	require.Len(t, ended, 2)
	names := func(span trace.ReadOnlySpan) (all []string) {
		for _, ev := range span.Events() {
			all = append(all, ev.Name)
		}
		return all
	}
	assert.Equal(t, "connection", ended[0].Name())
	assert.Equal(t, []string{"data", "end", "finish", "close"}, names(ended[0]))
	assert.Equal(t, []attribute.KeyValue{attribute.Int("bytes", 5)}, ended[0].Events()[0].Attributes)
	assert.Equal(t, codes.Unset, ended[0].Status().Code)
	assert.Equal(t, []string{"connectionAttempt", "connectionAttemptFailed", "error", "close", "exception"}, names(ended[1]))
	assert.Equal(t, codes.Error, ended[1].Status().Code)
	assert.True(t, errors.Is(refused.Err(), syscall.ECONNREFUSED))
}
