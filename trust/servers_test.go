package trust

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who walks the sockets of a server on another goroutine meets none that has no conn yet: each takes what is
// written, is ended in time and reset.
func TestServerSocketsAreConnected(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server, addr := serve(t, l, evnet.ServerOptions{}, func(c *evnet.Socket) { c.Destroy(nil) })
		var met, unconnected atomic.Int64
		done := make(chan struct{})
		var walkers sync.WaitGroup
		for range 2 {
			walkers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					for _, c := range server.Sockets() {
						met.Add(1)
						if c.ReadyState() == evnet.StateNew {
							unconnected.Add(1)
						}
					}
				}
			})
		}
		aside(l, func() {
			for range 3000 {
				if c, err := net.Dial("tcp", addr); assert.NoError(t, err) {
					_ = c.Close()
				}
			}
			close(done)
			walkers.Wait()
			_ = server.Close(nil)
		})
		run(t, l)
		assert.NotZero(t, met.Load())
		assert.Zero(t, unconnected.Load(), "of %d", met.Load())
	})
}

// Close comes after the listener has closed, however long that takes: its address is free.
func TestServerCloseFindsTheAddressFree(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := ln.Addr().String()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
		release := make(chan struct{})
		server.On.Connection(func(c *evnet.Socket) {
			c.Resume()
			aside(l, func() { _ = server.Close(nil) }) // which goes on once the socket has long closed
			c.On.Close(func(bool) { l.AfterFunc(0, func() { close(release) }) })
		})
		listened := false
		server.Once.Close(func() {
			listened = assert.NoError(t, server.Listen("tcp", addr, nil))
			_ = server.Close(nil)
		})
		peer, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, server.Serve(&oddListener{Listener: ln, close: func() error {
			_ = peer.Close()
			<-release
			return nil
		}}))
		run(t, l)
		assert.True(t, listened)
	})
}

// A conn that is refused, or comes too late, costs nothing but itself when its Close panics or takes its time.
func TestServerRefusesOddConns(t *testing.T) {
	local := &evnet.BlockList{}
	require.NoError(t, local.Add("127.0.0.0/8"))
	for name, c := range map[string]struct {
		opts  evnet.ServerOptions
		late  bool
		drops int
	}{
		"dropped": {opts: evnet.ServerOptions{MaxConnections: -1}, drops: 2},
		"blocked": {opts: evnet.ServerOptions{BlockList: local}},
		"late":    {late: true},
	} {
		for manner, closes := range map[string]func(release chan struct{}){
			"panics": func(chan struct{}) { panic(errCause) }, "waits for the next": func(release chan struct{}) { <-release },
		} {
			t.Run(name+"/"+manner, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l := evnet.NewLoop()
					opts := c.opts
					opts.Loops, opts.Logger = []*evnet.Loop{l}, quiet
					server := evnet.NewServer(&opts)
					release, closed := make(chan struct{}), make(chan struct{})
					a, firstPeer := pair(t)
					b, secondPeer := pair(t)
					defer firstPeer.Close()
					defer secondPeer.Close()
					first, second := &oddConn{Conn: a}, &oddConn{Conn: b}
					first.close = func() error { defer first.Conn.Close(); closes(release); return nil }
					second.close = func() error { close(release); _ = server.Close(nil); return second.Conn.Close() }
					drops := 0
					server.On.Drop(func(evnet.Drop) { drops++ })
					inner := give(first, second)
					ln := &oddListener{Listener: inner, close: func() error { close(closed); return nil }}
					if c.late {
						server.On.Listening(func() { _ = server.Close(nil) })
						ln.accept = func() (net.Conn, error) {
							<-closed
							if len(inner.conns) > 0 {
								return <-inner.conns, nil
							}
							return inner.Accept()
						}
					}
					require.NoError(t, server.Serve(ln))
					run(t, l)
					assert.Equal(t, c.drops, drops)
					assert.EqualValues(t, 1, first.closes.Load())
				})
			})
		}
	}
}
