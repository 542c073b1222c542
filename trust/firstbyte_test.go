package trust

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connListener is a listener that accepts the conns it was made with.
type connListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func listenerOf(conns ...net.Conn) *connListener {
	g := &connListener{conns: make(chan net.Conn, len(conns)), closed: make(chan struct{})}
	for _, c := range conns {
		g.conns <- c
	}
	return g
}

func (g *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *connListener) Addr() net.Addr { return &net.TCPAddr{} }
func (g *connListener) Close() error   { g.once.Do(func() { close(g.closed) }); return nil }

// handshakeConn is a conn whose handshake waits for one byte.
type handshakeConn struct{ net.Conn }

func (c handshakeConn) HandshakeContext(context.Context) error {
	_, err := io.ReadFull(c.Conn, make([]byte, 1))
	return err
}

// Only a peer that sends nothing before the deadline is disconnected.
func TestFirstByteTimeout(t *testing.T) {
	const limit = 10 * time.Second
	for name, c := range map[string]struct {
		shake bool
		peer  func(peer net.Conn)                  // what the peer does
		here  func(l *evnet.Loop, s *evnet.Socket) // what the program does
		after time.Duration                        // when the socket is closed by the timeout; 0: never
	}{
		"silent":                     {after: limit},
		"silent in a handshake":      {shake: true, after: limit},
		"silent after the handshake": {shake: true, peer: func(p net.Conn) { _, _ = p.Write([]byte("x")) }, after: limit},
		"written to":                 {here: func(_ *evnet.Loop, s *evnet.Socket) { _, _ = s.WriteString("hello") }, after: limit},
		"a byte before the limit":    {peer: func(p net.Conn) { time.Sleep(limit - time.Second); _, _ = p.Write([]byte("x")) }},
		"an end":                     {peer: func(p net.Conn) { _ = p.Close() }},
		"paused, then silent":        {here: pausedFor(15 * time.Second), after: 2 * limit},
		"paused, a byte pending":     {here: pausedFor(15 * time.Second), peer: func(p net.Conn) { _, _ = p.Write([]byte("x")) }},
		"piped, then silent":         {here: pipedAfter(15 * time.Second), after: 2 * limit},
		"piped, a byte pending":      {here: pipedAfter(15 * time.Second), peer: func(p net.Conn) { _, _ = p.Write([]byte("x")) }},
		"no consumer, silent":        {here: func(_ *evnet.Loop, s *evnet.Socket) { s.RemoveAllListeners(evnet.EventData) }, after: limit},
		"no consumer, a byte": {
			here: func(_ *evnet.Loop, s *evnet.Socket) { s.RemoveAllListeners(evnet.EventData) },
			peer: func(p net.Conn) { _, _ = p.Write([]byte("x")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := net.Pipe()
				if c.shake {
					conn = handshakeConn{conn}
				}
				l := evnet.NewLoop()
				server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, FirstByteTimeout: limit, Logger: quiet, AllowHalfOpen: true})
				began := time.Now()
				var s *evnet.Socket
				var closed time.Duration
				server.On.Connection(func(x *evnet.Socket) {
					s = x
					consume(s)
					s.On.Close(func(bool) { closed = time.Since(began) })
					if c.here != nil {
						c.here(l, s)
					}
					_ = server.Close(nil)
				})
				go func() {
					if c.peer != nil {
						c.peer(peer)
					}
					_, _ = io.Copy(io.Discard, peer)
				}()
				l.AfterFunc(time.Hour, func() { s.Destroy(nil); _ = peer.Close() })
				require.NoError(t, server.Serve(listenerOf(conn)))
				l.Run()
				if c.after == 0 {
					assert.NoError(t, s.Err())
					assert.Equal(t, time.Hour, closed)
					return
				}
				assert.Equal(t, c.after, closed)
				assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
				assert.ErrorContains(t, s.Err(), "first byte")
				assert.Equal(t, "ETIMEDOUT", evnet.Code(s.Err()))
			})
		})
	}
}

func pausedFor(d time.Duration) func(l *evnet.Loop, s *evnet.Socket) {
	return func(l *evnet.Loop, s *evnet.Socket) {
		s.Pause()
		l.AfterFunc(d, s.Resume)
	}
}

// pipedAfter pipes the socket into one that is full until d has passed.
func pipedAfter(d time.Duration) func(l *evnet.Loop, s *evnet.Socket) {
	return func(l *evnet.Loop, s *evnet.Socket) {
		conn, peer := net.Pipe()
		dst := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, HighWaterMark: 1})
		_, _ = dst.WriteString("full")
		s.Pipe(dst)
		s.On.Close(func(bool) { dst.Destroy(nil) })
		l.AfterFunc(d, func() { go func() { _, _ = io.Copy(io.Discard, peer) }() })
	}
}

// FirstByteTimeout works on kernel sockets too. It only applies to accepted sockets.
func TestFirstByteTimeoutOfKernelSockets(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		speaker, speakerPeer := pair(t)
		silent, silentPeer := pair(t)
		_, err := speakerPeer.Write([]byte("x")) // the kernel has received it before the time starts
		require.NoError(t, err)
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet, FirstByteTimeout: 50 * time.Millisecond})
		causes := map[net.Conn]error{}
		server.On.Connection(func(s *evnet.Socket) {
			conn := s.Conn()
			consume(s)
			s.On.Close(func(bool) {
				if causes[conn] = s.Err(); conn == silent {
					_ = server.Close(nil)
					server.CloseAllConnections()
				}
			})
		})
		require.NoError(t, server.Serve(listenerOf(speaker, silent)))
		run(t, l)
		_, _ = speakerPeer.Close(), silentPeer.Close()
		require.ErrorIs(t, causes[silent], os.ErrDeadlineExceeded)
		require.NoError(t, causes[speaker])
	})
}
