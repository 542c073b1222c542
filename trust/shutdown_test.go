package trust

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plight is what a server is busy with when it is to end.
type plight struct {
	opts     evnet.ServerOptions
	serve    func(l *evnet.Loop, s *evnet.Socket) // the Connection callback
	peer     func(c net.Conn)                     // what each peer does, until its conn is closed
	graceful bool                                 // the peers end when they are told to
}

const shutdownPeers = 4

var block = make([]byte, 64<<10)

// writeForEver keeps the queue full as long as writing is allowed.
func writeForEver(_ *evnet.Loop, s *evnet.Socket) {
	more := func() {
		for !s.NeedDrain() {
			if _, err := s.Write(block); err != nil {
				return
			}
		}
	}
	s.On.Drain(more)
	s.Resume()
	more()
}

func idlePeer(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// deafPeer neither reads nor ends, but notices when its conn is closed here.
func deafPeer(net.Conn) {}

var plights = map[string]plight{
	"no connections": {graceful: true},
	"idle connections": {
		serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Resume() }, peer: idlePeer, graceful: true,
	},
	"busy in both directions": {
		serve: writeForEver,
		peer: func(c net.Conn) {
			go func() {
				for {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
			idlePeer(c)
		},
	},
	"busy with an echo": {
		serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Pipe(s) },
		peer: func(c net.Conn) {
			go func() {
				for {
					if _, err := c.Write(block); err != nil {
						return
					}
				}
			}()
			idlePeer(c)
		},
	},
	"peers that never read": {serve: writeForEver, peer: deafPeer},
	"peers that never end":  {serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Resume() }, peer: deafPeer},
	"half-open peers": {
		opts:  evnet.ServerOptions{AllowHalfOpen: true},
		serve: writeForEver,
		peer:  func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
	},
	"sockets that nobody reads": {
		serve: func(*evnet.Loop, *evnet.Socket) {},
		peer: func(c net.Conn) {
			_, _ = c.Write(block)
			idlePeer(c)
		},
	},
	"paused sockets": {
		opts:  evnet.ServerOptions{PauseOnConnect: true},
		serve: func(*evnet.Loop, *evnet.Socket) {},
		peer: func(c net.Conn) {
			_, _ = c.Write(block)
			idlePeer(c)
		},
	},
	"corked writes": {
		serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Cork(); _, _ = s.Write(block); s.Resume() },
		peer:  idlePeer, graceful: true,
	},
	"callbacks without end": {
		serve: func(l *evnet.Loop, s *evnet.Socket) {
			var post, tick func()
			post = func() { s.WriteThen([]byte("x"), func(err error) { l.Post(post) }) }
			tick = func() {
				if !s.Destroyed() {
					l.AfterFunc(0, tick)
				}
			}
			s.On.Close(func(bool) { post = func() {} })
			s.Resume()
			post()
			tick()
		},
		peer: deafPeer,
	},
}

// ending is a way to end a server. It is called on a goroutine of its own once every peer is connected.
type ending struct {
	loops int
	end   func(e *endings)
}

// endings is what an ending has to do with.
type endings struct {
	t        *testing.T
	server   *evnet.Server
	l        *evnet.Loop
	stop     context.CancelFunc // of Serve's context
	unlisten context.CancelFunc // of ListenContext's
	graceful bool
}

// soon is a context that ends soon, but for what ends by itself.
func (e *endings) soon() (context.Context, context.CancelFunc) {
	if e.graceful {
		return context.WithTimeout(context.Background(), patience)
	}
	return context.WithTimeout(context.Background(), 5*time.Millisecond)
}

// told checks what Shutdown has returned.
func (e *endings) told(err error) {
	if e.graceful {
		assert.NoError(e.t, err)
	} else {
		assert.ErrorIs(e.t, err, context.DeadlineExceeded)
	}
}

var waysToEnd = map[string]ending{
	"Shutdown": {end: func(e *endings) {
		ctx, cancel := e.soon()
		defer cancel()
		e.told(e.server.Shutdown(ctx))
	}},
	"Shutdown with several loops": {loops: 3, end: func(e *endings) {
		ctx, cancel := e.soon()
		defer cancel()
		e.told(e.server.Shutdown(ctx))
	}},
	"Shutdown in a callback": {end: func(e *endings) {
		ctx, cancel := e.soon()
		e.server.On.Close(cancel)
		e.l.Do(func() { assert.NoError(e.t, e.server.Shutdown(ctx)) })
	}},
	"Shutdown with a context that has ended": {loops: 2, end: func(e *endings) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.server.Shutdown(ctx); err != nil {
			assert.ErrorIs(e.t, err, context.Canceled)
		}
	}},
	"Shutdown again": {end: func(e *endings) {
		short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		first := e.server.Shutdown(short)
		again, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		second := e.server.Shutdown(again)
		if second != nil {
			assert.ErrorIs(e.t, second, evnet.ErrServerNotRunning)
		} else {
			assert.Error(e.t, first)
		}
	}},
	"Shutdown eight times at once": {loops: 2, end: func(e *endings) {
		ctx, cancel := e.soon()
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				switch err := e.server.Shutdown(ctx); err {
				case nil, evnet.ErrServerNotRunning: // another one has ended it meanwhile
				default:
					e.told(err)
				}
			})
		}
		all.Wait()
	}},
	"Close and CloseAllConnections": {loops: 2, end: func(e *endings) {
		closed := make(chan struct{})
		assert.NoError(e.t, e.server.Close(func() { close(closed) }))
		e.server.CloseAllConnections()
		<-closed
	}},
	"Serve's context":             {loops: 2, end: func(e *endings) { e.stop() }},
	"ListenContext's and Serve's": {end: func(e *endings) { e.unlisten(); e.stop() }},
	"Shutdown while Serve's context ends": {end: func(e *endings) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		time.AfterFunc(time.Millisecond, e.stop)
		if err := e.server.Shutdown(ctx); err != nil { // which is over before Shutdown has begun
			assert.ErrorIs(e.t, err, evnet.ErrServerNotRunning)
		}
	}},
}

// Whatever a server is busy with, it ends in time, however it is told to, and leaves nothing.
func TestShutdown(t *testing.T) {
	for busy, p := range plights {
		for how, w := range waysToEnd {
			t.Run(busy+"/"+how, func(t *testing.T) {
				onEach(t, func(t *testing.T) { tryShutdown(t, p, w) })
			})
		}
	}
}

func tryShutdown(t *testing.T, p plight, w ending) {
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
	w.end(&endings{t, server, loops[0], stop, unlisten, p.graceful})
	ended := make(chan struct{})
	if server.Close(func() { close(ended) }) == nil {
		<-ended
	}
	for !idle(server) { // Close may be on its way
		loops[0].Do(func() {})
	}
	stop() // Serve goes on while nothing is open
	all.Wait()
	hung.Stop()
	assert.Equal(t, 1, closes)
	assert.Zero(t, server.Connections())
	assert.Empty(t, server.Sockets())
	assert.False(t, server.Listening())
	for _, c := range conns {
		_ = c.Close()
	}
	peers.Wait()
}

// idle reports whether the server has nothing open.
func idle(server *evnet.Server) bool { return !server.Listening() && server.Connections() == 0 }

// Ending a server while connections come as fast as they can loses none of their conns.
func TestShutdownInAFlood(t *testing.T) {
	for name, end := range map[string]func(l *evnet.Loop, server *evnet.Server, stop context.CancelFunc){
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
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
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
					return // it listens no more
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
	others.Go(func() {
		<-accepted
		end(l, server, stop)
	})
	hung := bound(t, "the server does not end")
	assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
	over.Store(true)
	others.Wait()
	hung.Stop()
	assert.True(t, idle(server))
}

// On DefaultLoop it is the same.
func TestShutdownOfDefaultLoop(t *testing.T) {
	onEach(t, func(t *testing.T) {
		server := evnet.CreateServer(func(s *evnet.Socket) { writeForEver(nil, s) })
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
		evnet.Run()
		assert.True(t, idle(server))
	})
}

// A Logger that panics when a listener cannot be closed does not keep Serve from ending.
func TestShutdownWithALoggerThatPanics(t *testing.T) {
	for _, hooked := range []bool{true, false} {
		onEach(t, func(t *testing.T) {
			l := evnet.NewLoop()
			told := 0
			if hooked {
				l.OnPanic(func(*evnet.PanicError) { told++ })
			}
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: logging(func() { panic(errPanic) }).logger()})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, server.Serve(stiff{ln}))
			s, peer := (&stage{t: t, l: l}).pair()
			ctx, stop := context.WithCancel(context.Background())
			stop()
			if hooked {
				assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
				assert.Equal(t, 1, told)
			} else {
				assert.PanicsWithValue(t, errPanic, func() { _ = l.Serve(ctx) })
				assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
			}
			assert.True(t, s.Closed() && peer.Closed() && idle(server))
		})
	}
}
