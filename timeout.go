package evnet

import (
	"fmt"
	"net"
	"os"
	"time"

	"evnet/internal/transport"
)

// idleTimer expires when a socket has been idle. Activity only records the time: the runtime timer is
// restarted when it fires too early, so that a read or write sets no timer. The socket's mu guards
// it.
type idleTimer struct {
	after time.Duration // 0: off
	set   time.Time     // when it was switched on
	timer *time.Timer
	round int   // incremented by each start and stop; an expiry of an earlier round is ignored
	fired bool  // Timeout was emitted; the next activity restarts the timer
	acked int64 // bytes acknowledged when the queue began to fill, when a write was completed, or at the last expiry
}

// markActiveLocked records activity: bytes were received or sent, or Connect made progress. s.mu is held.
func (s *Socket) markActiveLocked() {
	r := s.optional
	if r == nil || s.destroyed || r.notify.after == 0 && r.kill.after == 0 {
		return
	}
	r.active = time.Now()
	if r.notify.fired {
		s.startTimerLocked(&r.notify, r.notify.after)
	}
}

// startTimerLocked makes t expire after d. s.mu is held.
func (s *Socket) startTimerLocked(t *idleTimer, d time.Duration) {
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

// stopTimersLocked stops every timer of a socket that is destroyed, and stops watching its context. s.mu is held.
func (s *Socket) stopTimersLocked() {
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
	if r.resetting != nil {
		r.resetting.timer.Stop()
		r.resetting = nil
	}
	if r.failed != nil && r.failed.timer != nil {
		r.failed.timer.Stop()
		r.failed.timer = nil
	}
	if r.closeTimer != nil {
		r.closeTimer.Stop()
		r.closeTimer = nil
	}
	s.leaveContextLocked()
}

// noteCompletedLocked records that the queue begins to fill, or that a queued write is completed. s.mu is held.
func (s *Socket) noteCompletedLocked() {
	if r := s.optional; r != nil {
		r.notify.acked, r.kill.acked = s.stream.Completed(), s.stream.Completed()
	}
}

// expired handles an expiry of t: it emits Timeout or destroys the socket, or restarts t if the socket was not idle. It
// runs on the loop.
func (s *Socket) expired(t *idleTimer, round int) {
	s.mu.Lock()
	if t.round != round || s.destroyed {
		s.mu.Unlock()
		return
	}
	last := s.lastActiveLocked()
	if last.Before(t.set) {
		last = t.set
	}
	rest := t.after - time.Since(last)
	if rest <= 0 && s.unreadLocked() {
		rest = time.Millisecond // it is about to be read
	}
	if rest <= 0 && s.stream.Queued() > 0 && s.stream.Acked() != t.acked {
		rest = t.after // as in Node: progress of a blocked write postpones the expiry by one period
		t.acked = s.stream.Acked()
	}
	if rest > 0 {
		s.startTimerLocked(t, rest)
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
	s.awaitWireLocked(last)
	s.loop().Remove(&s.optional.timerMember)
	s.mu.Unlock()
	s.emitTimeout()
}

// lastActiveLocked returns the time of the last activity. Under TLS it includes bytes of a record that is not complete. s.mu is
// held.
func (s *Socket) lastActiveLocked() time.Time {
	last := s.optional.active
	if t := s.stream.WireActive(); t.After(last) {
		last = t
	}
	return last
}

// awaitWireLocked marks the socket as active when the next byte below TLS is received or sent, or has been since last. s.mu is
// held.
func (s *Socket) awaitWireLocked(last time.Time) {
	epoch := s.epoch
	s.stream.OnWireActivity(func() { s.loop().Event(func() { s.wireMoved(epoch) }) })
	if s.lastActiveLocked().After(last) {
		s.markActiveLocked()
	}
}

// wireMoved handles the first byte below TLS after Timeout. It runs on the loop.
func (s *Socket) wireMoved(epoch int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch == epoch {
		s.markActiveLocked()
	}
}

// awaitFirstByteLocked destroys the socket if its peer has sent nothing by the end of ServerOptions.FirstByteTimeout.
// s.mu is held.
func (s *Socket) awaitFirstByteLocked(d time.Duration) {
	epoch := s.epoch
	s.makeOpt().first = time.AfterFunc(d, func() { s.loop().Event(func() { s.firstByteDue(d, epoch) }) })
}

// firstByteDue handles the end of ServerOptions.FirstByteTimeout. It runs on the loop, after data that was received
// before the deadline.
func (s *Socket) firstByteDue(d time.Duration, epoch int32) {
	s.mu.Lock()
	in := &s.in
	var e *ending
	switch {
	case s.epoch != epoch || s.destroyed || in.bytes > 0 || in.eof:
	case !s.handshake && s.stream.WireReceived() > s.opt().shaken: // a part of the first record
	case !s.handshake && (in.mode == paused || in.blocked > 0):
		s.awaitFirstByteLocked(d) // the byte may have arrived: the program prevents the socket from reading it
	case s.unreadLocked():
		s.awaitFirstByteLocked(time.Millisecond)
	default:
		e = s.destroyLocked(timeoutError(s, "first byte"), false)
		e.linger = lingerRefused // it may have been greeted
	}
	s.mu.Unlock()
	e.run()
}

// unreadLocked reports whether there is received data that the loop was too busy to read or to deliver. It runs on the loop.
// s.mu is held.
func (s *Socket) unreadLocked() bool {
	switch {
	case !s.stream.IsOpen():
		return false
	case s.in.yielded || s.scanBeforeTimeoutLocked():
		return true
	}
	unread, err := s.stream.Unread()
	if err != nil {
		epoch := s.epoch
		s.loop().Post(func() { s.readFailed(err, epoch) })
	}
	return unread
}

// readFailed handles a failure that unread has found. It runs on the loop.
func (s *Socket) readFailed(err error, epoch int32) {
	s.mu.Lock()
	if s.epoch != epoch || !s.stream.IsOpen() {
		s.mu.Unlock()
		return
	}
	r := transport.Report{Err: err}
	var a arrival
	s.arrivedLocked(&r, &a)
	s.mu.Unlock()
	s.deliverArrival(&r, &a)
}

// SetTimeout makes the socket emit Timeout when it has been idle for d. A d of 0 switches the timeout off.
//
// A socket is idle while there is no activity in either direction. Activity is:
//   - data, or the peer's end, that the socket reads,
//   - a Write that the kernel has accepted completely,
//   - with TLS, each byte below TLS that the socket reads or that its conn accepts, also of an incomplete record and of the
//     handshake,
//   - the call of Connect, the answer of the resolver, and the connection being made.
//
// A *tls.Conn that the program has made is an exception: its decrypted data, its completed writes and the end of its
// handshake count.
//
// The time runs from the call on, also before and during Connect, and while the socket is paused or half closed. After
// Timeout, it runs again from the next activity. While a write is pending, an expiry is postponed by d if the kernel has
// accepted more of the write meanwhile.
//
// The timer does not keep Run going, and ends with it. SetTimeout closes nothing: SocketOptions.IdleTimeout does. After
// Destroy, SetTimeout does nothing.
//
// A negative d returns ErrInvalidTimeout and changes nothing.
//
// Node: socket.setTimeout.
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
		s.startTimerLocked(notify, d)
	}
	return nil
}

// timerHandle is the eventloop.Handle of a Socket that is not open and has a timer, which must not outlive Run.
type timerHandle Socket

// Halt stops the timer, because the loop ends.
func (h *timerHandle) Halt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.registered {
		h.optional.notify.stop()
	}
	(*Socket)(h).loop().Remove(&h.optional.timerMember)
}

// Timeout returns the duration that SetTimeout has set, or 0.
//
// Node: socket.timeout.
func (s *Socket) Timeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().notify.after
}

// timeoutError returns the error of a socket that exceeds a time limit of its options. s.mu is held.
func timeoutError(s *Socket, op string) error {
	if dial := s.opt().dial; dial != nil {
		return dial.opError(errConnectTimeout)
	}
	return &net.OpError{Op: op, Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: os.ErrDeadlineExceeded}
}

// The following implements WriteTimeout: a socket whose writes make no progress is destroyed.
//
// Nothing is recorded when bytes are written. A timer runs while the transport waits for room, and checks the progress
// of the peer a few times in each period. A conn that accepts all written bytes has no timer.

// stallChecks is the number of consecutive checks that must find no progress. A check that is late, because a callback
// has blocked the loop, counts only as one.
const stallChecks = 4

// writeWatch is the state of WriteTimeout for one connection. The socket's mu guards it.
type writeWatch struct {
	timer   *time.Timer
	armed   bool // the timer is set, or a check is due
	stalled int  // consecutive checks that found no progress; -1: there was no check yet
	seen    transport.Progress
}

// trackWritesLocked makes the stream track its progress, if WriteTimeout is set. s.mu is held.
func (s *Socket) trackWritesLocked() {
	if s.set.WriteTimeout > 0 {
		s.stream.TrackProgress()
	}
}

// watchWritesLocked starts WriteTimeout, unless it is running. s.mu is held.
func (s *Socket) watchWritesLocked() {
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

// checkInterval returns the time between two checks.
func (s *Socket) checkInterval() time.Duration {
	return max(s.set.WriteTimeout/stallChecks, time.Millisecond)
}

// checkWrites retries the pending write, and schedules checkProgress. It runs on the loop.
func (s *Socket) checkWrites(w *writeWatch) {
	s.mu.Lock()
	if s.opt().writes != w {
		s.mu.Unlock()
		return
	}
	s.stream.RetryWriting() // if the loop was late, it has not used the available room yet
	s.mu.Unlock()
	s.loop().Post(func() { s.checkProgress(w) })
}

// checkProgress destroys the socket if stallChecks consecutive checks have found no progress. It runs on the loop.
func (s *Socket) checkProgress(w *writeWatch) {
	s.mu.Lock()
	switch {
	case s.opt().writes != w:
		s.mu.Unlock()
		return
	case !s.stream.IsOpen() || s.stream.MayWrite() || s.out.failed: // no write waits for the peer
		w.armed = false
		s.mu.Unlock()
		return
	}
	now, idle := s.stream.Progress()
	if w.stalled < 0 || now != w.seen || idle {
		w.stalled, w.seen = 0, now
	} else if w.stalled++; w.stalled == stallChecks {
		// With a reset: otherwise the kernel keeps the unsent data long after the socket is closed.
		e := s.destroyLocked(timeoutError(s, "write timeout"), true)
		s.mu.Unlock()
		e.run()
		return
	}
	w.timer.Reset(s.checkInterval())
	s.mu.Unlock()
}
