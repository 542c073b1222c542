package trust

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// customListener is a listener whose methods a test can replace.
type customListener struct {
	net.Listener
	accept func() (net.Conn, error)
	addr   func() net.Addr
	close  func() error
}

func (ln *customListener) Accept() (net.Conn, error) {
	if ln.accept != nil {
		return ln.accept()
	}
	return ln.Listener.Accept()
}

func (ln *customListener) Addr() net.Addr {
	if ln.addr != nil {
		return ln.addr()
	}
	return ln.Listener.Addr()
}

func (ln *customListener) Close() error {
	if ln.close != nil {
		defer ln.Listener.Close()
		return ln.close()
	}
	return ln.Listener.Close()
}

// A listener whose Accept does not return affects only its own server, which reports an error and closes.
func TestNonConforming_Listeners(t *testing.T) {
	t.Run("Accept panics or exits", func(t *testing.T) {
		for name, boom := range map[string]func(){
			"panic": func() { panic(errCause) }, "Goexit": runtime.Goexit,
		} {
			t.Run(name, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l := evnet.NewLoop()
					server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l, l}, Logger: quiet})
					var events []string
					server.On.Error(func(err error) {
						var panicked *evnet.PanicError
						assert.ErrorAs(t, err, &panicked)
						assert.Equal(t, name == "panic", errors.Is(err, errCause))
						events = append(events, "error")
					})
					server.On.Close(func() { events = append(events, "close") })
					require.NoError(t, server.Serve(&customListener{Listener: listenerOf(), accept: func() (net.Conn, error) { boom(); return nil, nil }}))
					run(t, l)
					assert.Equal(t, []string{"error", "close"}, events)
				})
			})
		}
	})

	t.Run("Accept returns neither a conn nor an error", func(t *testing.T) {
		onEach(t, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
			inner, nothing, failed := listenerOf(here), 2, 0
			server.On.Error(func(err error) { assert.ErrorContains(t, err, "neither"); failed++ })
			server.On.Connection(func(c *evnet.Socket) { c.Destroy(nil); _ = server.Close(nil) })
			require.NoError(t, server.Serve(&customListener{Listener: inner, accept: func() (net.Conn, error) {
				if nothing--; nothing >= 0 {
					return nil, nil
				}
				return inner.Accept()
			}}))
			run(t, l)
			assert.Equal(t, 2, failed)
		})
	})

	t.Run("Close panics", func(t *testing.T) {
		onEach(t, func(t *testing.T) {
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
			closed := false
			require.NoError(t, server.Serve(&customListener{Listener: listenerOf(), close: func() error { panic(errCause) }}))
			l.Post(func() { assert.NoError(t, server.Close(func() { closed = true })) })
			run(t, l)
			assert.True(t, closed)
		})
	})

	t.Run("Addr panics", func(t *testing.T) {
		onEach(t, func(t *testing.T) {
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
			ln := &customListener{Listener: listenerOf(), addr: func() net.Addr { panic(errCause) }}
			assert.PanicsWithError(t, errCause.Error(), func() { _ = server.Serve(ln) }, "in the caller")
			assert.False(t, server.Listening())
			run(t, l) // nothing keeps the loop running
			require.NoError(t, server.Listen("tcp", "127.0.0.1:0", func() { _ = server.Close(nil) }))
			run(t, l)
		})
	})
}

// panickingLocalAddr is a conn whose own address panics.
type panickingLocalAddr struct{ net.Conn }

func (c panickingLocalAddr) LocalAddr() net.Addr { panic(errCause) }

// If the address of a conn panics, the panic is handled like a callback's. With a hook, the server continues, and the
// conn is closed.
func TestNonConforming_Addresses(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var reported []any
		l.OnPanic(func(err *evnet.PanicError) { reported = append(reported, err.Value) })
		bad, badPeer := net.Pipe()
		good, goodPeer := net.Pipe()
		defer goodPeer.Close()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
		server.On.Connection(func(c *evnet.Socket) { c.Destroy(nil); _ = server.Close(nil) })
		require.NoError(t, server.Serve(listenerOf(panickingLocalAddr{bad}, good)))
		run(t, l)
		assert.Equal(t, []any{errCause}, reported)
		_, err := badPeer.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err, "the conn was closed")

		assert.PanicsWithError(t, errCause.Error(), func() { wrap(l, panickingLocalAddr{bad}) }, "in the caller")
		run(t, l)
	})
}

// partialConn is a conn that returns everything io allows, one after the other: nothing, a part, a temporary error.
// Its last bytes arrive together with EOF.
type partialConn struct {
	net.Conn
	size         int // of all data that the conn reads
	reads, wrote int
}

func (c *partialConn) Read(p []byte) (int, error) {
	switch c.reads++; c.reads % 5 {
	case 1:
		return 0, nil
	case 2:
		return 0, temporaryError{}
	case 3:
		p = p[:min(len(p), 1)]
	}
	n, err := c.Conn.Read(p)
	if c.size -= n; err == nil && c.size == 0 {
		err = io.EOF
	}
	return n, err
}

func (c *partialConn) Write(p []byte) (int, error) {
	switch c.wrote++; c.wrote % 4 {
	case 1:
		return 0, nil
	case 2:
		return c.Conn.Write(p[:(len(p)+1)/2])
	case 3:
		n, err := c.Conn.Write(p[:len(p)/3])
		return n, errors.Join(err, temporaryError{}, nil)
	}
	return c.Conn.Write(p)
}

// Non-conforming conns of a server lose no data, whatever consumes it.
func TestNonConforming_ConnsBehindAServer(t *testing.T) {
	sent := make([]byte, 200_000)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	for name, take := range map[string]func(t *testing.T, l *evnet.Loop, c *evnet.Socket){
		"Data": func(_ *testing.T, _ *evnet.Loop, c *evnet.Socket) {
			c.On.Data(func(p []byte) { _, _ = c.Write(p) })
			c.On.End(c.End)
		},
		"OnRead": func(_ *testing.T, _ *evnet.Loop, c *evnet.Socket) {
			_ = c.OnRead(func(p []byte) bool { _, _ = c.Write(p); return true })
			c.On.End(c.End)
		},
		"Pipe": func(_ *testing.T, _ *evnet.Loop, c *evnet.Socket) { c.Pipe(c) },
		"Relay": func(t *testing.T, l *evnet.Loop, c *evnet.Socket) {
			a, b := pair(t)
			middle, echo := wrap(l, a), evnet.Wrap(b, &evnet.SocketOptions{Loop: l, Logger: quiet, AllowHalfOpen: true})
			evnet.Relay(c, middle, nil)
			echo.Pipe(echo)
		},
		"Chunks": func(_ *testing.T, l *evnet.Loop, c *evnet.Socket) {
			aside(l, func() {
				for p, err := range c.Chunks() {
					if err == nil {
						_, _ = c.Write(p)
					}
				}
				c.End()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := pair(t)
				server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet, AllowHalfOpen: true})
				server.On.Connection(func(c *evnet.Socket) {
					c.On.Close(func(hadError bool) { assert.False(t, hadError, "%v", c.Err()) })
					take(t, l, c)
					_ = server.Close(nil)
				})
				require.NoError(t, server.Serve(listenerOf(&partialConn{Conn: here, size: len(sent)})))
				var got []byte
				aside(l, func() {
					go func() { _, _ = there.Write(sent) }()
					_ = there.SetReadDeadline(time.Now().Add(patience))
					got, _ = io.ReadAll(there)
				})
				run(t, l)
				_ = there.Close()
				assert.Equal(t, len(sent), len(got))
				assert.True(t, bytes.Equal(sent, got))
			})
		})
	}
}
