package evnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Tracer gets each event before its callbacks, with the event's arguments, its emitter and the counters.
func TestTracer(t *testing.T) {
	l := evnet.NewLoop()
	var seen []string
	var last time.Time
	of := map[any]string{}
	l.SetTracer(func(ev evnet.TraceEvent) {
		assert.False(t, ev.Time.Before(last))
		last = ev.Time
		line := fmt.Sprint(of[ev.Source], " ", ev.Name)
		if s, ok := ev.Source.(*evnet.Socket); ok {
			assert.Same(t, s, ev.Socket)
			assert.EqualValues(t, s.BytesRead(), ev.BytesRead)
			assert.EqualValues(t, s.BytesWritten(), ev.BytesWritten)
			assert.Equal(t, s.BufferedAmount(), ev.BufferedAmount)
		}
		switch ev.Name {
		case evnet.EventConnection:
			of[ev.Socket] = "accepted"
		case evnet.EventData:
			line += fmt.Sprintf(" %q", ev.Chunk)
		case evnet.EventConnectionAttempt:
			line += " " + ev.Attempt.Network
		case evnet.EventLookup:
			line += " " + ev.Lookup.Address
		case evnet.EventClose:
			line += fmt.Sprint(" ", ev.HadError)
		case evnet.EventError:
			line += " " + evnet.Code(ev.Err)
		}
		seen = append(seen, line)
	})
	callbackAt := 0
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	of[server] = "server"
	server.On.Connection(func(s *evnet.Socket) {
		callbackAt = len(seen)
		s.Pipe(s)
	})
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.IPs("127.0.0.1"), Family: 4})
	of[c] = "client"
	c.On.Data(func([]byte) { c.Destroy(evtest.Boom("enough")) })
	c.On.Error(func(error) {})
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", "name.test:"+evtest.Port(server.Address().String()))
	_, _ = c.WriteString("ping")
	kit.Run(t, l)

	assert.Equal(t, "server connection", seen[callbackAt-1], "the callback ran before")
	order := func(whose string) (lines []string) {
		for _, line := range seen {
			if rest, ok := strings.CutPrefix(line, whose+" "); ok {
				lines = append(lines, rest)
			}
		}
		return lines
	}
	assert.Equal(t, []string{"lookup 127.0.0.1", "connectionAttempt tcp4", "connect", "ready", `data "ping"`, "error ", "close true"}, order("client"))
	assert.Equal(t, []string{"listening", "connection", "close false"}, order("server"))
	assert.Equal(t, []string{`data "ping"`, "end", "finish", "close false"}, order("accepted"))
}

// A Tracer sees all data that Pipe forwards, even where it would be spliced otherwise. SetTracer(nil) removes it.
func TestTracerSeesWhatIsPiped(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	for _, traced := range []bool{true, false} {
		l := evnet.NewLoop()
		var passed bytes.Buffer
		tracer := func(ev evnet.TraceEvent) {
			if ev.Name == evnet.EventData && ev.Source != nil {
				passed.Write(ev.Chunk)
			}
		}
		l.SetTracer(tracer)
		if !traced {
			l.SetTracer(nil)
		}
		got := evtest.NewSum()
		fan(t, l, 1, 0, func(source, middle *evnet.Socket, near, far []*evnet.Socket) {
			far[0].OnRead(func(p []byte) bool { _, _ = got.Write(p); return true })
			_, _ = source.Write(want)
			source.End()
			far[0].On.End(func() { source.Destroy(nil) })
		})
		kit.Run(t, l)
		got.Check(t, want)
		if traced {
			evtest.AssertEqualBytes(t, want, passed.Bytes())
		} else {
			assert.Zero(t, passed.Len())
		}
	}
}

// A Tracer may be changed at any time, from any goroutine, and may call any method.
func TestTracerChanges(t *testing.T) {
	l := evnet.NewLoop()
	var events, after atomic.Int32
	second := func(evnet.TraceEvent) { after.Add(1) }
	first := func(ev evnet.TraceEvent) {
		if events.Add(1); ev.Name == evnet.EventConnect {
			ev.Socket.SetNoDelay(true)
			_, _ = ev.Socket.WriteString("from the tracer")
			var elsewhere sync.WaitGroup
			elsewhere.Go(func() { l.SetTracer(second) })
			elsewhere.Wait()
		}
	}
	l.SetTracer(first)
	said := ""
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.On.Data(func(p []byte) { said += string(p); a.End() })
		kit.Consume(c)
	})
	kit.Run(t, l)
	assert.Equal(t, "from the tracer", said)
	assert.NotZero(t, events.Load())
	assert.NotZero(t, after.Load())
}

// A panic in a Tracer counts as a panic in a callback of the socket.
func TestTracerPanics(t *testing.T) {
	l := evnet.NewLoop()
	l.SetTracer(func(ev evnet.TraceEvent) {
		if ev.Name == evnet.EventReady {
			panic("tracer")
		}
	})
	var reported *evnet.PanicError
	l.OnPanic(func(err *evnet.PanicError) { reported = err })
	var client *evnet.Socket
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	server.On.Connection(func(s *evnet.Socket) { s.Resume(); _ = server.Close(nil) })
	client = evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	client.On.Error(func(error) {})
	client.Connect("tcp", server.Address().String())
	kit.Run(t, l)
	require.NotNil(t, reported)
	assert.Equal(t, "tracer", reported.Value)
	var cause *evnet.PanicError
	assert.True(t, errors.As(client.Err(), &cause))
}
