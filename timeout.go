package evnet

import (
	"fmt"
	"net"
	"os"
	"time"

	"evnet/internal/transport"
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

// markActive notes activity: bytes came or went, or the connection made progress. s.mu is held.
func (s *Socket) markActive() {
	r := s.optional
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
	t.timer = time.AfterFunc(d, func() { s.loop().Event(func() { s.expired(t, round) }) })
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
	r := s.optional
	if r == nil {
		return
	}
	r.notify.stop()
	r.kill.stop()
	if r.first != nil {
		r.first.Stop()
		r.first = nil
	}
	s.loop().Remove(&r.timerMember)
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

// noteCompleted notes that the queue begins to fill, or that a write of it is done. s.mu is held.
func (s *Socket) noteCompleted() {
	if r := s.optional; r != nil {
		r.notify.sent, r.kill.sent = s.stream.Completed(), s.stream.Completed()
	}
}

// expired runs on the loop.
func (s *Socket) expired(t *idleTimer, round int) {
	s.mu.Lock()
	if t.round != round || s.destroyed {
		s.mu.Unlock()
		return
	}
	last := s.optional.active
	if last.Before(t.set) {
		last = t.set
	}
	rest := t.after - time.Since(last)
	if rest <= 0 && s.unread() {
		rest = time.Millisecond // it is about to be read
	}
	if rest <= 0 && s.stream.Queued() > 0 && s.stream.Acked() != t.sent {
		rest = t.after // as Node: a blocked writer that got something away is let off one period
		t.sent = s.stream.Acked()
	}
	if rest > 0 {
		s.startTimer(t, rest)
		s.mu.Unlock()
		return
	}
	if t == &s.optional.kill {
		e := s.destroyLocked(timeoutError(s, "idle"), false)
		s.mu.Unlock()
		e.run()
		return
	}
	t.fired = true
	s.loop().Remove(&s.optional.timerMember)
	s.mu.Unlock()
	s.emitTimeout()
}

// awaitFirstByte destroys the socket if its peer has sent nothing by the end of ServerOptions.FirstByteTimeout.
// s.mu is held.
func (s *Socket) awaitFirstByte(d time.Duration) {
	epoch := s.epoch
	s.makeOpt().first = time.AfterFunc(d, func() { s.loop().Event(func() { s.firstByteDue(d, epoch) }) })
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

// unread reports whether something was received that the loop was too busy to read or to deliver. It runs on the loop.
// s.mu is held.
func (s *Socket) unread() bool {
	switch {
	case !s.stream.IsOpen():
		return false
	case s.in.yielded || s.scanBeforeTimeout():
		return true
	}
	unread, err := s.stream.Unread()
	if err != nil {
		epoch := s.epoch
		s.loop().Post(func() { s.readFailed(err, epoch) })
	}
	return unread
}

// readFailed handles a failure that was found by looking for received bytes. It runs on the loop.
func (s *Socket) readFailed(err error, epoch int32) {
	s.mu.Lock()
	if s.epoch != epoch || !s.stream.IsOpen() {
		s.mu.Unlock()
		return
	}
	r := transport.Report{Err: err}
	a := s.arrivedLocked(&r)
	s.mu.Unlock()
	s.deliverArrival(&r, &a)
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
	if d == 0 && s.optional == nil {
		return nil
	}
	notify := &s.makeOpt().notify
	notify.after = d
	if d == 0 {
		notify.stop()
		notify.fired = false
		s.loop().Remove(&s.optional.timerMember)
		return nil
	}
	if s.registered || s.loop().Add((*timerHandle)(s), &s.optional.timerMember, false) {
		notify.set = time.Now()
		s.startTimer(notify, d)
	}
	return nil
}

// timerHandle is a Socket that is not open and has a timer, which must not outlive Run.
type timerHandle Socket

func (h *timerHandle) Halt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.registered {
		h.optional.notify.stop()
	}
	(*Socket)(h).loop().Remove(&h.optional.timerMember)
}

// Timeout is what SetTimeout has set, 0 if nothing. Node: socket.timeout.
func (s *Socket) Timeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().notify.after
}

// timeoutError is the cause when a limit in the options ends the socket. s.mu is held.
func timeoutError(s *Socket, op string) error {
	if dial := s.opt().dial; dial != nil {
		return dial.opError(errConnectTimeout)
	}
	return &net.OpError{Op: op, Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: os.ErrDeadlineExceeded}
}

// WriteTimeout: a socket whose writes make no progress is destroyed.
//
// Nothing is noted when bytes are written. A timer runs while the transport waits for room, and looks a few times in
// each period how far the peer is. A conn that takes all that is written has no timer.

// stallChecks is how many looks in a row must find no progress. A look that comes late, because a callback has blocked
// the loop, counts as one only.
const stallChecks = 4

// writeWatch is the state of one connection. The socket's mu guards it.
type writeWatch struct {
	timer   *time.Timer
	armed   bool // the timer is set, or a look is due
	stalled int  // looks in a row that found no progress; -1: there was none yet
	seen    transport.Progress
}

// trackWrites lets the stream know that its progress matters. s.mu is held.
func (s *Socket) trackWrites() {
	if s.set.WriteTimeout > 0 {
		s.stream.TrackProgress()
	}
}

// watchWrites starts WriteTimeout, unless it runs. s.mu is held.
func (s *Socket) watchWrites() {
	if s.set.WriteTimeout <= 0 {
		return
	}
	r := s.makeOpt()
	w := r.writes
	switch {
	case w == nil:
		w = &writeWatch{}
		r.writes = w
		w.timer = time.AfterFunc(s.checkInterval(), func() { s.loop().Event(func() { s.checkWrites(w) }) })
	case w.armed:
		return
	default:
		w.timer.Reset(s.checkInterval())
	}
	w.armed, w.stalled = true, -1
}

func (s *Socket) checkInterval() time.Duration {
	return max(s.set.WriteTimeout/stallChecks, time.Millisecond)
}

// checkWrites runs on the loop.
func (s *Socket) checkWrites(w *writeWatch) {
	s.mu.Lock()
	if s.opt().writes != w {
		s.mu.Unlock()
		return
	}
	s.stream.RetryWriting() // a loop that was late has not used the room that there is
	s.mu.Unlock()
	s.loop().Post(func() { s.checkProgress(w) })
}

// checkProgress destroys the socket if several looks have found no progress. It runs on the loop.
func (s *Socket) checkProgress(w *writeWatch) {
	s.mu.Lock()
	switch {
	case s.opt().writes != w:
		s.mu.Unlock()
		return
	case !s.stream.IsOpen() || s.stream.MayWrite(): // nothing waits for the peer
		w.armed = false
		s.mu.Unlock()
		return
	}
	now, idle := s.stream.Progress()
	if w.stalled < 0 || now != w.seen || idle {
		w.stalled, w.seen = 0, now
	} else if w.stalled++; w.stalled == stallChecks {
		// A reset: else the kernel keeps what it holds for the peer long after the socket is closed.
		e := s.destroyLocked(timeoutError(s, "write timeout"), true)
		s.mu.Unlock()
		e.run()
		return
	}
	w.timer.Reset(s.checkInterval())
	s.mu.Unlock()
}
