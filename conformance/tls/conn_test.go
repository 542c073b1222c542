package tls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Wrap with TLSConfig makes a TLS client over any conn, and uses a *tls.Conn unchanged.
func TestTLSWrap(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	a, b := net.Pipe()
	config := evtest.ClientConfig()
	config.ServerName = "localhost"
	c := evnet.Wrap(a, &evnet.SocketOptions{Loop: l, TLSConfig: config})
	s := evnet.Wrap(tls.Server(b, evtest.ServerConfig()), &evnet.SocketOptions{Loop: l, TLSConfig: config})
	s.Pipe(s)
	want := evtest.PatternBytes(evtest.Megabyte)
	got := kit.Collect(c)
	c.On.Data(func([]byte) {
		if got.Len() == len(want) {
			c.End()
		}
	})
	_, _ = c.Write(want)
	kit.Run(t, l)
	require.NoError(t, errors.Join(c.Err(), s.Err()))
	evtest.AssertEqualBytes(t, want, got.Bytes())
}

// Serve accepts a listener that already speaks TLS. It needs no TLSConfig, and Connection still waits for the
// handshake.
func TestTLSServeATLSListener(t *testing.T) {
	for name, config := range map[string]*tls.Config{"bare": nil, "TLSConfig": evtest.ServerConfig()} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			ln, err := tls.Listen("tcp", "127.0.0.1:0", evtest.ServerConfig())
			require.NoError(t, err)
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, TLSConfig: config})
			server.On.Connection(func(s *evnet.Socket) {
				_, done := s.TLS()
				assert.Equal(t, config != nil, done)
				s.Pipe(s)
			})
			require.NoError(t, server.Serve(ln))
			c := kit.ClientTLS(l)
			got := kit.Collect(c)
			c.On.Data(func([]byte) { c.End() })
			c.On.Close(func(bool) { _ = server.Close(nil) })
			c.Connect("tcp", ln.Addr().String())
			_, _ = c.WriteString("x")
			kit.Run(t, l)
			assert.Equal(t, "x", got.String())
			assert.NoError(t, c.Err())
		})
	}
}

// Listen fails if the server has no certificate.
func TestTLSServerWithoutCertificate(t *testing.T) {
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{evnet.NewLoop()}, TLSConfig: &tls.Config{}})
	err := server.Listen("tcp", "127.0.0.1:0", nil)
	assert.ErrorIs(t, err, evnet.ErrNilArgument)
	assert.ErrorContains(t, err, "127.0.0.1:0")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	err = server.Serve(ln)
	assert.ErrorIs(t, err, evnet.ErrNilArgument)
	assert.ErrorContains(t, err, "GetCertificate")
}

// A socket may connect again, and starts without state of the previous connection.
func TestTLSConnectAgain(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, kit.Echo)
	c := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	var got kit.Notes
	c.On.Data(func(p []byte) { got.Chunk("data ")(p); c.End() })
	c.On.SecureConnect(func() {
		state, _ := c.TLS()
		if state.DidResume {
			got.Say("resumed")()
		}
		_, _ = c.WriteString("x")
	})
	c.Once.Close(func(bool) {
		c.Connect("tcp", addr)
		_, ok := c.TLS()
		assert.False(t, ok)
		c.Once.Close(func(bool) { _ = server.Close(nil) })
	})
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"data x", "resumed", "data x"}, got)
}

// Socket options apply to the conn under TLS, and Detach returns the *tls.Conn.
func TestTLSOptionsAndDetach(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	kit.MeetTLS(t, l, evnet.ServerOptions{NoDelay: true, KeepAlive: time.Minute}, func(s *evnet.Socket) {
		_, _ = s.WriteString("held")
		s.Pipe(s)
	}, func(c *evnet.Socket) {
		c.On.Ready(func() {
			_, _, err := c.Detach()
			assert.ErrorIs(t, err, evnet.ErrSocketClosed, "the handshake is not done")
		})
		c.On.Data(func(p []byte) {
			assert.NoError(t, c.SetNoDelay(false))
			assert.NoError(t, c.SetKeepAlive(true, time.Minute))
			conn, rest, err := c.Detach()
			require.NoError(t, err)
			kit.Aside(l, func() {
				require.IsType(t, (*tls.Conn)(nil), conn)
				_ = conn.SetDeadline(time.Now().Add(evtest.Patience))
				_, err := io.WriteString(conn, "blocking")
				assert.NoError(t, err)
				back := make([]byte, 8)
				_, err = io.ReadFull(io.MultiReader(bytes.NewReader(rest), conn), back)
				assert.NoError(t, err)
				assert.Equal(t, "blocking", string(back))
				assert.NoError(t, conn.Close())
			})
		})
	})
	kit.Run(t, l)
}

// A context ends the handshake: the socket's context or the context of the attempt.
func TestTLSContextEndsTheHandshake(t *testing.T) {
	for _, life := range []bool{true, false} {
		evtest.VerifyNoLeaks(t)
		l := evnet.NewLoop()
		ln, err := net.Listen("tcp", "127.0.0.1:0") // it never sends anything
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		c := kit.ClientTLS(l, func(o *evnet.SocketOptions) {
			if life {
				o.Context = ctx
			}
		})
		var got kit.Notes
		kit.NoteEvents(c, &got)
		c.On.Ready(cancel)
		if life {
			c.Connect("tcp", ln.Addr().String())
		} else {
			c.ConnectContext(ctx, "tcp", ln.Addr().String())
		}
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"attempt tcp4 " + ln.Addr().String() + " 4", "connect", "ready", "error ABORT_ERR", "close true"}, got)
		assert.ErrorIs(t, c.Err(), context.Canceled)
		_ = ln.Close()
	}
}

// Once the handshake is done the attempt's context has no effect.
func TestTLS_ContextOfTheAttemptIsReleased(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(t.Context())
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, kit.Echo)
	c := kit.ClientTLS(l)
	c.On.SecureConnect(func() { cancel(); _, _ = c.WriteString("x") })
	c.On.Data(func([]byte) { c.End() })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.ConnectContext(ctx, "tcp", addr)
	kit.Run(t, l)
	assert.NoError(t, c.Err())
}

// If the peer has ended and closed before this side ends, its close_notify cannot be sent. As without TLS, this does
// not cause an error.
func TestTLS_PeerClosedAfterItsEnd(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	var got kit.Notes
	ended, peerClosed := make(chan struct{}), make(chan struct{})
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{AllowHalfOpen: true}, func(s *evnet.Socket) {
		kit.NoteEvents(s, &got)
		s.On.End(func() {
			close(ended)
			kit.Aside(l, func() { <-peerClosed; s.End() })
		})
	})
	tlsPeer(t, l, addr, func(c *tls.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		<-ended
		raw := c.NetConn().(*net.TCPConn)
		_ = raw.SetLinger(0)
		_ = raw.Close()
		close(peerClosed)
		_ = server.Close(nil)
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"data bye", "end", "finish", "close false"}, got)
}
