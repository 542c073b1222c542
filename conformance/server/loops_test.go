package server_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A loop that has nothing to do waits for the server's Close like the others: a server that listens again in
// it is served by all of them.
func TestServerListensAgainOnAllItsLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		first, second := evtest.NewMemoryListener(), evtest.NewMemoryListener()
		var last *evnet.Socket // of the first time
		served := map[*evnet.Loop]int{}
		var mu sync.Mutex
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
		server.Once.Connection(func(c *evnet.Socket) { last = c; _ = server.Close(nil) })
		server.Once.Close(func() {
			server.On.Connection(func(c *evnet.Socket) {
				mu.Lock()
				defer mu.Unlock()
				served[c.Loop()]++
				c.Destroy(nil)
			})
			assert.NoError(t, server.Serve(second))
		})
		require.NoError(t, server.Serve(first))
		_ = first.Dial()
		var all sync.WaitGroup
		for _, l := range loops {
			all.Go(func() { kit.Run(t, l) })
		}
		synctest.Wait() // now a loop has gone that does not wait
		last.Destroy(nil)
		synctest.Wait()
		_, _ = second.Dial(), second.Dial()
		synctest.Wait()
		_ = server.Close(nil)
		all.Wait()
		assert.Equal(t, map[*evnet.Loop]int{loops[0]: 1, loops[1]: 1}, served)
	})
}

// A loop that its context ends does not wait for a server's Close, which another loop is to emit: that may
// have been ended by a panic.
func TestServerLetsALoopGoThatEnds(t *testing.T) {
	for name, closed := range map[string]bool{"listening": false, "closed already": true} {
		t.Run(name, func(t *testing.T) {
			loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
			server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
			require.NoError(t, server.Serve(evtest.NewMemoryListener()))
			ctx, cancel := context.WithCancel(t.Context())
			loops[1].Post(func() {
				if closed {
					_ = server.Close(nil)
				}
				cancel()
			})
			hung := time.AfterFunc(evtest.Patience, func() { panic(t.Name() + ": Loop.Serve does not return") })
			defer hung.Stop()
			assert.Equal(t, context.Canceled, loops[1].Serve(ctx))
			kit.Run(t, loops[0])
		})
	}
}

// A server that listens again before its Close has one for both times, as in Node, and who waits for the first
// waits for that.
func TestServerHasOneCloseForBothTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		first, second := evtest.NewMemoryListener(), evtest.NewMemoryListener()
		var told []string
		tell := func(what string) func() { return func() { told = append(told, what) } }
		server.On.Close(tell("close"))
		var last *evnet.Socket
		server.On.Connection(func(c *evnet.Socket) {
			last = c
			_ = server.Close(tell("first"))
			assert.NoError(t, server.Serve(second))
		})
		require.NoError(t, server.Serve(first))
		_ = first.Dial()
		var others sync.WaitGroup
		others.Go(func() { kit.Run(t, l) })
		synctest.Wait()
		last.Destroy(nil)
		synctest.Wait()
		l.Do(func() { assert.Empty(t, told) })
		assert.NoError(t, server.Close(tell("second")))
		others.Wait()
		assert.Equal(t, []string{"close", "first", "second"}, told)
	})
}

// A server that listens and closes once more in its Close keeps its loops until it has told that too.
func TestServerKeepsItsLoopsUntilTheLastClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
		var ended atomic.Bool
		closes := 0
		server.On.Close(func() {
			if closes++; closes == 1 {
				assert.NoError(t, server.Serve(evtest.NewMemoryListener()))
				assert.NoError(t, server.Close(nil))
			}
			synctest.Wait()
			assert.False(t, ended.Load(), "before Close %d", closes)
		})
		require.NoError(t, server.Serve(evtest.NewMemoryListener()))
		var all sync.WaitGroup
		all.Go(func() { kit.Run(t, loops[1]); ended.Store(true) })
		all.Go(func() { kit.Run(t, loops[0]) })
		synctest.Wait()
		assert.NoError(t, server.Close(nil))
		all.Wait()
		assert.Equal(t, 2, closes)
	})
}

// A flood of dropped connections is told whole, but for what would wait without bound for a loop that stands still.
func TestServerBoundsItsDrops(t *testing.T) {
	const bound = 16 << 10
	for name, c := range map[string]struct{ dropped, told int }{
		"as many as may wait": {bound, bound}, "more": {bound + 100, bound},
	} {
		t.Run(name, func(t *testing.T) {
			loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
			still, release := make(chan struct{}), make(chan struct{})
			server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, MaxConnections: -1})
			var closed atomic.Int32
			ln := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
			ln.OnAccept = func(n int) (net.Conn, error) {
				<-still
				if n > 128+c.dropped { // as many wait for the loop that stands still
					return ln.MemoryListener.Accept()
				}
				here, _ := net.Pipe()
				return evtest.ClosingConn{Conn: here, Closed: func() {
					if int(closed.Add(1)) == c.dropped {
						loops[1].Post(func() { _ = server.Close(nil); close(release) })
					}
				}}, nil
			}
			told := 0
			server.On.Drop(func(evnet.Drop) { told++ })
			loops[0].Post(func() { close(still); <-release })
			require.NoError(t, server.Serve(ln))
			var others sync.WaitGroup
			others.Go(func() { kit.Run(t, loops[1]) })
			kit.Run(t, loops[0])
			others.Wait()
			assert.Equal(t, c.told, told)
		})
	}
}
