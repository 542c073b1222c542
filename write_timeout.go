package evnet

import (
	"crypto/tls"
	"net"
	"time"

	"evnet/internal/netpoll"
)

// WriteTimeout: a socket whose writes make no progress is destroyed.
//
// Nothing is noted when bytes are written. A timer runs while the transport waits for room, and looks a few times in
// each period how far the peer is. A conn that takes all that is written has no timer.

// stallLooks is how many looks in a row must find no progress. A look that comes late, because a callback has blocked
// the loop, counts as one only.
const stallLooks = 4

// writeWatch is the state of one connection. The socket's mu guards it.
type writeWatch struct {
	timer *time.Timer
	armed bool // the timer is set, or a look is due
	quiet int  // looks in a row that found no progress; -1: there was none yet
	seen  progress
}

// progress is how far what was written has got. It never returns to an earlier value.
type progress struct {
	sent       int64  // bytes of the queue that the conn has taken
	passed     int64  // bytes of TLS that the conn under it has taken
	acked      uint64 // bytes that the peer has acknowledged, if the kernel says so
	unconsumed int32  // bytes that the peer has not acknowledged or read, if the kernel says so
}

// startWriting leaves the queue to the transport, which waits for room. s.mu is held.
func (s *Socket) startWriting() {
	s.tr.startWriting()
	s.watchWrites()
}

// watchWrites starts WriteTimeout, unless it runs. s.mu is held.
func (s *Socket) watchWrites() {
	if s.set.WriteTimeout <= 0 {
		return
	}
	r := s.makeRare()
	w := r.writes
	switch {
	case w == nil:
		w = &writeWatch{}
		r.writes = w
		w.timer = time.AfterFunc(s.lookEvery(), func() { s.set.Loop.event(func() { s.lookAtWrites(w) }) })
	case w.armed:
		return
	default:
		w.timer.Reset(s.lookEvery())
	}
	w.armed, w.quiet = true, -1
}

func (s *Socket) lookEvery() time.Duration {
	return max(s.set.WriteTimeout/stallLooks, time.Millisecond)
}

// lookAtWrites runs on the loop.
func (s *Socket) lookAtWrites(w *writeWatch) {
	s.mu.Lock()
	if s.rare().writes != w {
		s.mu.Unlock()
		return
	}
	if t, ok := s.tr.(*pollTransport); ok && t.writing && s.out.sendable() > 0 {
		s.set.Loop.tick(t.room) // a loop that was late has not used the room that there is
	}
	s.mu.Unlock()
	s.set.Loop.tick(func() { s.judgeWrites(w) })
}

// judgeWrites destroys the socket if several looks have found no progress. It runs on the loop.
func (s *Socket) judgeWrites(w *writeWatch) {
	s.mu.Lock()
	switch {
	case s.rare().writes != w:
		s.mu.Unlock()
		return
	case s.tr == nil || s.tr.mayWrite(): // nothing waits for the peer
		w.armed = false
		s.mu.Unlock()
		return
	}
	now, idle := s.progress()
	if w.quiet < 0 || now != w.seen || idle {
		w.quiet, w.seen = 0, now
	} else if w.quiet++; w.quiet == stallLooks {
		// A reset: else the kernel keeps what it holds for the peer long after the socket is closed.
		e := s.destroyLocked(timeoutError(s, "write timeout"), true)
		s.mu.Unlock()
		e.run()
		return
	}
	w.timer.Reset(s.lookEvery())
	s.mu.Unlock()
}

// progress is how far the peer is now. idle reports that the peer has consumed all that the kernel has: the program
// is late, not the peer. s.mu is held.
func (s *Socket) progress() (p progress, idle bool) {
	p.sent = s.out.sent
	if b := beneathOf(s.conn); b != nil {
		p.passed = b.passed.Load()
	}
	if c := kernelConnOf(s.conn); c != nil {
		p.acked, p.unconsumed = netpoll.Progress(c)
		return p, p.unconsumed == 0
	}
	if t, ok := s.tr.(*goTransport); ok && t.below != nil { // above it the bytes may wait for something else
		p.acked, p.unconsumed = netpoll.Progress(t.below)
	}
	return p, false
}

// kernelConnOf is the kernel conn of conn, also one under TLS, nil if there is none that is found without calling a
// method of a type of the program's own: that may block.
func kernelConnOf(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn, *net.UnixConn:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		case *beneath:
			conn = c.Conn
		default:
			return nil
		}
	}
}

// findBelow looks for a kernel conn under conns of the program's own, whose methods may block or panic: it is called
// on the writer's goroutine.
func (t *goTransport) findBelow() {
	if t.s.set.WriteTimeout <= 0 || kernelConnOf(t.conn) != nil {
		return
	}
	var below net.Conn
	contain(t.s, func() error {
		if c := lowest(t.conn); isKernelConn(c) {
			below = c
		}
		return nil
	}, func(error) { // one that panics is not asked: what it takes is seen
		t.s.mu.Lock()
		t.below = below
		t.s.mu.Unlock()
	})
}
