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
