package trust

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program's own conns, made by SocketOptions.Dial or passed to Wrap, in which methods other than Read and Write
// misbehave.

// dialing makes a socket on l whose Dial is fn.
func dialing(l *evnet.Loop, opts evnet.SocketOptions, fn func(ctx context.Context) (net.Conn, error)) *evnet.Socket {
	opts.Loop = l
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	opts.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return fn(ctx) }
	return evnet.NewSocket(&opts)
}

// counted records the messages of a log.
type counted struct {
	slog.Handler
	mu   sync.Mutex
	seen []string
}

func (c *counted) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, r.Message)
	return nil
}

// If Dial returns a conn after its socket was abandoned, the conn is closed, however its Close behaves. Only the
// return of Run waits for it.
func TestNonConforming_ConnsThatArriveLate(t *testing.T) {
	t.Run("slow to close", func(t *testing.T) {
		conn, peer := newCustomConn()
		defer peer.Close()
		l := evnet.NewLoop()
		continued := make(chan struct{}) // closed when the loop has continued
		conn.close = func() error { <-continued; return conn.Conn.Close() }
		s := dialing(l, evnet.SocketOptions{}, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return conn, nil })
		s.On.ConnectionAttempt(func(evnet.Attempt) { l.Post(func() { s.Destroy(nil) }) })
		var poll func()
		poll = func() {
			if conn.closes.Load() == 0 {
				l.AfterFunc(0, poll)
				return
			}
			close(continued)
		}
		poll()
		s.Connect("tcp", "127.0.0.1:1")
		run(t, l)
		assert.EqualValues(t, 1, conn.closes.Load())
	})

	t.Run("panics when closed", func(t *testing.T) {
		conn, peer := newCustomConn()
		defer peer.Close()
		l := evnet.NewLoop()
		conn.close = func() error { _ = conn.Conn.Close(); panic(errCause) }
		log := &counted{Handler: slog.NewTextHandler(io.Discard, nil)}
		s := dialing(l, evnet.SocketOptions{Logger: slog.New(log)}, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return conn, nil })
		s.On.ConnectionAttempt(func(evnet.Attempt) { l.Post(func() { s.Destroy(nil) }) })
		s.Connect("tcp", "127.0.0.1:1")
		require.NotPanics(t, func() { run(t, l) })
		assert.Equal(t, []string{"evnet: closing a conn has panicked"}, log.seen)
	})

	t.Run("a nil pointer with an error", func(t *testing.T) { // like the result of tls.Dial in an interface
		l := evnet.NewLoop()
		s := dialing(l, evnet.SocketOptions{}, func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			var none *tls.Conn
			return none, ctx.Err()
		})
		s.On.ConnectionAttempt(func(evnet.Attempt) { l.Post(func() { s.Destroy(nil) }) })
		s.Connect("tcp", "127.0.0.1:1")
		require.NotPanics(t, func() { run(t, l) })
		assert.NoError(t, s.Err())
	})
}

// panickingAddr has an address that panics.
type panickingAddr struct{ *customConn }

func (panickingAddr) LocalAddr() net.Addr { panic(errCause) }

// optionConn calls functions when its options are set.
type optionConn struct {
	*customConn
	noDelay, keepAlive func()
}

func (c optionConn) SetNoDelay(bool) error                        { c.noDelay(); return nil }
func (c optionConn) SetKeepAliveConfig(net.KeepAliveConfig) error { c.keepAlive(); return nil }

// If the address of a conn from Dial panics, that only affects the conn's own socket, and the conn is closed.
func TestNonConforming_AddressesOfDialedConns(t *testing.T) {
	conn, peer := newCustomConn()
	defer peer.Close()
	l := evnet.NewLoop()
	var reported []any
	l.OnPanic(func(err *evnet.PanicError) { reported = append(reported, err.Value) })
	s := dialing(l, evnet.SocketOptions{}, func(context.Context) (net.Conn, error) { return panickingAddr{conn}, nil })
	closed := 0
	s.On.Close(func(bool) { closed++ })
	s.Connect("tcp", "127.0.0.1:1")
	run(t, l)
	assert.Equal(t, []any{errCause}, reported)
	assert.ErrorIs(t, s.Err(), errCause)
	assert.Equal(t, 1, closed)
	assert.EqualValues(t, 1, conn.closes.Load())
}

// If setting an option of a conn panics, that only affects its own socket, because no lock is held then.
func TestNonConforming_Options(t *testing.T) {
	fine := func() {}
	boom := func() { panic(errCause) }
	for name, with := range map[string]func(conn *customConn) optionConn{
		"NoDelay":   func(conn *customConn) optionConn { return optionConn{conn, boom, fine} },
		"KeepAlive": func(conn *customConn) optionConn { return optionConn{conn, fine, boom} },
	} {
		opts := evnet.SocketOptions{NoDelay: true, KeepAlive: time.Minute, Logger: quiet}
		for how, made := range map[string]func(t *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)){
			"Dial": func(_ *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)) {
				s := dialing(l, opts, func(context.Context) (net.Conn, error) { return conn, nil })
				s.On.Connect(func() { assert.Fail(t, "Connect was emitted after Destroy") })
				s.On.Close(func(bool) { closed(s) })
				s.Connect("tcp", "127.0.0.1:1")
			},
			"Wrap": func(_ *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)) {
				opts.Loop = l
				s := evnet.Wrap(conn, &opts)
				s.On.Close(func(bool) { closed(s) })
			},
			"Server": func(t *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)) {
				server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, NoDelay: true, KeepAlive: time.Minute, Logger: quiet})
				server.On.Connection(func(*evnet.Socket) { assert.Fail(t, "Connection was emitted after Destroy") })
				ln := listenerOf(conn)
				require.NoError(t, server.Serve(ln))
				var poll func()
				poll = func() {
					sockets := server.Sockets()
					if len(sockets) == 0 && len(ln.conns) > 0 {
						l.AfterFunc(0, poll)
						return
					}
					_ = server.Close(func() { assert.Zero(t, server.Connections()) })
				}
				poll()
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				conn, peer := newCustomConn()
				defer peer.Close()
				l := evnet.NewLoop()
				made(t, l, with(conn), func(s *evnet.Socket) { assert.ErrorIs(t, s.Err(), errCause) })
				run(t, l)
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		}
	}
}
