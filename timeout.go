package evnet

import (
	"fmt"
	"net"
	"os"
	"time"
)

// idleTimer tells when a socket has been idle. Activity only notes the time: the runtime timer is
// set again when it fires too early, so that a read or write costs no timer. The socket's mu guards
// it.
type idleTimer struct {
	after time.Duration // 0: off
	set   time.Time     // when it was switched on
	timer *time.Timer
	round int   // an expiry of an earlier round counts no more
	fired bool  // told; the next activity starts it again
	sent  int64 // outbound.sent when the queue began to fill, or at the last expiry
}

// touch notes activity: bytes came or went, or the connection made progress. s.mu is held.
func (s *Socket) touch() {
	r := s.rarity
	if r == nil || s.destroyed || r.notify.after == 0 && r.kill.after == 0 {
		return
	}
	r.active = time.Now()
	if r.notify.fired {
		s.startTimer(&r.notify, r.notify.after)
	}
}

// startTimer lets t expire after d. s.mu is held.
func (s *Socket) startTimer(t *idleTimer, d time.Duration) {
	t.stop()
	t.fired = false
	round := t.round
	t.timer = time.AfterFunc(d, func() { s.set.Loop.event(func() { s.expired(t, round) }) })
}

// stop keeps t from expiring. The socket's mu is held.
func (t *idleTimer) stop() {
	t.round++
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// stopTimers is for a socket that is destroyed. s.mu is held.
func (s *Socket) stopTimers() {
	r := s.rarity
	if r == nil {
		return
	}
	r.notify.stop()
	r.kill.stop()
	if r.first != nil {
		r.first.Stop()
		r.first = nil
	}
	s.set.Loop.remove(unconnected{s})
	if r.lifeTimer != nil {
		r.lifeTimer.Stop()
		r.lifeTimer = nil
	}
	if r.writes != nil {
		r.writes.timer.Stop()
		r.writes = nil
	}
	if r.closeTimer != nil {
		r.closeTimer.Stop()
		r.closeTimer = nil
	}
	if r.unwatch != nil {
		r.unwatch()
		r.unwatch = nil
	}
}

// noteSent is told that the queue begins to fill, or that a write of it is done. s.mu is held.
func (s *Socket) noteSent() {
	if r := s.rarity; r != nil {
		r.notify.sent, r.kill.sent = s.out.sent, s.out.sent
	}
}

// expired runs on the loop.
func (s *Socket) expired(t *idleTimer, round int) {
	s.mu.Lock()
	if t.round != round || s.destroyed {
		s.mu.Unlock()
		return
	}
	last := s.rarity.active
	if last.Before(t.set) {
		last = t.set
	}
	rest := t.after - time.Since(last)
	if rest <= 0 && s.unread() {
		rest = time.Millisecond // it is about to be read
	}
	if rest <= 0 && s.out.queued > 0 && s.out.sent != t.sent {
		rest = t.after // as Node: a blocked writer that got something away is let off one period
		t.sent = s.out.sent
	}
	if rest > 0 {
		s.startTimer(t, rest)
		s.mu.Unlock()
		return
	}
	if t == &s.rarity.kill {
		e := s.destroyLocked(timeoutError(s, "idle"), false)
		s.mu.Unlock()
		e.run()
		return
	}
	t.fired = true
	s.set.Loop.remove(unconnected{s})
	s.mu.Unlock()
	s.emitTimeout()
}

// awaitFirstByte destroys the socket if its peer has sent nothing by the end of ServerOptions.FirstByteTimeout.
// s.mu is held.
func (s *Socket) awaitFirstByte(d time.Duration) {
	epoch := s.epoch
	s.makeRare().first = time.AfterFunc(d, func() { s.set.Loop.event(func() { s.firstByteDue(d, epoch) }) })
}

// firstByteDue runs on the loop, behind what has come in time.
func (s *Socket) firstByteDue(d time.Duration, epoch int32) {
	s.mu.Lock()
	in := &s.in
	var e *ending
	switch {
	case s.epoch != epoch || s.destroyed || in.bytes > 0 || in.eof:
	case !s.handshake && (in.mode == paused || in.blocked > 0):
		s.awaitFirstByte(d) // it may have come: the program keeps it from being read
	case s.unread():
		s.awaitFirstByte(time.Millisecond)
	default:
		e = s.destroyLocked(timeoutError(s, "first byte"), false)
	}
	s.mu.Unlock()
	e.run()
}

// unread reports whether something has come that the loop was too busy to read or to deliver. It runs on the loop.
// s.mu is held.
func (s *Socket) unread() bool {
	return s.tr != nil && (s.in.yielded || s.scanBeforeTimeout() || s.tr.unread())
}

// SetTimeout makes the socket emit Timeout once it has been idle for d: nothing read, nothing
// handed to the system, no step of Connect. It runs from now on, also before and during Connect,
// while paused and half closed, and again from the next activity after it was told. A write that the
// system takes bit by bit puts it off by d each time that something has left meanwhile. 0 switches
// it off. It does not keep Run going, and ends with it. It closes nothing:
// SocketOptions.IdleTimeout does. After Destroy it does nothing. A negative d is ErrInvalidTimeout
// and changes nothing. Node: socket.setTimeout.
func (s *Socket) SetTimeout(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("evnet: SetTimeout(%v): %w", d, ErrInvalidTimeout)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		return nil
	}
	if d == 0 && s.rarity == nil {
		return nil
	}
	notify := &s.makeRare().notify
	notify.after = d
	if d == 0 {
		notify.stop()
		notify.fired = false
		s.set.Loop.remove(unconnected{s})
		return nil
	}
	if s.held || s.set.Loop.add(unconnected{s}, false) {
		notify.set = time.Now()
		s.startTimer(notify, d)
	}
	return nil
}

// unconnected stands for the timer of a socket that is not open, so that it does not outlive Run.
type unconnected struct{ s *Socket }

func (u unconnected) halt() {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if !u.s.held {
		u.s.rarity.notify.stop()
	}
	u.s.set.Loop.remove(u)
}

// Timeout is what SetTimeout has set, 0 if nothing. Node: socket.timeout.
func (s *Socket) Timeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rare().notify.after
}

// timeoutError is the cause when a limit in the options ends the socket. s.mu is held.
func timeoutError(s *Socket, op string) error {
	if dial := s.rare().dial; dial != nil {
		return dial.opError(errConnectTimeout)
	}
	return &net.OpError{Op: op, Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: os.ErrDeadlineExceeded}
}
