package tls_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A connection counts during its handshake, like one that Connection has emitted.

func TestTLSHandshakesCount(t *testing.T) {
	reported := kit.StalledHandshake(t, evnet.ServerOptions{MaxConnections: 1}, func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket) {
		assert.Equal(t, 1, server.Connections())
		assert.Equal(t, evnet.StateOpen, s.ReadyState())
		_, ok := s.TLS()
		assert.False(t, ok)
		server.On.Drop(func(evnet.Drop) {
			server.CloseAllConnections()
			assert.Zero(t, server.Connections())
			_ = server.Close(nil)
		})
		another := kit.ClientTLS(l)
		another.On.Error(func(error) {})
		another.Connect("tcp", server.Address().String())
	})
	assert.Empty(t, reported)
}

// Close waits for a handshake, and Connection may still follow. Shutdown does not wait, because no callback has
// seen the socket yet.
func TestTLSCloseDuringHandshakes(t *testing.T) {
	reported := kit.StalledHandshake(t, evnet.ServerOptions{}, func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket) {
		closed := false
		assert.NoError(t, server.Close(func() { closed = true }))
		l.AfterFunc(20*time.Millisecond, func() {
			assert.False(t, closed, "its socket is open")
			s.Destroy(nil)
		})
	})
	assert.Empty(t, reported)
	reported = kit.StalledHandshake(t, evnet.ServerOptions{}, func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket) {
		kit.Aside(l, func() {
			ctx, cancel := context.WithTimeout(context.Background(), evtest.Patience)
			defer cancel()
			assert.NoError(t, server.Shutdown(ctx))
		})
	})
	assert.Empty(t, reported)
}

// A connection accepted before Close completes its handshake, and Connection is emitted, as in Node.
func TestTLSHandshakeAfterClose(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, kit.Echo)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	_ = conn.SetDeadline(time.Now().Add(evtest.Patience))
	var wait func()
	wait = func() {
		if server.Connections() == 0 {
			l.AfterFunc(time.Millisecond, wait)
			return
		}
		_ = server.Close(nil)
		kit.Aside(l, func() {
			c := tls.Client(conn, evtest.NamedClientConfig())
			_, err := c.Write([]byte("x"))
			assert.NoError(t, err)
			assert.NoError(t, c.CloseWrite())
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Equal(t, "x", string(got))
			_ = conn.Close()
		})
	}
	wait()
	kit.Run(t, l)
}

// Each limit ends a stalled handshake, and TLSClientError reports which one it was.
func TestTLSLimitsDuringHandshakes(t *testing.T) {
	const shortly = 30 * time.Millisecond
	for op, opts := range map[string]evnet.ServerOptions{
		"idle":       {IdleTimeout: shortly},
		"first byte": {FirstByteTimeout: shortly, PauseOnConnect: true}, // not paused before Connection
		"handshake":  {HandshakeTimeout: shortly},
	} {
		reported := kit.StalledHandshake(t, opts, func(_ *evnet.Loop, server *evnet.Server, s *evnet.Socket) { _ = server.Close(nil) })
		require.Len(t, reported, 1)
		assert.ErrorIs(t, reported[0], os.ErrDeadlineExceeded)
		var opErr *net.OpError
		require.ErrorAs(t, reported[0], &opErr)
		assert.Equal(t, op, opErr.Op)
	}
}

// The loop that gets an accepted socket serves it, and emits Connection and TLSClientError.
func TestTLSOnSeveralLoops(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	a, b := evnet.NewLoop(), evnet.NewLoop()
	var reported [2]int
	server, addr := kit.ServeTLS(t, a, evnet.ServerOptions{Loops: []*evnet.Loop{a, b}, PauseOnConnect: true}, func(s *evnet.Socket) {
		assert.True(t, s.Paused())
		s.Resume()
		s.Pipe(s)
	})
	server.On.TLSClientError(func(_ error, s *evnet.Socket) {
		if s.Loop() == b {
			reported[1]++
		} else {
			reported[0]++
		}
	})
	ran := make(chan struct{})
	go func() { defer close(ran); kit.Run(t, b) }()
	left := 10
	for i := range left {
		c := kit.ClientTLS(a, func(o *evnet.SocketOptions) {
			if i%2 == 1 {
				o.TLSConfig = evtest.ServerConfig() // trusts no authority of the tests
			}
		})
		c.On.Error(func(error) {})
		c.On.Data(func([]byte) { c.End() })
		c.On.Close(func(bool) {
			if left--; left == 0 {
				a.AfterFunc(10*time.Millisecond, func() { _ = server.Close(nil) })
			}
		})
		c.Connect("tcp", addr)
		_, _ = c.WriteString("x")
	}
	kit.Run(t, a)
	<-ran
	assert.Equal(t, 5, reported[0]+reported[1])
}

// A program may use a socket that it knows only from Sockets.
func TestTLSSocketsOutsideConnection(t *testing.T) {
	reported := kit.StalledHandshake(t, evnet.ServerOptions{}, func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket) {
		_, err := s.WriteString("waits for the handshake")
		assert.NoError(t, err)
		assert.Positive(t, s.BufferedAmount())
		s.Destroy(evtest.Boom("enough"))
		_ = server.Close(nil)
	})
	require.Len(t, reported, 1)
	assert.ErrorIs(t, reported[0], evtest.Boom("enough"))
}
