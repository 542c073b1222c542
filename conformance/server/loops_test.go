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

// An idle loop waits for the server's Close like the others. If the server listens again in Close, all loops
// serve it.
func TestServerListensAgainOnAllItsLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		first, second := evtest.NewMemoryListener(), evtest.NewMemoryListener()
		var last *evnet.Socket // the last one before the first Close
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
		synctest.Wait() // a loop that does not wait would have returned by now
		last.Destroy(nil)
		synctest.Wait()
		_, _ = second.Dial(), second.Dial()
		synctest.Wait()
		_ = server.Close(nil)
		all.Wait()
		assert.Equal(t, map[*evnet.Loop]int{loops[0]: 1, loops[1]: 1}, served)
	})
}

// A loop that its context ends does not wait for a server's Close on another loop: a panic may have ended that
// loop.
func TestServer_ReleasesALoopThatEnds(t *testing.T) {
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

// A server that listens again before its Close emits one Close for both, as in Node. The callback of the first
// Close is called with it.
func TestServerHasOneCloseForBothTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		first, second := evtest.NewMemoryListener(), evtest.NewMemoryListener()
		var emitted []string
		note := func(what string) func() { return func() { emitted = append(emitted, what) } }
		server.On.Close(note("close"))
		var last *evnet.Socket
		server.On.Connection(func(c *evnet.Socket) {
			last = c
			_ = server.Close(note("first"))
			assert.NoError(t, server.Serve(second))
		})
		require.NoError(t, server.Serve(first))
		_ = first.Dial()
		var others sync.WaitGroup
		others.Go(func() { kit.Run(t, l) })
		synctest.Wait()
		last.Destroy(nil)
		synctest.Wait()
		l.Do(func() { assert.Empty(t, emitted) })
		assert.NoError(t, server.Close(note("second")))
		others.Wait()
		assert.Equal(t, []string{"close", "first", "second"}, emitted)
	})
}

// A server that listens and closes again in its Close keeps its loops until the second Close is emitted.
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

// Drop is emitted for each dropped connection of a flood. Only while the loop stalls is the number of queued drops
// limited.
func TestServerBoundsItsDrops(t *testing.T) {
	const bound = 16 << 10
	for name, c := range map[string]struct{ dropped, emitted int }{
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
				if n > 128+c.dropped { // as many are queued for the stalled loop
					return ln.MemoryListener.Accept()
				}
				here, _ := net.Pipe()
				return evtest.ClosingConn{Conn: here, Closed: func() {
					if int(closed.Add(1)) == c.dropped {
						loops[1].Post(func() { _ = server.Close(nil); close(release) })
					}
				}}, nil
			}
			emitted := 0
			server.On.Drop(func(evnet.Drop) { emitted++ })
			loops[0].Post(func() { close(still); <-release })
			require.NoError(t, server.Serve(ln))
			var others sync.WaitGroup
			others.Go(func() { kit.Run(t, loops[1]) })
			kit.Run(t, loops[0])
			others.Wait()
			assert.Equal(t, c.emitted, emitted)
		})
	}
}
