package trust

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a server is doing, and however it is ended, it ends within endLimit and leaves nothing behind.
func TestShutdown(t *testing.T) {
	for i, busy := range slices.Sorted(maps.Keys(workloads)) {
		for j, how := range slices.Sorted(maps.Keys(waysToEnd)) {
			t.Run(busy+"/"+how, func(t *testing.T) {
				alternately(t, i+j, func(t *testing.T) { tryShutdown(t, workloads[busy], waysToEnd[how]) })
			})
		}
	}
}

func tryShutdown(t *testing.T, p workload, w ending) {
	loops := []*evnet.Loop{evnet.NewLoop()}
	for len(loops) < w.loops {
		loops = append(loops, evnet.NewLoop())
	}
	opts := p.opts
	opts.Loops, opts.Logger = loops, quiet
	server := evnet.NewServer(&opts)
	var connected sync.WaitGroup
	server.On.Connection(func(s *evnet.Socket) { p.serve(s.Loop(), s); connected.Done() })
	closes := 0
	server.On.Close(func() { closes++ })
	listening, unlisten := context.WithCancel(context.Background())
	defer unlisten()
	require.NoError(t, server.ListenContext(listening, "tcp", "127.0.0.1:0", nil))
	address := server.Address().String()

	serving, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	for _, l := range loops {
		all.Go(func() { _ = l.Serve(serving) })
	}
	var peers sync.WaitGroup
	var conns []net.Conn
	if p.peer != nil {
		for range shutdownPeers {
			connected.Add(1)
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			conns = append(conns, c)
			peers.Go(func() {
				p.peer(c)
				if p.graceful {
					_ = c.Close()
				}
			})
		}
	}
	hung := bound(t, "the server does not end")
	connected.Wait()
	began := time.Now()
	w.end(&endings{t, server, loops[0], stop, unlisten, p.graceful})
	ended := make(chan struct{})
	if server.Close(func() { close(ended) }) == nil {
		<-ended
	}
	for !idle(server) { // Close may still be under way
		loops[0].Do(func() {})
	}
	stop() // Serve runs until its context ends, even if nothing is open
	all.Wait()
	hung.Stop()
	assert.Less(t, time.Since(began), endLimit, "how long the server took to end")
	assert.Equal(t, 1, closes)
	assert.Zero(t, server.Connections())
	assert.Empty(t, server.Sockets())
	assert.False(t, server.Listening())
	for _, c := range conns {
		_ = c.Close()
	}
	peers.Wait()
}

// idle reports whether the server has neither a listener nor connections.
func idle(server *evnet.Server) bool { return !server.Listening() && server.Connections() == 0 }

// A server that is ended while many connections arrive loses none of their conns.
func TestShutdownInAFlood(t *testing.T) {
	number := 0
	for name, end := range inOrder(map[string]func(l *evnet.Loop, server *evnet.Server, stop context.CancelFunc){
		"Shutdown": func(_ *evnet.Loop, server *evnet.Server, stop context.CancelFunc) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_ = server.Shutdown(ctx)
			stop()
		},
		"Close": func(_ *evnet.Loop, server *evnet.Server, stop context.CancelFunc) {
			_ = server.Close(stop)
			server.CloseAllConnections()
		},
		"Serve's context": func(_ *evnet.Loop, _ *evnet.Server, stop context.CancelFunc) { stop() },
	}) {
		number++
		t.Run(name, func(t *testing.T) {
			alternately(t, number, func(t *testing.T) {
				for range 3 {
					flood(t, end)
				}
			})
		})
	}
}

func flood(t *testing.T, end func(l *evnet.Loop, server *evnet.Server, stop context.CancelFunc)) {
	l := evnet.NewLoop()
	accepted := make(chan struct{})
	n := 0
	server, address := serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
		if n++; n == 30 {
			close(accepted)
		}
		s.Resume()
	})
	ctx, stop := context.WithCancel(context.Background())
	var over atomic.Bool
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for !over.Load() {
				c, err := net.Dial("tcp", address)
				if err != nil {
					return // the server no longer listens
				}
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		})
	}
	others.Go(func() { // sockets are destroyed while they are being made
		for !over.Load() {
			server.CloseAllConnections()
		}
	})
	var began time.Time
	others.Go(func() {
		<-accepted
		began = time.Now()
		end(l, server, stop)
	})
	hung := bound(t, "the server does not end")
	assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
	over.Store(true)
	others.Wait()
	hung.Stop()
	assert.Less(t, time.Since(began), endLimit)
	assert.True(t, idle(server))
}

// Shutdown ends a server on DefaultLoop too.
func TestShutdownOfDefaultLoop(t *testing.T) {
	onEach(t, func(t *testing.T) {
		server := evnet.CreateServer(func(s *evnet.Socket) { writeForever(nil, s) })
		require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
		c, err := net.Dial("tcp", server.Address().String())
		require.NoError(t, err)
		defer c.Close()
		server.On.Connection(func(*evnet.Socket) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			server.On.Close(cancel)
			assert.NoError(t, server.Shutdown(ctx))
		})
		hung := bound(t, "Run does not return")
		defer hung.Stop()
		began := time.Now()
		evnet.Run()
		assert.Less(t, time.Since(began), endLimit)
		assert.True(t, idle(server))
	})
}

// If the Logger panics while Serve closes a listener that fails to close, Serve ends all the same.
func TestShutdownWithALoggerThatPanics(t *testing.T) {
	for _, hooked := range []bool{true, false} {
		onEach(t, func(t *testing.T) {
			l := evnet.NewLoop()
			reported := 0
			if hooked {
				l.OnPanic(func(*evnet.PanicError) { reported++ })
			}
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: logging(func() { panic(errPanic) }).logger()})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, server.Serve(failingClose{ln}))
			s, peer := (&stage{t: t, l: l}).pair()
			ctx, stop := context.WithCancel(context.Background())
			stop()
			if hooked {
				assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
				assert.Equal(t, 1, reported)
			} else {
				assert.PanicsWithValue(t, errPanic, func() { _ = l.Serve(ctx) })
				assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
			}
			assert.True(t, s.Closed() && peer.Closed() && idle(server))
		})
	}
}
