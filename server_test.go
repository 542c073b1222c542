package evnet_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerShutdownIsGraceful(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	var closed, served bool
	var addr string
	server, addr = kit.Serve(t, l, nil, func(s *evnet.Socket) {
		_, _ = s.WriteString("last words")
		kit.Aside(l, func() {
			assert.NoError(t, server.Shutdown(context.Background()))
			l.Do(func() {
				assert.True(t, closed, "Shutdown returns after Close")
				served = true
			})
		})
	})
	server.On.Close(func() { closed = true })
	c := kit.NewClient(l)
	received := ""
	c.On.Data(func(p []byte) { received += string(p) })
	c.On.Error(func(err error) { assert.NoError(t, err) })
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.True(t, served)
	assert.Equal(t, "last words", received)
	assert.Zero(t, server.Connections())
}

// When the context ends, the connection to a peer that never ends is destroyed, and Shutdown returns.
func TestServerShutdownContextEnds(t *testing.T) {
	l := evnet.NewLoop()
	var accepted *evnet.Socket
	var server *evnet.Server
	ctx, cancel := context.WithCancel(context.Background())
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		accepted = s
		kit.Aside(l, func() { assert.Equal(t, context.Canceled, server.Shutdown(ctx)) })
	})
	c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, AllowHalfOpen: true})
	c.On.End(cancel) // the server has ended its side; this one stays open
	c.Resume()
	accepted2 := false
	server.On.Close(func() { accepted2 = accepted.Destroyed(); c.Destroy(nil) })
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.True(t, accepted2)
}

// Shutdown has destroyed the connections when it returns, even if the context had ended before.
func TestServerShutdownHasDestroyedWhenItReturns(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		l := evnet.NewLoop()
		m := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		missing := 20
		server.On.Connection(func(s *evnet.Socket) {
			s.Pause()
			if missing--; missing > 0 {
				return
			}
			kit.Aside(l, func() {
				if server.Shutdown(ctx) != nil { // nil if everything had already closed
					assert.Zero(t, server.Connections(), "still open after Shutdown has returned")
				}
			})
		})
		require.NoError(t, server.Serve(m))
		for range missing {
			go m.Dial()
		}
		kit.Run(t, l)
	}
}

func TestServerShutdownInCallback(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	var events []string
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		s.On.Close(func(bool) { events = append(events, "socket closed") })
		assert.NoError(t, server.Shutdown(context.Background()))
		assert.False(t, server.Listening())
		events = append(events, "returned")
	})
	server.On.Close(func() { events = append(events, "closed") })
	c := kit.NewClient(l)
	c.Resume()
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, []string{"returned", "socket closed", "closed"}, events)
}

// A callback of any of the server's loops must not wait for its own loop.
func TestServerShutdownInCallbackOfTheSecondLoop(t *testing.T) {
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	var server *evnet.Server
	var addr string
	ctx, cancel := context.WithTimeout(context.Background(), evtest.Patience/12) // only to end the test if Shutdown waits
	defer cancel()
	server, addr = kit.Serve(t, loops[0], &evnet.ServerOptions{Loops: loops}, func(s *evnet.Socket) {
		if s.Loop() == loops[1] {
			assert.NoError(t, server.Shutdown(ctx))
		}
	})
	l := evnet.NewLoop()
	for range 2 {
		c := kit.NewClient(l)
		c.Resume()
		c.Connect("tcp", addr)
	}
	loops[1].Ref()
	server.On.Close(loops[1].Unref)
	var others sync.WaitGroup
	others.Go(func() { kit.Run(t, loops[1]) })
	others.Go(func() { kit.AwaitRunning(loops...); kit.Run(t, l) })
	kit.Run(t, loops[0])
	others.Wait()
	assert.NoError(t, ctx.Err(), "Shutdown waited for its own loop")
}

// The context of a completed Shutdown must not destroy the connections of a later Listen.
func TestServerShutdownInCallbackForgetsItsContext(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, _ := kit.Serve(t, l, nil, nil)
	server.Once.Listening(func() { assert.NoError(t, server.Shutdown(ctx)) })
	server.Once.Close(func() {
		require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
		c := kit.NewClient(l)
		c.Connect("tcp", server.Address().String())
		rounds := 0
		c.On.Ready(func() { _, _ = c.WriteString("x") })
		c.On.Data(func(p []byte) {
			if rounds++; rounds == 1 {
				cancel()
			}
			if rounds < 100 { // enough time for the end of the context to interfere
				_, _ = c.Write(p)
				return
			}
			c.End()
		})
		c.On.Error(func(error) {})
		c.On.Close(func(bool) {
			assert.Equal(t, 100, rounds, "the context ended a connection that Shutdown has not seen")
			_ = server.Close(nil)
		})
	})
	server.On.Connection(func(s *evnet.Socket) { s.Pipe(s) })
	kit.Run(t, l)
}

func TestServerShutdownNotRunning(t *testing.T) {
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	assert.ErrorIs(t, server.Shutdown(context.Background()), evnet.ErrServerNotRunning)
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	require.NoError(t, server.Close(nil))
	closes := 0
	server.On.Close(func() { closes++ })
	kit.Run(t, l)
	assert.ErrorIs(t, server.Shutdown(context.Background()), evnet.ErrServerNotRunning)
	kit.Run(t, l)
	assert.Equal(t, 1, closes)
}

// Shutdown after Close ends the remaining sockets.
func TestServerShutdownAfterClose(t *testing.T) {
	l := evnet.NewLoop()
	done := false
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(*evnet.Socket) {
		require.NoError(t, server.Close(nil))
		kit.Aside(l, func() {
			assert.NoError(t, server.Shutdown(context.Background()))
			done = true
		})
	})
	c := kit.NewClient(l)
	c.Resume()
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.True(t, done)
}

// The last socket may close at the same time as Shutdown checks.
func TestServerShutdownWhileTheLastSocketCloses(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), evtest.Patience/12)
	defer cancel()
	for range 300 {
		l := evnet.NewLoop()
		m := evtest.NewMemoryListener()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		server.On.Connection(func(s *evnet.Socket) {
			require.NoError(t, server.Close(nil))
			about := make(chan struct{})
			kit.Aside(l, func() {
				close(about)
				if err := server.Shutdown(ctx); err != nil {
					assert.ErrorIs(t, err, evnet.ErrServerNotRunning)
				}
			})
			<-about
			runtime.Gosched()
			s.Destroy(nil)
		})
		require.NoError(t, server.Serve(m))
		m.Dial()
		kit.Run(t, l)
		if !assert.NoError(t, ctx.Err(), "Shutdown missed Close and waited for the context") {
			return
		}
	}
}

func TestServerCloseAllConnections(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	accepted := 0
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		if accepted++; accepted < 3 {
			return
		}
		assert.Len(t, server.Sockets(), 3)
		server.CloseAllConnections()
		assert.True(t, s.Destroyed())
		assert.Empty(t, server.Sockets())
		assert.True(t, server.Listening(), "the server still listens")
		require.NoError(t, server.Close(nil))
	})
	closed := 0
	for range 3 {
		c := kit.NewClient(l)
		c.Resume()
		c.On.Error(func(error) {})
		c.On.Close(func(bool) { closed++ })
		c.Connect("tcp", addr)
	}
	kit.Run(t, l)
	assert.Equal(t, 3, closed)
}

// Close waits for every socket, and calls its callback once, after the existing listeners of Close.
func TestServerCloseWaitsForConnections(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	var events []string
	say := func(what string) func() { return func() { events = append(events, what) } }
	accepted := 0
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		s.Resume()
		s.On.Close(func(bool) { say("socket")() })
		if accepted++; accepted == 2 {
			require.NoError(t, server.Close(say("callback")))
			assert.ErrorIs(t, server.Close(say("never")), evnet.ErrServerNotRunning)
			assert.Nil(t, server.Address())
			for _, other := range server.Sockets() {
				other.Destroy(nil) // both before either emits Close
			}
			assert.Zero(t, server.Connections())
		}
	})
	server.On.Close(say("event"))
	for range 2 {
		c := kit.NewClient(l)
		c.Resume()
		c.On.Error(func(error) {})
		c.Connect("tcp", addr)
	}
	kit.Run(t, l)
	assert.Equal(t, []string{"socket", "socket", "event", "callback"}, events)

	events = nil // each Close has its own callback
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	require.NoError(t, server.Close(nil))
	kit.Run(t, l)
	assert.Equal(t, []string{"event"}, events)
}

func TestServerListenContext(t *testing.T) {
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	closes, called := 0, 0
	server.On.Close(func() { closes++ })
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, server.ListenContext(ctx, "tcp", "127.0.0.1:0", func() { called++; go cancel() }))
	kit.Run(t, l)
	assert.Equal(t, 1, called)
	assert.Equal(t, 1, closes)
	assert.False(t, server.Listening())

	err := server.ListenContext(ctx, "tcp", "127.0.0.1:0", func() { called++ })
	assert.ErrorIs(t, err, context.Canceled)
	assert.Nil(t, server.Address())
	kit.Run(t, l)
	assert.Equal(t, 1, closes, "nothing was opened, so Close is not emitted")

	// A context that ends after Close, while the server listens again, has no effect.
	ctx, cancel = context.WithCancel(context.Background())
	require.NoError(t, server.ListenContext(ctx, "tcp", "127.0.0.1:0", nil))
	require.NoError(t, server.Close(nil))
	kit.Run(t, l)
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	cancel()
	l.AfterFunc(time.Millisecond, func() {
		assert.True(t, server.Listening())
		require.NoError(t, server.Close(nil))
	})
	kit.Run(t, l)
	assert.Equal(t, 3, closes)
}

func TestServerAddresses(t *testing.T) {
	l := evnet.NewLoop()
	path := evtest.SocketPath(t)
	for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": path} {
		t.Run(network, func(t *testing.T) {
			if network == "unix" && runtime.GOOS == "windows" {
				t.Skip("no file to look for")
			}
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			for range 2 { // it may listen again
				err := server.Listen(network, address, nil)
				if err != nil && network == "tcp6" {
					t.Skip("no IPv6 here")
				}
				require.NoError(t, err)
				got := server.Address()
				c := kit.NewClient(l)
				if network == "unix" {
					assert.Equal(t, path, got.String())
					c.Connect("unix", path)
				} else {
					assert.Equal(t, "tcp", got.Network())
					assert.NotZero(t, got.(*net.TCPAddr).Port)
					assert.True(t, strings.HasPrefix(got.String(), strings.TrimSuffix(address, "0")), got)
					c.Connect(network, got.String())
				}
				server.Once.Connection(func(s *evnet.Socket) {
					assert.Equal(t, got.String(), s.LocalAddr().String())
					assert.Same(t, server, s.Server())
					require.NoError(t, server.Close(nil))
					s.End()
				})
				c.Resume()
				kit.Run(t, l)
				if network == "unix" {
					assert.NoFileExists(t, path)
					assert.Equal(t, path, server.Address().String(), "a Unix server keeps its path")
				} else {
					assert.Nil(t, server.Address())
				}
			}
		})
	}
}
