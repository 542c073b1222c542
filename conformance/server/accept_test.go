package server_test

import (
	"net"
	"runtime"
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

// Each failed Accept is reported, and retried after a delay that doubles up to a second.
func TestServerAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		m := evtest.NewMemoryListener()
		began := time.Now()
		var at []time.Duration // the time of each call of Accept since the previous one
		last := began
		a := &evtest.Acceptor{MemoryListener: m, OnAccept: func(n int) (net.Conn, error) {
			at = append(at, time.Since(last))
			last = time.Now()
			if n == 12 { // a success resets the backoff
				here, _ := net.Pipe()
				return here, nil
			}
			if n >= 15 {
				return m.Accept()
			}
			return nil, evtest.ErrAccept
		}}
		failures, connections := 0, 0
		server.On.Error(func(err error) {
			failures++
			assert.ErrorIs(t, err, evtest.ErrAccept)
			assert.True(t, server.Listening(), "failures do not end the server")
			if failures == 13 {
				l.AfterFunc(time.Minute/2, func() { _ = server.Close(nil) })
			}
		})
		server.On.Connection(func(s *evnet.Socket) { connections++; s.Destroy(nil) })
		require.NoError(t, server.Serve(a))
		kit.Run(t, l)
		var want []time.Duration
		for _, ms := range []int{0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 0, 5, 10} {
			want = append(want, time.Duration(ms)*time.Millisecond)
		}
		assert.Equal(t, want, at)
		assert.Equal(t, 13, failures)
		assert.Equal(t, 1, connections)
	})
}

// Close during the backoff does not wait for the end of the backoff, and nothing more is reported.
func TestServerCloseDuringBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		a := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener(), OnAccept: func(int) (net.Conn, error) { return nil, evtest.ErrAccept }}
		failures := 0
		var requested, closed time.Time
		server.On.Error(func(error) {
			if failures++; failures == 10 {
				l.AfterFunc(100*time.Millisecond, func() {
					requested = time.Now()
					require.NoError(t, server.Close(func() { closed = time.Now() }))
				})
			}
		})
		require.NoError(t, server.Serve(a))
		kit.Run(t, l)
		assert.Equal(t, requested, closed)
		assert.Equal(t, requested, time.Now(), "nothing keeps Run waiting")
		assert.Equal(t, 10, failures)
	})
}

// If the listener was closed by other code, the server closes.
func TestServerListenerClosedFromOutside(t *testing.T) {
	l := evnet.NewLoop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	var events []string
	server.On.Listening(func() { _ = ln.Close() })
	server.On.Error(func(err error) {
		assert.ErrorIs(t, err, net.ErrClosed)
		events = append(events, "error")
	})
	server.On.Close(func() { events = append(events, "close") })
	require.NoError(t, server.Serve(ln))
	kit.Run(t, l)
	assert.Equal(t, []string{"error", "close"}, events)
	assert.False(t, server.Listening())
	assert.ErrorIs(t, server.Close(nil), evnet.ErrServerNotRunning)
}

// Serve accepts any net.Listener with any kind of conn.
func TestServerServesAnyListener(t *testing.T) {
	l := evnet.NewLoop()
	m := evtest.NewMemoryListener()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	server.On.Connection(func(s *evnet.Socket) {
		s.Pipe(s)
		require.NoError(t, server.Close(nil))
	})
	require.NoError(t, server.Serve(m))
	assert.Equal(t, "here", server.Address().String())
	assert.ErrorIs(t, server.Serve(evtest.NewMemoryListener()), evnet.ErrServerAlreadyListening)
	received := make([]byte, 4)
	conn := m.Dial()
	kit.Aside(l, func() {
		_, _ = conn.Write([]byte("ping"))
		_, _ = conn.Read(received)
		_ = conn.Close()
	})
	kit.Run(t, l)
	assert.Equal(t, "ping", string(received))
}

func TestServerMaxConnections(t *testing.T) {
	for name, c := range map[string]struct {
		max, accepted, dropped int
		change                 func(*evnet.Server)
	}{
		"one":                  {1, 1, 2, nil},
		"negative":             {-1, 0, 3, nil},
		"none":                 {0, 3, 0, nil},
		"set lower":            {0, 2, 1, func(s *evnet.Server) { s.SetMaxConnections(2) }},
		"set to none":          {-1, 3, 0, func(s *evnet.Server) { s.SetMaxConnections(0) }},
		"set to drop from now": {0, 2, 1, func(s *evnet.Server) { s.On.Connection(func(*evnet.Socket) { lower(s) }) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			server, addr := kit.Serve(t, l, &evnet.ServerOptions{MaxConnections: c.max}, nil)
			if c.change != nil {
				c.change(server)
			}
			accepted, dropped := 0, 0
			clients := map[string]bool{}
			var next func()
			server.On.Connection(func(*evnet.Socket) { accepted++; next() })
			server.On.Drop(func(d evnet.Drop) {
				dropped++
				assert.Equal(t, addr, d.Local.String())
				assert.Contains(t, clients, d.Remote.String())
				next()
			})
			next = func() { // clients connect one after the other
				if accepted+dropped == 3 {
					assert.Equal(t, c.accepted, server.Connections())
					assert.Len(t, server.Sockets(), c.accepted)
					server.CloseAllConnections()
					_ = server.Close(nil)
					return
				}
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				clients[conn.LocalAddr().String()] = true
				t.Cleanup(func() { _ = conn.Close() })
			}
			l.Post(next)
			kit.Run(t, l)
			assert.Equal(t, c.accepted, accepted)
			assert.Equal(t, c.dropped, dropped)
		})
	}
}

// lower sets MaxConnections to refuse all connections once there are two.
func lower(s *evnet.Server) {
	if s.Connections() == 2 {
		s.SetMaxConnections(-1)
	}
}

// Nothing is read before Resume, not even by a Data listener.
func TestServerPauseOnConnect(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		c.Resume()
		got := ""
		resumed := false
		a.On.Data(func(p []byte) {
			assert.True(t, resumed)
			got += string(p)
		})
		assert.True(t, a.Paused())
		c.WriteThen([]byte("hello"), func(error) {
			assert.Zero(t, a.BytesRead())
			l.AfterFunc(time.Millisecond, func() {
				assert.Zero(t, a.BytesRead(), "the data stays in the kernel")
				resumed = true
				a.Resume()
			})
		})
		c.End()
		a.On.End(func() { assert.Equal(t, "hello", got) })
	})
	kit.Run(t, l)
}

func TestServerRefs(t *testing.T) {
	l := evnet.NewLoop()
	server, _ := kit.Serve(t, l, nil, nil)
	closes := 0
	server.On.Close(func() { closes++ })
	server.Unref()
	kit.Run(t, l) // returns: nothing referenced is open
	assert.Equal(t, 1, closes, "sockets that are still open are closed")

	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil)) // Unref also applies to the next Listen
	kit.Run(t, l)
	assert.Equal(t, 2, closes)

	server.Unref()
	server.Ref()
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	l.AfterFunc(time.Millisecond, func() { // the timer does not keep Run going
		assert.True(t, server.Listening())
		_ = server.Close(nil)
	}).Unref()
	kit.Run(t, l)
	assert.Equal(t, 3, closes)
}

// A loop's callbacks share memory without locks: the race detector fails if one runs on another goroutine.
func TestServerSpreadsOverLoops(t *testing.T) {
	const clients = 20
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	count := map[*evnet.Loop]*int{loops[0]: new(int), loops[1]: new(int)}
	var closed atomic.Int32
	var server *evnet.Server
	server, addr := kit.Serve(t, loops[0], &evnet.ServerOptions{Loops: loops}, func(s *evnet.Socket) {
		*count[s.Loop()]++
		s.On.Data(func(p []byte) { *count[s.Loop()]++; _, _ = s.Write(p) })
		s.On.Close(func(bool) {
			*count[s.Loop()]++
			if closed.Add(1) == clients {
				_ = server.Close(nil)
			}
		})
	})
	loops[1].Ref()
	server.On.Close(func() { *count[loops[0]] += 1000; loops[1].Unref() })
	l := evnet.NewLoop()
	for range clients {
		c := kit.NewClient(l)
		c.On.Ready(func() { _, _ = c.WriteString("x") })
		c.On.Data(func([]byte) { c.End() })
		c.Connect("tcp", addr)
	}
	var others sync.WaitGroup
	others.Go(func() { kit.Run(t, loops[1]) })
	others.Go(func() { kit.AwaitRunning(loops...); kit.Run(t, l) })
	kit.Run(t, loops[0])
	others.Wait()
	assert.Equal(t, 1000+3*clients/2, *count[loops[0]])
	assert.Equal(t, 3*clients/2, *count[loops[1]])
}

// A callback that blocks one loop delays only that loop's connections.
func TestServer_BypassesAStalledLoop(t *testing.T) {
	const conns, wait = 600, 128 // conns exceeds the number that may be queued for one loop
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	stuck, still, release := evnet.NewLoop(), make(chan struct{}), make(chan struct{})
	loops[1] = stuck
	ln := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
	ln.OnAccept = func(n int) (net.Conn, error) {
		<-still
		if n > conns {
			return ln.MemoryListener.Accept()
		}
		here, there := net.Pipe()
		_ = there.Close()
		return here, nil
	}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: loops})
	served := 0
	server.On.Connection(func(s *evnet.Socket) {
		s.Destroy(nil)
		if s.Loop() == loops[0] {
			served++
		}
		if s.Loop() == loops[0] && served == conns-wait {
			close(release)
			_ = server.Close(nil)
		}
	})
	stuck.Post(func() { close(still); <-release })
	require.NoError(t, server.Serve(ln))
	var others sync.WaitGroup
	others.Go(func() { kit.Run(t, stuck) })
	kit.Run(t, loops[0])
	others.Wait()
	assert.Equal(t, conns-wait, served)
}

// The server's own events, including Drop, run on the first of its loops.
func TestServerDropsOnItsOwnLoop(t *testing.T) {
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	server, addr := kit.Serve(t, loops[0], &evnet.ServerOptions{Loops: loops, MaxConnections: -1}, nil)
	var mu sync.Mutex
	dropped, elsewhere := 0, 0
	var own string
	server.On.Listening(func() { own = goroutine() })
	server.On.Drop(func(evnet.Drop) {
		mu.Lock()
		defer mu.Unlock()
		if dropped++; goroutine() != own {
			elsewhere++
		}
		if dropped == 4 {
			_ = server.Close(nil)
		}
	})
	loops[1].Ref()
	server.On.Close(loops[1].Unref)
	var others sync.WaitGroup
	others.Go(func() { kit.Run(t, loops[1]) })
	kit.Aside(loops[0], func() {
		for range 4 {
			if c, err := net.Dial("tcp", addr); assert.NoError(t, err) {
				defer c.Close()
			}
		}
	})
	kit.Run(t, loops[0])
	others.Wait()
	assert.Equal(t, 4, dropped)
	assert.Zero(t, elsewhere, "Drop on the loop of a socket")
}

// goroutine returns the ID of the running goroutine.
func goroutine() string {
	text := make([]byte, 32)
	text = text[:runtime.Stack(text, false)]
	for i, c := range text[10:] {
		if c == ' ' {
			return string(text[:10+i])
		}
	}
	return string(text)
}

// A panic of a Connection listener destroys only that connection.
func TestServerOutlivesPanics(t *testing.T) {
	l := evnet.NewLoop()
	var caught []*evnet.PanicError
	l.OnPanic(func(err *evnet.PanicError) { caught = append(caught, err) })
	n := 0
	var bad *evnet.Socket
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		if n++; n == 2 {
			bad = s
			panic("one of them")
		}
		s.Pipe(s)
	})
	echoes := 0
	var next func(left int)
	next = func(left int) {
		if left == 0 {
			_ = server.Close(nil)
			return
		}
		c := kit.NewClient(l)
		c.On.Ready(func() { _, _ = c.WriteString("x") })
		c.On.Data(func([]byte) { echoes++; c.End() })
		c.On.Error(func(error) {})
		c.On.Close(func(bool) { next(left - 1) })
		c.Connect("tcp", addr)
	}
	next(4)
	kit.Run(t, l)
	assert.Equal(t, 3, echoes)
	require.Len(t, caught, 1)
	assert.Same(t, bad, caught[0].Socket)
	assert.Same(t, caught[0], bad.Err())
	assert.Zero(t, server.Connections())
}
