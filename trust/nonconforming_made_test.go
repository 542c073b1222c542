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

// Conns of the program's own, made by SocketOptions.Dial or given to Wrap, whose other methods than Read and
// Write misbehave.

// dialing makes a socket on l whose Dial is fn.
func dialing(l *evnet.Loop, opts evnet.SocketOptions, fn func(ctx context.Context) (net.Conn, error)) *evnet.Socket {
	opts.Loop = l
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	opts.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return fn(ctx) }
	return evnet.NewSocket(&opts)
}

// counted notes the messages of a log.
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

// A conn that comes when its socket is given up is closed, however it takes that, and nobody waits for it but
// Run's return.
func TestNonConforming_ConnsThatArriveLate(t *testing.T) {
	t.Run("slow to close", func(t *testing.T) {
		conn, peer := odd()
		defer peer.Close()
		l := evnet.NewLoop()
		went := make(chan struct{}) // the loop has gone on
		conn.close = func() error { <-went; return conn.Conn.Close() }
		s := dialing(l, evnet.SocketOptions{}, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return conn, nil })
		s.On.ConnectionAttempt(func(evnet.Attempt) { l.Post(func() { s.Destroy(nil) }) })
		var look func()
		look = func() {
			if conn.closes.Load() == 0 {
				l.AfterFunc(0, look)
				return
			}
			close(went)
		}
		look()
		s.Connect("tcp", "127.0.0.1:1")
		run(t, l)
		assert.EqualValues(t, 1, conn.closes.Load())
	})

	t.Run("panics when closed", func(t *testing.T) {
		conn, peer := odd()
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

	t.Run("a nil pointer beside an error", func(t *testing.T) { // as tls.Dial's answer in an interface
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

// nowhere has an address that panics.
type nowhere struct{ *oddConn }

func (nowhere) LocalAddr() net.Addr { panic(errCause) }

// delayed has options that panic.
type delayed struct {
	*oddConn
	noDelay, keepAlive func()
}

func (c delayed) SetNoDelay(bool) error                        { c.noDelay(); return nil }
func (c delayed) SetKeepAliveConfig(net.KeepAliveConfig) error { c.keepAlive(); return nil }

// A conn that Dial has made and whose address panics costs its own socket, and is closed.
func TestNonConforming_AddressesOfDialedConns(t *testing.T) {
	conn, peer := odd()
	defer peer.Close()
	l := evnet.NewLoop()
	var told []any
	l.OnPanic(func(err *evnet.PanicError) { told = append(told, err.Value) })
	s := dialing(l, evnet.SocketOptions{}, func(context.Context) (net.Conn, error) { return nowhere{conn}, nil })
	closed := 0
	s.On.Close(func(bool) { closed++ })
	s.Connect("tcp", "127.0.0.1:1")
	run(t, l)
	assert.Equal(t, []any{errCause}, told)
	assert.ErrorIs(t, s.Err(), errCause)
	assert.Equal(t, 1, closed)
	assert.EqualValues(t, 1, conn.closes.Load())
}

// One whose options panic when they are set costs its own socket: no lock is held then.
func TestNonConforming_Options(t *testing.T) {
	fine := func() {}
	boom := func() { panic(errCause) }
	for name, with := range map[string]func(conn *oddConn) delayed{
		"NoDelay":   func(conn *oddConn) delayed { return delayed{conn, boom, fine} },
		"KeepAlive": func(conn *oddConn) delayed { return delayed{conn, fine, boom} },
	} {
		opts := evnet.SocketOptions{NoDelay: true, KeepAlive: time.Minute, Logger: quiet}
		for how, made := range map[string]func(t *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)){
			"Dial": func(_ *testing.T, l *evnet.Loop, conn net.Conn, closed func(s *evnet.Socket)) {
				s := dialing(l, opts, func(context.Context) (net.Conn, error) { return conn, nil })
				s.On.Connect(func() { assert.Fail(t, "Connect comes after Destroy") })
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
				server.On.Connection(func(*evnet.Socket) { assert.Fail(t, "Connection comes after Destroy") })
				ln := give(conn)
				require.NoError(t, server.Serve(ln))
				var look func()
				look = func() {
					sockets := server.Sockets()
					if len(sockets) == 0 && len(ln.conns) > 0 {
						l.AfterFunc(0, look)
						return
					}
					_ = server.Close(func() { assert.Zero(t, server.Connections()) })
				}
				look()
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				conn, peer := odd()
				defer peer.Close()
				l := evnet.NewLoop()
				made(t, l, with(conn), func(s *evnet.Socket) { assert.ErrorIs(t, s.Err(), errCause) })
				run(t, l)
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		}
	}
}
