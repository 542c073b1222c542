package trust

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// workload is what a server is doing when it is to end.
type workload struct {
	opts     evnet.ServerOptions
	serve    func(l *evnet.Loop, s *evnet.Socket) // the Connection callback
	peer     func(c net.Conn)                     // what each peer does, until its conn is closed
	graceful bool                                 // the peers end when the server ends its side
}

const shutdownPeers = 4

// endLimit limits how long each end may take. The contexts that close open connections expire within milliseconds, or
// never.
const endLimit = 10 * time.Second

var block = make([]byte, 64<<10)

// writeForever keeps the queue full as long as writes are accepted.
func writeForever(_ *evnet.Loop, s *evnet.Socket) {
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

// stuckPeer neither reads nor ends.
func stuckPeer(net.Conn) {}

var workloads = map[string]workload{
	"no connections": {graceful: true},
	"idle connections": {
		serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Resume() }, peer: idlePeer, graceful: true,
	},
	"busy in both directions": {
		serve: writeForever,
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
	"peers that never read": {serve: writeForever, peer: stuckPeer},
	"peers that never end":  {serve: func(_ *evnet.Loop, s *evnet.Socket) { s.Resume() }, peer: stuckPeer},
	"half-open peers": {
		opts:  evnet.ServerOptions{AllowHalfOpen: true},
		serve: writeForever,
		peer:  func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
	},
	"sockets without a consumer": {
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
	"callbacks that never stop": {
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
		peer: stuckPeer,
	},
}

// ending is a way to end a server. It is called on its own goroutine, after every peer has connected.
type ending struct {
	loops int
	end   func(e *endings)
}

// endings is what an ending needs.
type endings struct {
	t        *testing.T
	server   *evnet.Server
	l        *evnet.Loop
	stop     context.CancelFunc // cancels Serve's context
	unlisten context.CancelFunc // cancels ListenContext's context
	graceful bool
}

// context returns a context with a short deadline, or with a long one if the connections end by themselves.
func (e *endings) context() (context.Context, context.CancelFunc) {
	if e.graceful {
		return context.WithTimeout(context.Background(), patience)
	}
	return context.WithTimeout(context.Background(), 5*time.Millisecond)
}

// checkShutdown checks the error that Shutdown returned.
func (e *endings) checkShutdown(err error) {
	if e.graceful {
		assert.NoError(e.t, err)
	} else {
		assert.ErrorIs(e.t, err, context.DeadlineExceeded)
	}
}

var waysToEnd = map[string]ending{
	"Shutdown": {end: func(e *endings) {
		ctx, cancel := e.context()
		defer cancel()
		e.checkShutdown(e.server.Shutdown(ctx))
	}},
	"Shutdown with several loops": {loops: 3, end: func(e *endings) {
		ctx, cancel := e.context()
		defer cancel()
		e.checkShutdown(e.server.Shutdown(ctx))
	}},
	"Shutdown in a callback": {end: func(e *endings) {
		ctx, cancel := e.context()
		e.server.On.Close(cancel)
		e.l.Do(func() { assert.NoError(e.t, e.server.Shutdown(ctx)) })
	}},
	"Shutdown with a canceled context": {loops: 2, end: func(e *endings) {
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
	"Shutdown from eight goroutines": {loops: 2, end: func(e *endings) {
		ctx, cancel := e.context()
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				switch err := e.server.Shutdown(ctx); err {
				case nil, evnet.ErrServerNotRunning: // another call has ended it meanwhile
				default:
					e.checkShutdown(err)
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
		if err := e.server.Shutdown(ctx); err != nil { // the server may end before Shutdown begins
			assert.ErrorIs(e.t, err, evnet.ErrServerNotRunning)
		}
	}},
}
