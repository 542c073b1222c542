package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// blockFirst returns a Dialer whose attempts to reach address block until they are cancelled.
func blockFirst(address string) *net.Dialer {
	return &net.Dialer{ControlContext: func(ctx context.Context, _, a string, _ syscall.RawConn) error {
		if a == address {
			<-ctx.Done()
		}
		return ctx.Err()
	}}
}

func TestEventsOfAConnectionByName(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		_ = server.Close(nil)
		s.On.Data(func(p []byte) { _, _ = s.Write(p) })
	})
	_, port, _ := net.SplitHostPort(addr)
	var got kit.Notes
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop:         l,
		Resolver:     evtest.IPs("127.0.0.2", "127.0.0.1"),
		AttemptDelay: time.Millisecond,
		Dialer:       blockFirst("127.0.0.2:" + port),
	})
	kit.NoteEvents(s, &got)
	s.On.Data(func([]byte) { s.End() })
	s.Connect("tcp", "name.example:"+port)
	_, _ = s.WriteString("hello")
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{
		"lookup <nil> 127.0.0.2 4 name.example",
		"lookup <nil> 127.0.0.1 4 name.example",
		"attempt tcp4 127.0.0.2:" + port + " 4",
		"slow tcp4 127.0.0.2:" + port + " 4",
		"attempt tcp4 127.0.0.1:" + port + " 4",
		"connect", "ready", "data hello", "finish", "end", "close false",
	}, got)
}

func TestEventsOfAFailure(t *testing.T) {
	l := evnet.NewLoop()
	port := evtest.FreePort(t)
	var got kit.Notes
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.IPs("127.0.0.1", "127.0.0.2"), AttemptDelay: time.Hour})
	kit.NoteEvents(s, &got)
	s.Connect("tcp", net.JoinHostPort("name.example", port))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{
		"lookup <nil> 127.0.0.1 4 name.example",
		"lookup <nil> 127.0.0.2 4 name.example",
		"attempt tcp4 127.0.0.1:" + port + " 4",
		"failed tcp4 127.0.0.1:" + port + " 4 ECONNREFUSED",
		"attempt tcp4 127.0.0.2:" + port + " 4",
		"failed tcp4 127.0.0.2:" + port + " 4 ECONNREFUSED",
		"error ECONNREFUSED", "close true",
	}, got)
}

func TestEventsDrainAndTimeout(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	kit.Meet(t, l, func(s *evnet.Socket) {
		kit.NoteEvents(s, &got)
		s.RemoveAllListeners(evnet.EventData)
		s.Resume()
		_, _ = s.Write(make([]byte, 16<<20))
		assert.True(t, s.NeedDrain())
		s.On.Drain(func() {
			assert.False(t, s.NeedDrain())
			assert.NoError(t, s.SetTimeout(time.Millisecond))
		})
		s.On.Timeout(func() { assert.NoError(t, s.SetTimeout(0)); s.End() })
	}, func(s *evnet.Socket) { s.Resume() })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"drain", "timeout", "finish", "end", "close false"}, got)
}

func TestEventsSecureConnect(t *testing.T) {
	l := evnet.NewLoop()
	var client, server kit.Notes
	c, s := kit.TLSSockets(t, l)
	kit.NoteEvents(c, &client)
	kit.NoteEvents(s, &server)
	_, _ = c.WriteString("hello") // queued until the handshake is done
	s.On.Data(func([]byte) { s.End() })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"secureConnect", "end", "finish", "close false"}, client)
	assert.Equal(t, kit.Notes{"secureConnect", "data hello", "finish", "end", "close false"}, server)
}

// Ending this side of a connection that the peer has reset is not an error itself. The socket reports the reset
// when it reads.
func TestEventsEndAfterReset(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	var accepted *evnet.Socket
	kit.Meet(t, l, func(s *evnet.Socket) {
		accepted = s
		kit.NoteEvents(s, &got)
		s.Pause()
	}, func(s *evnet.Socket) {
		s.On.Connect(func() {
			var wait func()
			wait = func() {
				if accepted == nil {
					l.AfterFunc(0, wait)
					return
				}
				s.Reset()
			}
			s.WriteThen([]byte("x"), func(error) { wait() }) // while unread, it hides the reset behind it
		})
		s.On.Close(func(bool) { accepted.End(); l.AfterFunc(0, accepted.Resume) })
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"finish", "data x", "error ECONNRESET", "close true"}, got)
}

// CloseTimeout starts with End, which may be called before the connection is made.
func TestEventsCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe() // it never ends its side
		s := evnet.NewSocket(&evnet.SocketOptions{
			Loop: l, CloseTimeout: 2 * time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(time.Second)
				return evtest.HalfCloser{Conn: here}, nil
			},
		})
		var got kit.Notes
		kit.NoteEvents(s, &got)
		s.RemoveAllListeners(evnet.EventConnectionAttempt)
		began := time.Now()
		s.Connect("tcp", "127.0.0.1:1")
		s.End()
		kit.Run(t, l)
		assert.Equal(t, 2*time.Second, time.Since(began))
		assert.Equal(t, kit.Notes{"connect", "ready", "finish", "error ETIMEDOUT", "close true"}, got)
		assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
		assert.NoError(t, there.Close())
	})
}

// flakyListener is a listener whose Accept fails once.
type flakyListener struct {
	net.Listener
	once sync.Once
	err  error
}

func (ln *flakyListener) Accept() (conn net.Conn, err error) {
	ln.once.Do(func() { err = ln.err })
	if err != nil {
		return nil, err
	}
	return ln.Listener.Accept()
}

func TestEventsOfAServer(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, MaxConnections: 1})
	server.On.Listening(got.Say("listening"))
	server.On.Error(func(err error) { assert.ErrorIs(t, err, syscall.EMFILE); got.Say("error")() })
	var accepted *evnet.Socket
	server.On.Connection(func(s *evnet.Socket) {
		got.Say("connection")()
		accepted = s
		s.On.Close(func(bool) { got.Say("accepted closed")() })
		assert.Same(t, server, s.Server())
		kit.NewClient(l).Connect("tcp", ln.Addr().String()) // exceeds MaxConnections
	})
	server.On.Drop(func(d evnet.Drop) {
		got.Say("drop")()
		assert.Equal(t, ln.Addr().String(), d.Local.String())
		assert.NotNil(t, d.Remote)
		_ = server.Close(got.Say("closed"))
		accepted.Destroy(nil)
	})
	server.On.Close(got.Say("close"))
	require.NoError(t, server.Serve(&flakyListener{Listener: ln, err: syscall.EMFILE}))
	c := kit.NewClient(l)
	c.Connect("tcp", ln.Addr().String())
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"listening", "error", "connection", "drop", "accepted closed", "close", "closed"}, got)
}

// Shutdown must not depend on a listener that a user can remove.
func TestEventsShutdownWorksWithoutListeners(t *testing.T) {
	l := evnet.NewLoop()
	server, _ := kit.Serve(t, l, nil, nil)
	done := make(chan error, 1)
	server.On.Close(func() { t.Error("it was removed") })
	l.Ref()
	l.Post(func() {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), evtest.Patience/6)
			defer cancel()
			done <- server.Shutdown(ctx)
			l.Unref()
		}()
		for server.Listening() { // until Shutdown has begun; Close is emitted after this callback
			runtime.Gosched()
		}
		server.RemoveAllListeners()
	})
	kit.Run(t, l)
	assert.NoError(t, <-done)
}

// An error with no Error listener is one log record, and does not crash.
func TestEvents_ErrorWithoutListener(t *testing.T) {
	cause := errors.New("a cause")
	cases := map[string]struct {
		level slog.Level
		is    error
		fail  func(s *evnet.Socket, l *evnet.Loop)
	}{
		"refused": {slog.LevelWarn, syscall.ECONNREFUSED, func(s *evnet.Socket, _ *evnet.Loop) {
			s.Connect("tcp", net.JoinHostPort("127.0.0.1", evtest.FreePort(t)))
		}},
		"destroyed": {slog.LevelWarn, cause, func(s *evnet.Socket, _ *evnet.Loop) { s.Destroy(cause) }},
		"reset": {slog.LevelDebug, syscall.ECONNRESET, func(s *evnet.Socket, l *evnet.Loop) {
			var server *evnet.Server
			server, addr := kit.Serve(t, l, nil, func(peer *evnet.Socket) { _ = server.Close(nil); peer.Reset() })
			s.Connect("tcp", addr)
		}},
		"broken pipe": {slog.LevelDebug, syscall.EPIPE, func(s *evnet.Socket, _ *evnet.Loop) {
			s.Destroy(fmt.Errorf("writing: %w", syscall.EPIPE))
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, log := evnet.NewLoop(), &evtest.Records{}
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: slog.New(log)})
			closed := 0
			s.On.Close(func(hadError bool) { closed++; assert.True(t, hadError) })
			c.fail(s, l)
			kit.Run(t, l)
			assert.Equal(t, 1, closed)
			assert.ErrorIs(t, s.Err(), c.is)
			require.Len(t, log.List, 1)
			assert.Equal(t, c.level, log.List[0].Level)
			logged := false
			log.List[0].Attrs(func(a slog.Attr) bool {
				err, _ := a.Value.Any().(error)
				logged = logged || errors.Is(err, c.is)
				return true
			})
			assert.True(t, logged, "the record has the error")
		})
	}

	// With a listener, the error is not logged.
	l, log := evnet.NewLoop(), &evtest.Records{}
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: slog.New(log)})
	s.Once.Error(func(error) {})
	s.Destroy(cause)
	kit.Run(t, l)
	assert.Empty(t, log.List)
}
