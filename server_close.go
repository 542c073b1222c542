package evnet

import (
	"context"
	"errors"
	"net"
	"slices"
)

// How a server ends.

// socketDestroyed ends the count of an accepted socket as open.
func (s *Server) socketDestroyed(c *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uncountLocked(c)
}

// socketClosed is told after the Close of an accepted socket.
func (s *Server) socketClosed(c *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place != 0 {
		s.live.take(c.place)
		c.place = 0
	}
	s.closeIfDone()
}

// closeIfDone makes Close be emitted when nothing is left open. s.mu is held.
func (s *Server) closeIfDone() {
	if s.closing && s.ending == 0 && s.lis == nil && s.live.len() == 0 {
		s.closing = false
		s.due++
		s.loop.tick(s.emitClose)
	}
}

func (s *Server) emitClose() {
	s.mu.Lock()
	list := s.events
	s.mu.Unlock()
	defer func() { // even if a listener panics
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, fn := range s.afterClose {
			fn()
		}
		s.afterClose = nil
		s.due--
		s.leaveLoops()
	}()
	s.loop.trace(s, TraceEvent{Name: EventClose})
	for _, e := range list {
		if fn, ok := callback[func()](e, s, kindClose); ok {
			fn()
		}
	}
}

// Close stops accepting, at once; open connections live on, but those that still wait for a busy loop
// are closed. Close is emitted, and onClose called once, if it is not nil, after the listener and the
// last of them have closed: the address is free then. A server that listens again while it waits for
// them has one Close for both times, after the next call. When the server does not listen Close
// returns ErrServerNotRunning and no event follows. Node: server.close.
func (s *Server) Close(onClose func()) error {
	s.mu.Lock()
	lis := s.lis
	s.mu.Unlock()
	return s.stop(lis, onClose)
}

func (s *Server) stop(lis *listening, onClose func()) error {
	s.mu.Lock()
	if lis == nil || s.lis != lis {
		s.mu.Unlock()
		return ErrServerNotRunning
	}
	s.lis, s.closing = nil, true
	s.ending++
	addr := s.addr
	if network(addr) != "unix" {
		s.addr = nil // a Unix server keeps its path, as in Node
	}
	if onClose != nil {
		s.events.add(modeOnce, kindClose, onClose)
	}
	s.mu.Unlock()
	lis.unwatch()
	close(lis.closed)
	for _, conn := range lis.waiting.end() {
		s.settings[0].closeConn(conn)
	}
	contain(nil, lis.ln.Close, func(err error) {
		s.mu.Lock()
		s.ending--
		s.closeIfDone()
		s.mu.Unlock()
		if err != nil && !errors.Is(err, net.ErrClosed) { // last, for the Logger may panic
			s.settings[0].logger().Warn("evnet: closing the listener failed", "err", err, "local", addr)
		}
	})
	return nil
}

// leaveLoops lets the loops go, all at once, unless there is more to come: none may have ended when
// a Close listener listens again. s.mu is held.
func (s *Server) leaveLoops() {
	if s.lis == nil && !s.closing && s.due == 0 {
		for _, set := range s.settings {
			set.Loop.remove(s)
		}
	}
}

func (s *Server) halt() {
	s.CloseAllConnections()
	_ = s.Close(nil)
	for _, set := range s.settings {
		if set.Loop != s.loop { // where Close is still to be emitted
			set.Loop.removeIfEnding(s)
		}
	}
}

// CloseAllConnections destroys every open accepted socket. The server goes on listening. Node has
// it on http.Server only.
func (s *Server) CloseAllConnections() {
	for _, c := range s.Sockets() {
		c.Destroy(nil)
	}
}

// Shutdown closes the server, ends its side of every open accepted socket, destroys those that Connection has
// not told yet for their TLS handshake is not done, and waits until Close
// was emitted. When ctx ends first it destroys the sockets that are left and returns ctx.Err()
// without waiting longer. It does not end sockets that other servers or Connect have made. If somebody
// makes the server listen again while it waits for them, the Close it waits for is that of both times. When the server
// neither listens nor has open sockets it returns ErrServerNotRunning.
//
// It blocks, and needs the loop to run meanwhile. In a callback, where waiting would stop the loop,
// it does the same without waiting and returns nil. Node has none.
func (s *Server) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilArgument("Shutdown", "context")
	}
	onLoop := slices.ContainsFunc(s.settings, func(set *settings) bool { return set.Loop.here() })
	done := make(chan struct{})
	s.mu.Lock()
	if s.lis == nil && !s.closing {
		s.mu.Unlock()
		return ErrServerNotRunning
	}
	if onLoop {
		unwatch := context.AfterFunc(ctx, s.CloseAllConnections)
		s.afterClose = append(s.afterClose, func() { unwatch() })
	} else {
		s.afterClose = append(s.afterClose, func() { close(done) })
	}
	s.mu.Unlock()
	_ = s.Close(nil) // it may be closed already, and wait for its sockets
	for _, c := range s.Sockets() {
		c.shutDown()
	}
	if onLoop {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.CloseAllConnections()
		return ctx.Err()
	}
}

// shutDown is End, but for a socket that Connection has not told yet: nobody has anything to end there, and
// its peer may be in no hurry.
func (s *Socket) shutDown() {
	s.mu.Lock()
	accepting := s.rare().accepting
	s.mu.Unlock()
	if accepting {
		s.Destroy(nil)
	} else {
		s.End()
	}
}
