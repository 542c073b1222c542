package evnet

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"evnet/internal/eventloop"
)

// socketDestroyed records that an accepted socket was destroyed: it no longer counts as open.
func (s *Server) socketDestroyed(c *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uncountLocked(c)
}

// socketClosed records that an accepted socket has emitted Close.
func (s *Server) socketClosed(c *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place != 0 {
		s.live.remove(c.place)
		c.place = 0
	}
	s.closeIfDoneLocked()
}

// closeIfDoneLocked schedules Close if it is pending and nothing is open.
func (s *Server) closeIfDoneLocked() {
	if s.closePending && s.closingAcceptors == 0 && s.lis == nil && s.live.len() == 0 {
		s.closePending = false
		s.queuedCloses++
		s.loop.core().Post(s.emitClose)
	}
}

// emitClose emits Close. It runs on the server's loop.
func (s *Server) emitClose() {
	list := s.emitting()
	defer s.closeEmitted() // even if a listener panics
	s.loop.trace(s, TraceEvent{Name: EventClose})
	for _, e := range list {
		if fn, ok := callback[func()](e, s, kindClose); ok {
			fn()
		}
	}
}

// closeEmitted leaves the loops and ends the calls of Shutdown.
func (s *Server) closeEmitted() {
	s.mu.Lock()
	after := s.afterClose
	s.afterClose = nil
	s.queuedCloses--
	s.leaveLoopsLocked()
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// Close stops accepting immediately. Open connections stay open; accepted ones that a busy loop has not processed
// yet are closed, because no Connection is emitted after Close. To serve them, close Listener instead. Close is
// emitted, and onClose is called once unless it is nil, after the listener and the last of the connections have closed.
// The address is free then.
//
// If the server listens again before that, there is one Close event for both periods of listening, after the next
// call. If the server does not listen, Close returns ErrServerNotRunning and no event follows.
//
// Node: server.close.
func (s *Server) Close(onClose func()) error {
	s.mu.Lock()
	lis := s.lis
	s.mu.Unlock()
	return s.stop(lis, onClose)
}

// stop ends a period of listening, if it is the current one.
func (s *Server) stop(lis *listening, onClose func()) error {
	s.mu.Lock()
	if lis == nil || s.lis != lis {
		s.mu.Unlock()
		return ErrServerNotRunning
	}
	s.lis, s.closePending = nil, true
	s.closingAcceptors++
	addr, unwatch, idleTimer := s.addr, lis.unwatch, lis.idleTimer
	if network(addr) != "unix" {
		s.addr = nil // a Unix server keeps its path, as in Node
	}
	if onClose != nil {
		s.events.add(modeOnce, kindClose, onClose)
	}
	s.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	if idleTimer != nil {
		idleTimer.Stop()
	}
	lis.unwatchLoops()
	for _, conn := range lis.arrivals.end() {
		s.settings[0].closeConn(conn)
	}
	for _, item := range lis.handoff.Close() {
		s.settings[0].closeConn(item.conn)
	}
	s.closeListener(lis, addr)
	return nil
}

// maxListenerClose limits how long closing a listener of package net delays the caller. It usually takes a few microseconds.
const maxListenerClose = 100 * time.Millisecond

// closeListener closes the listener on a goroutine: a custom one may block, and one of the kernel waits for an Accept that
// blocks in the kernel. It waits for a short time, so that usually the address is free when Close of the server returns.
func (s *Server) closeListener(lis *listening, addr net.Addr) {
	limit := maxListenerClose
	if lis.mayBlock {
		limit = foreignWait
	}
	callForeign(s.loop.core(), func() {
		eventloop.Contain((*handle)(nil), lis.acceptor.Close, func(err error) { s.listenerClosed(err, addr) })
	}).waitFor(limit)
}

// listenerClosed records that a listener was closed. It logs a failure on the loop, because the Logger may panic.
func (s *Server) listenerClosed(err error, addr net.Addr) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		s.loop.core().Event(func() {
			s.settings[0].logger().Warn("evnet: closing the listener failed", "err", err, "local", addr)
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closingAcceptors--
	s.closeIfDoneLocked()
}

// leaveLoopsLocked removes the server from all of its loops together, unless more events are to come: a Close
// listener that listens again must find every loop running.
func (s *Server) leaveLoopsLocked() {
	if s.lis == nil && !s.closePending && s.queuedCloses == 0 {
		for i, set := range s.settings {
			set.Loop.core().Remove(&s.members[i])
		}
	}
}

// halt ends the server because one of its loops ends.
func (s *Server) halt() {
	s.CloseAllConnections()
	_ = s.Close(nil)
	for i, set := range s.settings {
		if set.Loop != s.loop { // s.loop has Close to emit
			set.Loop.core().RemoveIfEnding(&s.members[i])
		}
	}
}

// CloseAllConnections destroys every open accepted socket. The server continues to listen.
//
// Node: closeAllConnections of http.Server.
func (s *Server) CloseAllConnections() {
	for _, c := range s.Sockets() {
		c.Destroy(nil)
	}
}

// Shutdown closes the server and ends this side of every open accepted socket, then waits until Close was emitted.
// It destroys the sockets whose TLS handshake is not done. It does not affect sockets that other servers or Connect
// have made.
//
// If ctx ends first, Shutdown destroys the remaining sockets and returns ctx.Err() without waiting longer. If the
// server listens again meanwhile, Shutdown waits for the one Close of both periods of listening. If the server
// neither listens nor has open sockets, it returns ErrServerNotRunning.
//
// Shutdown blocks and needs a running loop. In a callback, where blocking would stop the loop, it does the same
// without waiting and returns nil.
//
// Node has no counterpart.
func (s *Server) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return nilArgument("Shutdown", "context")
	}
	onLoop := slices.ContainsFunc(s.settings, func(set *settings) bool { return set.Loop.core().OnLoop() })
	done := make(chan struct{})
	s.mu.Lock()
	if s.lis == nil && !s.closePending {
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
	_ = s.Close(nil) // an error means that it is closed already and has open sockets
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

// shutDown ends this side of an accepted socket. It destroys a socket whose Connection event is still to come: the
// program has nothing to end there, and the peer could delay the handshake.
func (s *Socket) shutDown() {
	s.mu.Lock()
	accepting := s.opt().accepting
	s.mu.Unlock()
	if accepting {
		s.Destroy(nil)
	} else {
		s.End()
	}
}
