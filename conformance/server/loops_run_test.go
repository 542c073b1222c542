package server_test

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// greeted dials the address n times, and waits for a byte of the server each time.
func greeted(t *testing.T, address string, n int) {
	for range n {
		c, err := net.Dial("tcp", address)
		if !assert.NoError(t, err) {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(evtest.Patience))
		_, err = c.Read(make([]byte, 1))
		assert.NoError(t, err, "a connection of a loop that does not run")
		_ = c.Close()
	}
}

// A server's connections go to the loops that run.
func TestServer_LoopThatNeverRunsGetsNoConnection(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for idle := range 3 {
			loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop(), evnet.NewLoop()}
			server, address := kit.Serve(t, nil, &evnet.ServerOptions{Loops: loops}, func(c *evnet.Socket) {
				_, _ = c.WriteString("x")
			})
			var all, clients sync.WaitGroup
			for i, l := range loops {
				if i != idle {
					all.Go(func() { kit.Run(t, l) })
				}
			}
			clients.Go(func() { greeted(t, address, 100) })
			clients.Wait()
			assert.NoError(t, server.Close(nil))
			all.Go(func() { kit.Run(t, loops[idle]) }) // for the server's own Close
			all.Wait()
		}
	})
}

// Connections that are accepted before any loop runs wait, and go to the first loops that run.
func TestServer_ConnectionsWaitForALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop(), evnet.NewLoop()}
		ln := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
		const conns = 10
		served := 0
		server.On.Connection(func(c *evnet.Socket) {
			assert.Same(t, loops[1], c.Loop())
			served++
			c.Destroy(nil)
		})
		require.NoError(t, server.Serve(ln))
		for range conns {
			_ = ln.Dial()
		}
		synctest.Wait()
		var all sync.WaitGroup
		all.Go(func() { kit.Run(t, loops[1]) })
		synctest.Wait()
		loops[1].Do(func() { assert.Equal(t, conns, served) })
		_ = server.Close(nil)
		all.Go(func() { kit.Run(t, loops[0]) })
		all.Go(func() { kit.Run(t, loops[2]) })
		all.Wait()
	})
}

// The connections that wait for a loop whose Run a panic ends go to the other loops, and so do later ones until the loop
// runs again.
func TestServer_LoopEndedByAPanicPassesItsConnectionsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		ln := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
		served := map[*evnet.Loop]int{}
		var mu sync.Mutex
		server.On.Connection(func(c *evnet.Socket) {
			mu.Lock()
			defer mu.Unlock()
			served[c.Loop()]++
			c.Destroy(nil)
		})
		require.NoError(t, server.Serve(ln))
		var all sync.WaitGroup
		all.Go(func() { kit.Run(t, loops[0]) })
		release := make(chan struct{})
		all.Go(func() {
			loops[1].Post(func() { <-release; panic(evtest.Boom("ends Run")) })
			assert.PanicsWithError(t, "ends Run", loops[1].Run)
		})
		synctest.Wait()
		dial := func(n int, want map[*evnet.Loop]int) {
			for range n {
				_ = ln.Dial()
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, want, served)
			clear(served)
		}
		dial(4, map[*evnet.Loop]int{loops[0]: 2})
		close(release)
		dial(4, map[*evnet.Loop]int{loops[0]: 2 + 4})
		all.Go(func() { kit.Run(t, loops[1]) })
		synctest.Wait()
		dial(4, map[*evnet.Loop]int{loops[0]: 2, loops[1]: 2})
		_ = server.Close(nil)
		all.Wait()
	})
}

// The end of a server closes the connections that wait because no loop runs.
func TestServer_ClosesConnectionsThatNoLoopServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		ln := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
		server.On.Connection(func(*evnet.Socket) { assert.Fail(t, "the server is closed") })
		require.NoError(t, server.Serve(ln))
		var peers []net.Conn
		for range 5 {
			peers = append(peers, ln.Dial())
		}
		synctest.Wait()
		_ = server.Close(nil)
		for _, peer := range peers {
			_, err := peer.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
		}
		kit.RunAll(t, loops)
	})
}

// A loop that the program has forgotten to run is logged once, when a connection could have used it.
func TestServer_LogsLoopsThatDoNotRun(t *testing.T) {
	for name, c := range map[string]struct {
		run     int // loops that run
		late    int // loops that run after a second
		connect bool
		want    []string
	}{
		"one does not run": {1, 0, true, []string{"evnet: loops of the server do not run, and get no connections"}},
		"none runs":        {0, 0, true, []string{"evnet: the server's connections wait, because no loop of it runs"}},
		"no connection":    {0, 0, false, []string{}},
		"runs later":       {1, 1, true, []string{}},
		"all run":          {2, 0, true, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var records evtest.Records
				loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
				ln := evtest.NewMemoryListener()
				server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, Logger: slog.New(&records)})
				server.On.Connection(func(c *evnet.Socket) { c.Destroy(nil) })
				require.NoError(t, server.Serve(ln))
				var all sync.WaitGroup
				run := func(l *evnet.Loop) { all.Go(func() { kit.Run(t, l) }) }
				for _, l := range loops[:c.run] {
					run(l)
				}
				synctest.Wait()
				for range 3 {
					if c.connect {
						_ = ln.Dial()
					}
					time.Sleep(time.Second)
					for _, l := range loops[c.run:][:c.late] {
						run(l)
					}
					c.run, c.late = c.run+c.late, 0
				}
				synctest.Wait()
				assert.Empty(t, records.Messages(slog.LevelWarn))
				time.Sleep(20 * time.Second)
				_ = server.Close(nil)
				for _, l := range loops[c.run:] {
					run(l)
				}
				all.Wait()
				assert.Equal(t, c.want, records.Messages(slog.LevelWarn))
			})
		})
	}
}

// A server that closes before leaves no timer, and logs nothing.
func TestServer_ClosedServerLogsNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var records evtest.Records
		loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
		ln := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, Logger: slog.New(&records)})
		require.NoError(t, server.Serve(ln))
		_ = ln.Dial()
		synctest.Wait()
		_ = server.Close(nil)
		time.Sleep(20 * time.Second)
		kit.RunAll(t, loops)
		assert.Empty(t, records.Messages(slog.LevelWarn))
	})
}
