package tls_test

import (
	"errors"
	"net"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gatedConn blocks what ends its side until open is closed, and closes blocked when it does so.
type gatedConn struct {
	net.Conn
	armed, blocked, open chan struct{}
	once                 sync.Once
	err                  error // returned instead of the end
}

func newGatedConn(conn net.Conn) *gatedConn {
	return &gatedConn{Conn: conn, armed: make(chan struct{}), blocked: make(chan struct{}), open: make(chan struct{})}
}

func (c *gatedConn) wait() error {
	select {
	case <-c.armed:
		c.once.Do(func() { close(c.blocked) })
		<-c.open
		return c.err
	default:
		return nil
	}
}

// gatedWriter blocks in Write, as a conn whose buffers are full.
type gatedWriter struct{ *gatedConn }

func (c gatedWriter) Write(p []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// gatedCloseWriter blocks in CloseWrite.
type gatedCloseWriter struct{ *gatedConn }

func (c gatedCloseWriter) CloseWrite() error {
	if err := c.wait(); err != nil {
		return err
	}
	return c.Conn.(*net.TCPConn).CloseWrite()
}

// gatedCloser has no CloseWrite, and blocks in Close.
type gatedCloser struct{ *gatedConn }

func (c gatedCloser) Close() error { return errors.Join(c.wait(), c.Conn.Close()) }

// gatedSockets are sockets whose end can be delayed.
var gatedSockets = map[string]func(c *gatedConn) (conn net.Conn, secure bool){
	"close_notify":         func(c *gatedConn) (net.Conn, bool) { return gatedWriter{c}, true },
	"CloseWrite":           func(c *gatedConn) (net.Conn, bool) { return gatedCloseWriter{c}, false },
	"CloseWrite under TLS": func(c *gatedConn) (net.Conn, bool) { return gatedCloseWriter{c}, true },
	"Close":                func(c *gatedConn) (net.Conn, bool) { return gatedCloser{c}, false },
}

// gated is a socket whose end is delayed, and its peer.
type gated struct {
	l       *evnet.Loop
	conn    *gatedConn
	secure  bool
	s, peer *evnet.Socket
	got     kit.Notes // the events of s
}

// newGated returns a socket of a kind. failed, if not nil, is the error of its end.
func newGated(t *testing.T, kind string, failed error) *gated {
	here, there := evtest.TCPPair(t)
	g := &gated{l: evnet.NewLoop(), conn: newGatedConn(here)}
	g.conn.err = failed
	opts := evnet.SocketOptions{Loop: g.l}
	g.peer = evnet.Wrap(there, &opts)
	conn, secure := gatedSockets[kind](g.conn)
	if g.secure = secure; secure {
		opts.TLSConfig = evtest.NamedClientConfig()
		require.NoError(t, g.peer.StartTLSServer(evtest.ServerConfig()))
	}
	g.s = evnet.Wrap(conn, &opts)
	g.peer.Resume()
	g.s.On.Finish(g.got.Say("finish"))
	g.s.On.End(g.got.Say("end"))
	g.s.On.Error(func(error) { g.got.Say("error")() })
	g.s.On.Close(func(bool) { g.got.Say("close")() })
	g.s.Resume()
	return g
}

// run ends the socket once it is connected. while is called on the loop while the end is being sent, after several turns.
func (g *gated) run(t *testing.T, while func()) {
	start := func() {
		close(g.conn.armed)
		g.s.End()
		kit.Aside(g.l, func() {
			<-g.conn.blocked
			for range 3 {
				g.l.Do(func() {})
			}
			g.l.Do(while)
		})
	}
	if g.secure {
		g.s.On.SecureConnect(start)
	} else {
		g.l.Post(start)
	}
	kit.Run(t, g.l)
}

// Finish is emitted once the end of this side was handed to the conn, and not while that blocks.
func TestFinish_FollowsTheEndOfThisSide(t *testing.T) {
	for kind := range gatedSockets {
		t.Run(kind, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			g := newGated(t, kind, nil)
			g.run(t, func() {
				assert.NotContains(t, g.got, "finish")
				assert.False(t, g.s.WritableFinished())
				close(g.conn.open)
			})
			assert.ElementsMatch(t, kit.Notes{"finish", "end", "close"}, g.got)
			assert.Equal(t, "close", g.got[len(g.got)-1])
		})
	}
}

// Close waits for the end too.
func TestFinish_CloseWaitsForTheEnd(t *testing.T) {
	for kind := range gatedSockets {
		t.Run(kind, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			g := newGated(t, kind, nil)
			g.run(t, func() {
				_ = g.s.Close()
				assert.False(t, g.s.Destroyed())
				assert.NotContains(t, g.got, "finish")
				close(g.conn.open)
			})
			assert.Contains(t, g.got, "finish")
		})
	}
}

// An end that fails is an error and no Finish.
func TestFinish_IsNotEmittedForAnEndThatFails(t *testing.T) {
	for kind := range gatedSockets {
		if kind == "Close" { // the conn is closed all the same
			continue
		}
		t.Run(kind, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			g := newGated(t, kind, evtest.Boom("boom"))
			g.peer.On.Error(func(error) {})
			g.run(t, func() { close(g.conn.open) })
			assert.NotContains(t, g.got, "finish")
			assert.Equal(t, kit.Notes{"error", "close"}, g.got[max(len(g.got)-2, 0):], "a peer that got close_notify may have ended before")
		})
	}
}

// A program that destroys or closes the socket in Finish cuts off neither close_notify nor the end of the conn.
func TestFinish_MayEndTheSocket(t *testing.T) {
	ends := map[string]func(s *evnet.Socket){
		"Destroy": func(s *evnet.Socket) { s.Destroy(nil) },
		"Close":   func(s *evnet.Socket) { _ = s.Close() },
	}
	for kind := range gatedSockets {
		for name, end := range ends {
			t.Run(kind+" "+name, func(t *testing.T) {
				evtest.VerifyNoLeaks(t)
				g := newGated(t, kind, nil)
				peers := kit.NoteLife(g.peer)
				g.s.On.Finish(func() { end(g.s) })
				g.run(t, func() { close(g.conn.open) })
				assert.NoError(t, g.peer.Err())
				assert.Contains(t, *peers, "end")
			})
		}
	}
}
