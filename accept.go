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
	maxDrops   = 16 << 10 // that wait to be told on the server's loop: a few megabytes
)

var errNoConn = errors.New("the listener's Accept has answered with neither a conn nor an error")

// spawnAccept starts accepting. Each loop waits for the end of it: its last conn is still to be taken
// there.
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

// accept takes connections until the listener is closed. An error that passes does not end it; the one
// it returns will not pass.
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
		if errors.Is(err, net.ErrClosed) { // closed behind the server's back
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
	heard := false
	for _, e := range list {
		if fn, ok := callback[func(error)](e, s, kindError); ok {
			heard = true
			fn(err)
		}
	}
	if !heard {
		if r, ok := s.acceptLog.Take(s.settings[0].logger(), slog.LevelWarn); ok {
			r.Write("evnet: accepting failed", "err", err, "local", lis.ln.Addr())
		}
	}
}

// connection emits an accepted conn, or refuses it. It runs on the loop of the new socket.
func (s *Server) connection(lis *listening, set *settings, conn net.Conn) {
	taken := false
	defer func() { // also when an address of a conn panics
		if !taken {
			set.closeConn(conn)
		}
	}()
	if s.opts.BlockList.blocksPeer(conn) {
		return
	}
	at := addressesOf(conn)
	s.mu.Lock()
	if s.lis != lis {
		s.mu.Unlock()
		return
	}
	if s.max < 0 || s.max > 0 && s.count >= s.max {
		s.mu.Unlock()
		d := Drop{Local: conn.LocalAddr(), Remote: conn.RemoteAddr()}
		taken = true
		set.closeConn(conn)
		s.drop(set, d)
		return
	}
	c := newSocket(set)
	c.mu.Lock() // until it has its conn: Sockets shows it from here on
	c.place, c.active = s.live.put(c), true
	s.count++
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

// emitConnection tells of a socket, on its loop.
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

// emitTLSClientError tells why a socket never became a connection, on its loop.
func (s *Server) emitTLSClientError(err error, c *Socket) {
	s.mu.Lock()
	list := s.events
	s.mu.Unlock()
	c.set.Loop.current = c
	c.set.Loop.trace(s, TraceEvent{Name: EventTLSClientError, Err: err, Socket: c})
	heard := false
	for _, e := range list {
		if fn, ok := callback[func(error, *Socket)](e, s, kindTLSClientError); ok {
			heard = true
			fn(err, c)
		}
	}
	if !heard {
		c.logUnhandled("evnet: a TLS connection has failed, the server goes on", err, errCutOff)
	}
}

// drop has a Drop told on the server's loop, unless too many wait for that already.
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
