package watch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/dgram"
	"evnet/watch"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a client that sends "ping" to an echo server, a client that the server drops, a datagram socket that sends to
// itself, and then a client that fails to connect. It returns the addresses.
func play(t *testing.T, tracer evnet.Tracer) (addr map[string]string) {
	l := evnet.NewLoop()
	l.SetTracer(tracer)
	addr = map[string]string{}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, MaxConnections: 1})
	server.On.Connection(func(s *evnet.Socket) { s.Pipe(s) })
	server.On.Drop(func(evnet.Drop) {})
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	addr["server"] = server.Address().String()

	failing := func() {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
		s.On.Error(func(error) {})
		s.Connect("tcp", addr["server"]) // the server has closed
	}
	client := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	client.On.Data(func(p []byte) { client.End() })
	client.On.Close(func(bool) {
		_ = server.Close(nil)
		failing()
	})
	second := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	second.On.Error(func(error) {})
	second.On.Close(func(bool) { _, _ = client.WriteString("ping") }) // the server has dropped it
	second.Resume()
	client.On.Connect(func() {
		addr["client"] = client.LocalAddr().String()
		second.Connect("tcp", addr["server"])
	})
	client.Connect("tcp", addr["server"])

	u, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Loop: l})
	require.NoError(t, err)
	u.On.Message(func([]byte, netip.AddrPort) { _ = u.Close(nil) })
	require.NoError(t, u.Bind("127.0.0.1:0", nil))
	addr["dgram"] = u.Address().String()
	require.NoError(t, u.Send([]byte("datagram"), addr["dgram"], nil))
	hung := time.AfterFunc(time.Minute, func() { panic("Run does not return") })
	l.Run()
	hung.Stop()
	return addr
}

func TestSlog(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	began := time.Now()
	addr := play(t, watch.Slog(logger, slog.LevelDebug))

	var records []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		assert.Equal(t, "DEBUG", r["level"])
		at, err := time.Parse(time.RFC3339Nano, r["time"].(string))
		require.NoError(t, err)
		assert.False(t, at.Before(began.Truncate(time.Millisecond)), line)
		delete(r, "level")
		delete(r, "time")
		records = append(records, r)
	}
	client := map[string]any{"local": addr["client"], "remote": addr["server"]}
	accepted := map[string]any{"local": addr["server"], "remote": addr["client"]}
	with := func(of map[string]any, more ...any) map[string]any {
		r := map[string]any{}
		for k, v := range of {
			r[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			r[more[i].(string)] = more[i+1]
		}
		return r
	}
	for _, want := range []map[string]any{
		with(nil, "msg", "server listening", "local", addr["server"]),
		with(nil, "msg", "connectionAttempt", "network", "tcp4", "address", addr["server"]),
		with(client, "msg", "connect"),
		with(accepted, "msg", "server connection"),
		with(client, "msg", "data", "bytes", 4.0),
		with(accepted, "msg", "data", "bytes", 4.0),
		with(client, "msg", "close", "read", 4.0, "written", 4.0, "unsent", 0.0),
		with(nil, "msg", "server close"),
		with(nil, "msg", "dgram listening", "local", addr["dgram"]),
		with(nil, "msg", "dgram message", "local", addr["dgram"], "from", addr["dgram"], "bytes", 8.0),
		with(nil, "msg", "dgram close", "local", addr["dgram"]),
	} {
		assert.True(t, slices.ContainsFunc(records, func(r map[string]any) bool { return reflect.DeepEqual(r, want) }), "%v is not in\n%s", want, &out)
	}
	var drop, failed bool
	for _, r := range records {
		drop = drop || r["msg"] == "server drop" && r["local"] == addr["server"] && r["remote"] != nil && r["reason"] == "MaxConnections"
		failed = failed || r["msg"] == "error" && r["code"] == "ECONNREFUSED" && strings.Contains(fmt.Sprint(r["err"]), "refused")
	}
	assert.True(t, drop && failed, out.String())
	assert.NotContains(t, out.String(), "ping", "the data is not logged")
}

// Below the logger's level nothing is logged. Without a logger the records go to the default logger.
func TestSlogLevel(t *testing.T) {
	var out bytes.Buffer
	was := slog.Default()
	defer slog.SetDefault(was)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	play(t, watch.Join(nil, watch.Slog(nil, slog.LevelDebug)))
	assert.Empty(t, out.String())
	play(t, watch.Join(watch.Slog(nil, slog.LevelInfo), nil))
	assert.Contains(t, out.String(), "connectionAttempt")
}

func TestCounters(t *testing.T) {
	counters := &watch.Counters{}
	var v expvar.Var = counters
	assert.JSONEq(t, `{"open":0,"bytesRead":0,"bytesWritten":0,"buffered":0,"events":{},"errors":{},"drops":{}}`, v.String())
	var most int
	var during watch.Counts
	play(t, watch.Join(counters.Trace, func(ev evnet.TraceEvent) {
		now := counters.Counts()
		if most = max(most, now.Open); ev.Name == evnet.EventData && during.Events == nil {
			during = now
		}
	}))
	now := counters.Counts()
	assert.Zero(t, now.Open)
	assert.GreaterOrEqual(t, most, 2)
	assert.EqualValues(t, 4, during.BytesRead, "bytes of an open socket")
	assert.EqualValues(t, 8, now.BytesRead)
	assert.EqualValues(t, 8, now.BytesWritten)
	for name, n := range map[string]int{
		"connect": 2, "server connection": 1, "server drop": 1, "data": 2, "dgram message": 1, "server close": 1, "close": 4, "end": 2,
	} {
		if name == "end" {
			assert.GreaterOrEqual(t, now.Events[name], int64(n)) // the dropped client may get a reset instead
			continue
		}
		assert.EqualValues(t, n, now.Events[name], name)
	}
	assert.EqualValues(t, 1, now.Errors["ECONNREFUSED"])
	assert.Equal(t, map[string]int64{"MaxConnections": 1}, now.Drops)
	now.Events["connect"] = 0 // the caller owns the maps
	assert.EqualValues(t, 2, counters.Counts().Events["connect"])
	var decoded watch.Counts
	require.NoError(t, json.Unmarshal([]byte(v.String()), &decoded))
	assert.Equal(t, counters.Counts(), decoded)
}

// Several loops may share the Counters, and any goroutine may read them meanwhile.
func TestCountersOfSeveralLoops(t *testing.T) {
	counters := &watch.Counters{}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { play(t, counters.Trace) })
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	for {
		select {
		case <-done:
			now := counters.Counts()
			assert.EqualValues(t, 8, now.Events["connect"])
			assert.Zero(t, now.Open)
			return
		default:
			_ = counters.String()
		}
	}
}

// The buffered bytes of a loop are counted once, not for each of its sockets.
func TestCountersOfBufferedBytes(t *testing.T) {
	counters := &watch.Counters{}
	l := evnet.NewLoop()
	l.SetTracer(counters.Trace)
	var peers []net.Conn
	var buffered int64
	for range 2 {
		here, there := net.Pipe()
		peers = append(peers, there)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		s.On.Data(func([]byte) {
			_, _ = s.Write(make([]byte, 1000))
			l.Post(func() { // after the write has been counted
				if l.Buffered() == 2000 {
					buffered = counters.Counts().Buffered
					for _, peer := range peers {
						_ = peer.Close()
					}
				}
			})
		})
	}
	go func() {
		for _, peer := range peers {
			_, _ = peer.Write([]byte("x"))
		}
	}()
	l.Run()
	assert.EqualValues(t, 2000, buffered)
	assert.Zero(t, counters.Counts().Buffered)
}

// An error without a code is counted too.
func TestCountersWithoutACode(t *testing.T) {
	counters := &watch.Counters{}
	l := evnet.NewLoop()
	l.SetTracer(counters.Trace)
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	s.On.Error(func(error) {})
	s.Destroy(errors.New("enough"))
	l.Run()
	assert.Equal(t, map[string]int64{"": 1}, counters.Counts().Errors)
}

// A socket that is not connected does not emit Close and does not count as open.
func TestCountersOfUnconnectedSockets(t *testing.T) {
	counters := &watch.Counters{}
	l := evnet.NewLoop()
	l.SetTracer(counters.Trace)
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	s.On.Timeout(func() { l.Unref() })
	l.Ref()
	require.NoError(t, s.SetTimeout(time.Nanosecond))
	l.Run()
	now := counters.Counts()
	assert.EqualValues(t, 1, now.Events["timeout"])
	assert.Zero(t, now.Open)
}
