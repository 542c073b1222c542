package trust

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
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
