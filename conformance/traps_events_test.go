package conformance_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Events must not be emitted before the method that causes them has returned, nor after Destroy.

// After Destroy in the callback of any event, only Error and Close are emitted.
func TestTrapNothingAfterDestroy(t *testing.T) {
	events := []evnet.Event{
		evnet.EventLookup, evnet.EventConnectionAttempt, evnet.EventConnectionAttemptFailed, evnet.EventConnect, evnet.EventReady,
		evnet.EventData, evnet.EventDrain, evnet.EventFinish, evnet.EventEnd, evnet.EventTimeout, evnet.EventError,
	}
	for _, in := range events {
		for _, cause := range []error{nil, evtest.Boom("boom")} {
			t.Run(fmt.Sprint(in, cause), func(t *testing.T) {
				l := evnet.NewLoop()
				server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
					s.On.Error(func(error) {})
					_, _ = s.WriteString("hello")
					s.Pipe(s)
				})
				p := evtest.Port(addr)
				s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, HighWaterMark: -1, Resolver: evtest.IPs("127.0.0.2", "127.0.0.1")})
				var after kit.Notes
				destroyed := false
				kit.SetTracer(l, func(emitter any, event string, _ ...any) {
					if emitter != s {
						return
					}
					if destroyed {
						after = append(after, event)
					}
					if evnet.Event(event) == in && !destroyed {
						destroyed = true
						s.Destroy(cause)
					}
				})
				kit.Consume(s)
				s.On.Error(func(error) {})
				s.On.Close(func(bool) { _ = server.Close(nil) })
				s.On.Ready(func() {
					_, _ = s.Write(make([]byte, 8*evtest.Megabyte))
					if !s.Destroyed() {
						s.SetTimeout(time.Millisecond)
					}
				})
				if in != evnet.EventTimeout { // Timeout is emitted while the connection is idle
					s.On.Drain(s.End)
				}
				if in == evnet.EventError {
					s.Connect("tcp", evtest.ClosedPort(t))
				} else {
					s.Connect("tcp", "name.example:"+p)
				}
				kit.Run(t, l)
				require.True(t, destroyed, "the event was not emitted")
				want := kit.Notes{"close"}
				if cause != nil && in != evnet.EventError {
					want = kit.Notes{"error", "close"}
				}
				assert.Equal(t, want, after)
			})
		}
	}
}

// No event is emitted, and no callback called, before the method that causes it has returned.
func TestTrapNoEventBeforeAMethodReturns(t *testing.T) {
	dir := t.TempDir()
	write := func(s *evnet.Socket) { s.WriteThen([]byte("x"), func(error) {}) }
	methods := map[string]func(s *evnet.Socket, server *evnet.Server, l *evnet.Loop){
		"Connect": func(_ *evnet.Socket, s *evnet.Server, l *evnet.Loop) {
			c := kit.NewClient(l)
			c.Once.Ready(func() { c.Destroy(nil) }) // the server may accept it before or after it is closed
			c.Connect("tcp", s.Address().String())
		},
		"Connect to a path": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) {
			kit.NewClient(l).Connect("unix", filepath.Join(dir, "x"))
		},
		"Connect badly": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) { kit.NewClient(l).Connect("udp", "") },
		"Connect twice": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Connect("tcp", "127.0.0.1:1") },
		"ConnectContext": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) {
			ctx, cancel := context.WithCancel(context.Background())
			kit.NewClient(l).ConnectContext(ctx, "tcp", "name.example:1")
			cancel()
		},
		"Wrap": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) {
			here, there := net.Pipe()
			evnet.Wrap(here, &evnet.SocketOptions{Loop: l}).Resume()
			_ = there.Close()
		},
		"Write": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { _, _ = s.Write(make([]byte, 8*evtest.Megabyte)) },
		"WriteThen": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			called, returned := false, false
			s.WriteThen([]byte("x"), func(error) { called = true; assert.True(t, returned) })
			assert.False(t, called)
			returned = true
		},
		"WriteThen, refused": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			returned := false
			s.Destroy(nil)
			s.WriteThen([]byte("x"), func(err error) { assert.True(t, returned); assert.Error(t, err) })
			returned = true
		},
		"Produce": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			returned := false
			s.Produce(func() ([]byte, bool) { assert.True(t, returned); return nil, false }, func(error) { assert.True(t, returned) })
			returned = true
		},
		"Produce, refused": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			returned := false
			s.Produce(nil, func(err error) { assert.True(t, returned); assert.Error(t, err) })
			returned = true
		},
		"Uncork":              func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Cork(); write(s); s.Uncork() },
		"End":                 func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { write(s); s.End() },
		"End, never opened":   func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) { kit.NewClient(l).End() },
		"Close":               func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { write(s); _ = s.Close() },
		"Destroy":             func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { write(s); s.Destroy(evtest.Boom("boom")) },
		"Destroy, never open": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) { kit.NewClient(l).Destroy(evtest.Boom("boom")) },
		"Reset":               func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Reset() },
		"Reset, never open":   func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) { kit.NewClient(l).Reset() },
		"Resume":              func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Resume() },
		"On.Data":             func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { kit.Consume(s) },
		"Pipe":                func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Pipe(s) },
		"Pipe and Unpipe":     func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { s.Pipe(s); s.Unpipe(nil) },
		"Relay":               func(s *evnet.Socket, _ *evnet.Server, l *evnet.Loop) { evnet.Relay(s, kit.NewClient(l), nil) },
		"OnRead": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			returned := false
			_ = s.OnRead(func([]byte) bool { assert.True(t, returned); return true })
			returned = true
		},
		"Scan": func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) {
			returned := false
			_ = s.Scan(bufio.ScanBytes, 0, func([]byte) { assert.True(t, returned) })
			returned = true
		},
		"SetEncoding":         func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { kit.Consume(s); _ = s.SetEncoding("hex") },
		"Unshift":             func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { kit.Consume(s); _ = s.Unshift([]byte("x")) },
		"SetTimeout":          func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { _ = s.SetTimeout(1) },
		"Detach":              func(s *evnet.Socket, _ *evnet.Server, _ *evnet.Loop) { closeAll(s.Detach()) },
		"Server.Close":        func(_ *evnet.Socket, s *evnet.Server, _ *evnet.Loop) { _ = s.Close(nil) },
		"Shutdown":            func(_ *evnet.Socket, s *evnet.Server, _ *evnet.Loop) { _ = s.Shutdown(context.Background()) },
		"CloseAllConnections": func(_ *evnet.Socket, s *evnet.Server, _ *evnet.Loop) { s.CloseAllConnections() },
		"Listen": func(_ *evnet.Socket, _ *evnet.Server, l *evnet.Loop) {
			s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			s.Unref()
			returned := false
			assert.NoError(t, s.Listen("tcp", "127.0.0.1:0", func() { assert.True(t, returned) }))
			assert.ErrorIs(t, s.Listen("tcp", "127.0.0.1:0", nil), evnet.ErrServerAlreadyListening)
			returned = true
		},
	}
	for name, call := range methods {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			inside := false
			kit.SetTracer(l, func(_ any, event string, _ ...any) {
				assert.False(t, inside, "%s, before the method has returned", event)
			})
			server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
				s.On.Error(func(error) {})
				_, _ = s.WriteString("hello")
				s.Resume()
				s.On.End(s.End)
			})
			s := kit.NewClient(l)
			s.On.Error(func(error) {})
			s.On.Ready(func() {
				var look func()
				look = func() { // until there is data to deliver
					if s.ReadableLength() == 0 {
						l.Post(look)
						return
					}
					inside = true
					call(s, server, l)
					inside = false
					l.AfterFunc(0, func() { // ends the socket after any method
						s.Destroy(nil)
						_ = server.Close(nil)
						server.CloseAllConnections()
					})
				}
				look()
			})
			s.Connect("tcp", addr)
			kit.Run(t, l)
			assert.True(t, s.Destroyed())
		})
	}
}

func closeAll(conn io.Closer, _ []byte, err error) {
	if err == nil {
		_ = conn.Close()
	}
}

// If the directory of the path is missing, Listen returns that error: ENOENT.
func TestTrapMissingDirectory(t *testing.T) {
	s := evnet.NewServer(nil)
	err := s.Listen("unix", filepath.Join(t.TempDir(), "missing", "socket"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Equal(t, "ENOENT", evnet.Code(err))
	assert.False(t, s.Listening())
}
