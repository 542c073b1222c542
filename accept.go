package evnet

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/listen"
	"evnet/internal/transport"
)

const (
	maxUnserved = 128      // accepted conns that are queued for one busy loop
	maxDrops    = 16 << 10 // Drop events that are queued on the server's loop: a few megabytes
)

// listening is one period of listening, from Listen or Serve to the next Close. It owns the acceptor, whose owner it
// is in turn.
type listening struct {
	server    *Server
	acceptor  *listen.Acceptor
	addr      net.Addr
	mayBlock  bool // methods of the listener are the user's code
	arrivals  arrivals
	handoff   *listen.Handoff[accepted] // to the loops, by their index in Server.settings
	serveNext []func()                  // for each loop: serves one conn of the handoff
	unwatch   func() bool               // of the context; guarded by Server.mu, nil until the context is watched
	idleTimer *time.Timer               // of reportIdleLoops, or nil; guarded by Server.mu
	reporting bool                      // reportIdleLoopsLater has started the timer; the acceptor's goroutine uses it
}

// newListening returns a period of listening on ln that has not started yet.
func newListening(s *Server, ln net.Listener, addr net.Addr) *listening {
	lis := &listening{
		server: s, addr: addr, mayBlock: listen.MayBlock(ln),
		handoff: listen.NewHandoff[accepted](len(s.settings), maxUnserved),
	}
	lis.arrivals.init()
	lis.acceptor = listen.NewAcceptor(ln, lis)
	for i, set := range s.settings {
		lis.serveNext = append(lis.serveNext, func() {
			item, more, ok := lis.handoff.Take(i)
			if more {
				lis.notify(i)
			}
			if ok {
				set.Loop.core().ParkSoon()
				s.connection(lis, set, item)
			}
		})
	}
	return lis
}

// Accepted hands a conn over to a loop that runs. It runs on the acceptor's goroutine, and blocks while all loops are
// busy.
func (lis *listening) Accepted(conn net.Conn) {
	switch {
	case transport.IsKernelConn(conn):
		lis.pass(accepted{conn: conn})
	case transport.MayBlock(conn):
		lis.identify(conn)
	default:
		lis.pass(accepted{conn: conn, at: addresses{conn.LocalAddr(), conn.RemoteAddr()}})
	}
	lis.reportIdleLoopsLater()
}

// pass hands a conn over to a loop. It blocks while all loops are busy.
func (lis *listening) pass(item accepted) {
	loop, ok := lis.handoff.Put(item)
	if !ok {
		lis.server.settings[0].closeConn(item.conn)
		return
	}
	if loop != listen.NoReceiver {
		lis.notify(loop)
	}
}

// AcceptFailed schedules Error. It runs on the acceptor's goroutine.
func (lis *listening) AcceptFailed(err error) {
	s := lis.server
	s.loop.core().Event(func() { s.emitAcceptError(lis, err) })
}

// spawnAcceptor starts the acceptor. Run of each loop returns only after the acceptor has ended, because the loop still
// has to process the last conn.
func (s *Server) spawnAcceptor(lis *listening) {
	done := make(chan struct{})
	for _, set := range s.settings {
		if set.Loop != s.loop {
			set.Loop.core().Go(func() { <-done })
		}
	}
	s.loop.core().Go(func() {
		defer close(done)
		eventloop.Contain((*handle)(nil), lis.acceptor.Run, func(err error) {
			if err != nil { // permanent, or a panic
				lis.AcceptFailed(err)
				s.loop.core().Event(func() { s.acceptingEnded(lis, err) })
			}
		})
	})
}

// acceptingEnded closes the server after a permanent error of accepting. If the program has closed the listener, the conns
// that wait for a loop are served first, on the server's own loop.
func (s *Server) acceptingEnded(lis *listening, err error) {
	if errors.Is(err, net.ErrClosed) {
		for _, item := range lis.handoff.Close() {
			s.loop.core().Event(func() { s.connection(lis, s.settings[0], item) })
		}
	}
	s.loop.core().Event(func() { _ = s.stop(lis, nil) })
}

// emitAcceptError emits Error, unless lis has ended. It logs the error if no listener handles it.
func (s *Server) emitAcceptError(lis *listening, err error) {
	list, current := s.emittingOf(lis)
	if !current {
		return
	}
	s.loop.trace(s, TraceEvent{Name: EventError, Err: err})
	handled := false
	for _, e := range list {
		if fn, ok := callback[func(error)](e, s, kindError); ok {
			handled = true
			fn(err)
		}
	}
	if !handled {
		if r, ok := s.acceptLog.Take(s.settings[0].logger(), slog.LevelWarn); ok {
			r.Write("evnet: accepting failed", "err", err, "local", lis.addr)
		}
	}
}

// connection makes a socket from an accepted conn and emits Connection, or refuses the conn. It runs on the loop of
// the new socket.
func (s *Server) connection(lis *listening, set *settings, item accepted) {
	conn, at := item.conn, item.at
	owned := false // by the socket, or closed
	defer func() { // also if a method of the conn panics
		if !owned {
			set.closeConn(conn)
		}
	}()
	repanic(item.err)
	from := at // also of a kernel conn
	if transport.IsKernelConn(conn) {
		from = addresses{conn.LocalAddr(), conn.RemoteAddr()}
	}
	if s.opts.BlockList.blocksPeer(from.remote) {
		return
	}
	peer := s.peerAddress(from.remote)
	s.mu.Lock()
	if s.lis != lis {
		s.mu.Unlock()
		return
	}
	if reason, exceeds := s.exceedsLocked(peer); exceeds {
		s.mu.Unlock()
		d := Drop{Local: from.local, Remote: from.remote, Reason: reason}
		owned = true
		set.closeConn(conn)
		s.drop(set, d)
		return
	}
	c := newSocket(set)
	c.mu.Lock() // until c has its conn: from here on Sockets returns c
	c.place = s.live.add(c)
	s.countLocked(c, peer)
	s.mu.Unlock()

	open := c.registerLocked()
	c.attachLocked(conn, at, transport.Server)
	secure := set.TLSConfig != nil
	if secure {
		c.makeOpt().accepting = true
	}
	if s.opts.PauseOnConnect {
		c.in.mode = paused
	}
	if open && s.opts.FirstByteTimeout > 0 {
		c.awaitFirstByteLocked(s.opts.FirstByteTimeout)
	}
	owned = true
	c.mu.Unlock()
	c.setOptions()
	if !open {
		c.Destroy(nil)
	}
	if c.Destroyed() {
		return
	}
	if !secure { // with TLS, Connection follows the handshake
		s.emitConnection(c)
	}
	c.begin()
}

// emitConnection emits Connection. It runs on the loop of the socket.
func (s *Server) emitConnection(c *Socket) {
	list := s.emitting()
	c.loop().SetOwner((*handle)(c))
	c.set.Loop.trace(s, TraceEvent{Name: EventConnection, Socket: c})
	for _, e := range list {
		if fn, ok := callback[func(*Socket)](e, s, kindConnection); ok {
			fn(c)
		}
	}
}

// emitTLSClientError emits TLSClientError. It runs on the loop of the socket. It logs the error if no listener
// handles it.
func (s *Server) emitTLSClientError(err error, c *Socket) {
	list := s.emitting()
	c.loop().SetOwner((*handle)(c))
	c.set.Loop.trace(s, TraceEvent{Name: EventTLSClientError, Err: err, Socket: c})
	handled := false
	for _, e := range list {
		if fn, ok := callback[func(error, *Socket)](e, s, kindTLSClientError); ok {
			handled = true
			fn(err, c)
		}
	}
	if !handled {
		c.logUnhandled("evnet: TLS handshake of an accepted connection failed", err, transport.ErrTruncated)
	}
}

// drop emits Drop on the server's loop, unless too many Drop events are queued there.
func (s *Server) drop(set *settings, d Drop) {
	switch {
	case set.Loop == s.loop:
		s.emitDrop(d)
	case s.pendingDrops.Add(1) > maxDrops:
		s.pendingDrops.Add(-1)
	default:
		s.loop.core().Event(func() {
			s.pendingDrops.Add(-1)
			s.emitDrop(d)
		})
	}
}

// emitDrop emits Drop. It runs on the server's loop.
func (s *Server) emitDrop(d Drop) {
	list := s.emitting()
	s.loop.trace(s, TraceEvent{Name: EventDrop, Drop: d})
	for _, e := range list {
		if fn, ok := callback[func(Drop)](e, s, kindDrop); ok {
			fn(d)
		}
	}
}
