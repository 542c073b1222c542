package evnet

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

const (
	firstRetry = 5 * time.Millisecond // after a failed accept, doubled while it fails
	lastRetry  = time.Second
	maxDrops   = 16 << 10 // pending for the server's loop: a few megabytes
)

var errNoConn = errors.New("the listener's Accept has answered with neither a conn nor an error")

// spawnAccept starts accepting. Run of each loop does not return before it has ended: the loop still has to
// take its last conn.
func (s *Server) spawnAccept(lis *listening) {
	done := make(chan struct{})
	for _, set := range s.settings {
		if set.Loop != s.loop {
			set.Loop.spawn(func() { <-done })
		}
	}
	s.loop.spawn(func() {
		defer close(done)
		contain(nil, func() error { return s.accept(lis) }, func(err error) {
			if err != nil {
				s.loop.event(func() { s.acceptFailed(lis, err) })
				s.loop.event(func() { _ = s.stop(lis, nil) })
			}
		})
	})
}

// accept accepts connections until the listener is closed. It retries after a temporary error, and returns
// a permanent one.
func (s *Server) accept(lis *listening) error {
	retry := firstRetry
	for {
		conn, err := lis.ln.Accept()
		if err == nil && conn == nil {
			err = errNoConn
		}
		if err == nil {
			retry = firstRetry
			s.assign(lis, conn)
			continue
		}
		select {
		case <-lis.closed:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) { // closed by the program, not by the server
			return err
		}
		s.loop.event(func() { s.acceptFailed(lis, err) })
		timer := time.NewTimer(retry)
		select {
		case <-timer.C:
		case <-lis.closed:
			timer.Stop()
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

func (s *Server) acceptFailed(lis *listening, err error) {
	s.mu.Lock()
	current := s.lis == lis
	list := s.events
	s.mu.Unlock()
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
			r.Write("evnet: accepting failed", "err", err, "local", lis.ln.Addr())
		}
	}
}

// connection makes a socket of an accepted conn and emits Connection, or refuses the conn. It runs on the
// loop of the new socket.
func (s *Server) connection(lis *listening, set *settings, conn net.Conn) {
	taken := false
	defer func() { // also when a method of the conn panics
		if !taken {
			set.closeConn(conn)
		}
	}()
	if s.opts.BlockList.blocksPeer(conn) {
		return
	}
	at := addressesOf(conn)
	peer := s.peerAddress(conn, at)
	s.mu.Lock()
	if s.lis != lis {
		s.mu.Unlock()
		return
	}
	if reason, exceeds := s.exceedsLocked(peer); exceeds {
		s.mu.Unlock()
		d := Drop{Local: conn.LocalAddr(), Remote: conn.RemoteAddr(), Reason: reason}
		taken = true
		set.closeConn(conn)
		s.drop(set, d)
		return
	}
	c := newSocket(set)
	c.mu.Lock() // until it has its conn: Sockets returns it from here on
	c.place = s.live.put(c)
	s.countLocked(c, peer)
	s.mu.Unlock()

	open := c.hold()
	c.adopt(conn, at, tlsServer)
	secure := set.TLSConfig != nil
	if secure {
		c.makeRare().accepting = true
	}
	if s.opts.PauseOnConnect {
		c.in.mode = paused
	}
	if open && s.opts.FirstByteTimeout > 0 {
		c.awaitFirstByte(s.opts.FirstByteTimeout)
	}
	taken = true
	c.mu.Unlock()
	c.setOptions()
	if !open {
		c.Destroy(nil)
	}
	if c.Destroyed() {
		return
	}
	if !secure { // else after the handshake
		s.emitConnection(c)
	}
	c.begin()
}

// emitConnection emits Connection on the loop of the socket.
func (s *Server) emitConnection(c *Socket) {
	s.mu.Lock()
	list := s.events
	s.mu.Unlock()
	c.set.Loop.current = c
	c.set.Loop.trace(s, TraceEvent{Name: EventConnection, Socket: c})
	for _, e := range list {
		if fn, ok := callback[func(*Socket)](e, s, kindConnection); ok {
			fn(c)
		}
	}
}

// emitTLSClientError emits TLSClientError on the loop of the socket.
func (s *Server) emitTLSClientError(err error, c *Socket) {
	s.mu.Lock()
	list := s.events
	s.mu.Unlock()
	c.set.Loop.current = c
	c.set.Loop.trace(s, TraceEvent{Name: EventTLSClientError, Err: err, Socket: c})
	handled := false
	for _, e := range list {
		if fn, ok := callback[func(error, *Socket)](e, s, kindTLSClientError); ok {
			handled = true
			fn(err, c)
		}
	}
	if !handled {
		c.logUnhandled("evnet: a TLS connection has failed, the server goes on", err, errCutOff)
	}
}

// drop emits Drop on the server's loop, unless too many are pending there.
func (s *Server) drop(set *settings, d Drop) {
	switch {
	case set.Loop == s.loop:
		s.emitDrop(d)
	case s.drops.Add(1) > maxDrops:
		s.drops.Add(-1)
	default:
		s.loop.event(func() {
			s.drops.Add(-1)
			s.emitDrop(d)
		})
	}
}

func (s *Server) emitDrop(d Drop) {
	s.mu.Lock()
	list := s.events
	s.mu.Unlock()
	s.loop.trace(s, TraceEvent{Name: EventDrop, Drop: d})
	for _, e := range list {
		if fn, ok := callback[func(Drop)](e, s, kindDrop); ok {
			fn(d)
		}
	}
}
