package evnet

import (
	"net"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/transport"
)

// The methods of a conn or listener that is not package net's may block: RemoteAddr of a conn that reads the header of the
// PROXY protocol waits for the peer. They are called on a goroutine, and not on the loop.

// foreignWait is how long a loop or an acceptor waits for such a method, so that its effects usually precede the next
// event.
const foreignWait = 10 * time.Millisecond

// foreignCall is a call of methods that may block.
type foreignCall struct {
	done chan struct{} // closed when the call has ended
	err  error         // a PanicError; valid after done
}

// callForeign runs fn on a goroutine, for which Run of the loop waits.
func callForeign(l *eventloop.Loop, fn func()) *foreignCall {
	c := &foreignCall{done: make(chan struct{})}
	l.Go(func() {
		defer close(c.done)
		eventloop.Contain((*handle)(nil), func() error { fn(); return nil }, func(err error) { c.err = err })
	})
	return c
}

// wait waits for the end of the call, at most for foreignWait. It reports whether the call has ended.
func (c *foreignCall) wait() bool { return c.waitFor(foreignWait) }

// waitFor is wait with another limit.
func (c *foreignCall) waitFor(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// repanic continues a panic of such a call on the calling goroutine.
func repanic(err error) {
	if err != nil {
		panic(err.(*PanicError).Value)
	}
}

// addresses are the addresses of a conn that may not return them after it was closed, or whose methods may panic.
type addresses struct{ local, remote net.Addr }

// identification gets the addresses of a conn.
type identification struct {
	addresses // valid once known
	call      *foreignCall
}

// identify gets the addresses of conn, unless package net keeps them available. No lock is held.
func identify(l *eventloop.Loop, conn net.Conn) *identification {
	id := &identification{}
	switch {
	case transport.IsKernelConn(conn):
	case transport.MayBlock(conn):
		id.call = callForeign(l, func() { id.addresses = addresses{conn.LocalAddr(), conn.RemoteAddr()} })
	default:
		id.addresses = addresses{conn.LocalAddr(), conn.RemoteAddr()}
	}
	return id
}

// known waits for the addresses for a moment. If their methods take longer, it returns none, and adopt must be called. A
// panic of the methods continues here.
func (id *identification) known() addresses {
	if id.call == nil {
		return id.addresses
	}
	if !id.call.wait() {
		return addresses{}
	}
	call := id.call
	id.call = nil
	repanic(call.err)
	return id.addresses
}

// adopt sets the addresses of the socket, once they are known, if known has not returned them.
func (s *Socket) adopt(id *identification) {
	if id.call == nil {
		return
	}
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	s.loop().Go(func() {
		<-id.call.done
		var e *ending
		s.mu.Lock()
		switch {
		case s.epoch != epoch:
		case id.call.err != nil:
			e = s.destroyLocked(id.call.err, false)
		default:
			r := s.makeOpt()
			r.local, r.remote = id.local, id.remote
		}
		s.mu.Unlock()
		e.run()
	})
}
