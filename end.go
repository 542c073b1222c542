package evnet

import (
	"fmt"
	"time"
)

// The ways a socket ends.

// End ends this side: the peer sees the end once everything written has reached it. Data may still
// come; Close follows when the peer has ended too. It undoes every Cork. While connecting, the end
// is sent after the connection is made. Further calls do nothing. Finish tells when the end was
// sent, or that there was nothing to send it to because Connect had not been called. Node: socket.end.
func (s *Socket) End() {
	s.mu.Lock()
	s.endLocked()
}

// endLocked is End with s.mu held, which it releases.
func (s *Socket) endLocked() {
	if s.destroyed || s.out.ending {
		s.out.ending = true
		s.mu.Unlock()
		return
	}
	s.out.ending = true
	if s.out.corks > 0 {
		s.out.corks = 0
	}
	s.closingPhase()
	defer s.wakeReadFrom()
	if s.tr == nil && s.rare().dial == nil {
		s.set.Loop.tick(s.finished)
	}
	var err error
	if s.open() && !s.postpone(0) {
		err = s.flushLocked()
	}
	s.leave(err)
}

// Close sends what is queued and this side's end, then closes, without waiting for the peer's end:
// the Close event tells when. It does not block and always returns nil. SocketOptions.CloseTimeout
// bounds it. A socket that was never connected is destroyed. It implements io.Closer. Node:
// socket.destroySoon.
func (s *Socket) Close() error {
	s.mu.Lock()
	s.closeLocked()
	return nil
}

// closeLocked is Close with s.mu held, which it releases.
func (s *Socket) closeLocked() {
	s.out.closeAfter = true
	if s.out.finished || s.tr == nil && s.rare().dial == nil {
		s.destroyLocked(nil, false)
		return
	}
	s.endLocked()
}

// flushEnd sends this side's end when it is time to. s.mu is held.
func (s *Socket) flushEnd() error {
	if s.out.turning {
		s.turnWhenSent()
		return nil
	}
	if !s.maySend() || !s.out.wantsEnd() {
		return nil
	}
	if s.tr.endBlocks() {
		s.startWriting() // it may block
		return nil
	}
	s.out.endSent = true
	s.set.Loop.tick(s.finished) // first, so that Finish never trails the peer's answer
	if s.in.ended {
		return nil // finished closes the conn, which is an end too
	}
	return s.tr.sendEnd()
}

func (o *outbound) wantsEnd() bool {
	return o.ending && !o.endSent && o.queued == 0 && !o.turning
}

// finished runs on the loop once this side's end is on its way.
func (s *Socket) finished() {
	s.mu.Lock()
	if s.destroyed || s.out.finished || s.rare().dial != nil { // what is connected after End ends once connected
		s.mu.Unlock()
		return
	}
	if s.out.owesDone() { // Finish comes after the callbacks of what was sent
		if s.out.yielded {
			s.set.Loop.event(s.finished)
		} else {
			s.set.Loop.tick(s.progressed)
			s.set.Loop.tick(s.finished)
		}
		s.mu.Unlock()
		return
	}
	s.out.finished = true
	s.mu.Unlock()
	s.emitFinish()
	s.leavePipes()
	s.bothEnded()
}

// Destroy closes the socket at once: what is queued or undelivered is dropped. With an error, Error
// is emitted with it before Close. Further calls do nothing. Node: socket.destroy.
func (s *Socket) Destroy(err error) {
	s.mu.Lock()
	// What was written in the running callback has not left yet; in Node it would have.
	if s.out.deferred {
		if werr := s.flushLocked(); werr != nil && err == nil {
			err = werr
		}
	}
	s.destroyLocked(err, false)
}

func (s *Socket) halt() { s.Destroy(nil) }

// Reset closes the connection with a reset (RST), which the peer sees as ECONNRESET; here Close is
// emitted without an error. While connecting it waits for the connection. A socket that was never
// connected fails with ErrSocketClosed. A conn that knows no reset, such as a Unix socket, is
// destroyed. Node: socket.resetAndDestroy.
func (s *Socket) Reset() {
	s.mu.Lock()
	switch {
	case s.destroyed:
		s.mu.Unlock()
	case s.rare().dial != nil:
		s.makeRare().resetLater = true
		s.mu.Unlock()
	case s.tr == nil:
		s.destroyLocked(ErrSocketClosed, false)
	default:
		s.destroyLocked(nil, true)
	}
}

// destroyLocked ends the socket. s.mu is held, and released: closing the conn waits for whoever is
// reading or writing it, and they may want the lock.
func (s *Socket) destroyLocked(err error, reset bool) {
	if s.destroyed {
		if s.rarity != nil {
			s.rarity.again = nil
		}
		s.mu.Unlock()
		return
	}
	s.destroyed = true
	if err != nil {
		s.makeRare().err = err
	}
	s.stopTimers()
	s.leaveDeferred()
	s.out.early = s.tr == nil
	s.out.drop()
	s.uncount()
	tr, dial, opened, callbacksFirst, onConnect := s.tr, s.rare().dial, s.opened, s.out.callbacksFirst, s.rare().onConnect
	relay, whole := s.rare().relay, err == nil && !reset && s.in.ended && s.out.finished
	s.tr = nil
	if dial != nil {
		s.rarity.dial = nil
	}
	shaking := s.rare().handshake
	if shaking != nil {
		s.rarity.handshake, s.rarity.turn = nil, nil
	}
	if tr != nil {
		tr.retire()
	}
	s.endChunks(s.readersCause())
	s.endBlocking(s.readersCause())
	s.mu.Unlock()
	defer s.set.Loop.tick(func() { s.reportEnd(err, err != nil, opened, callbacksFirst) }) // whatever closing does
	s.wakeReadFrom()
	onConnect.Off()

	if dial != nil {
		dial.cancel()
	}
	if tr != nil {
		tr.close(reset)
	}
	if shaking != nil {
		shaking.stop() // after the close, which may be a reset
	}
	if s.set.server != nil {
		s.set.server.socketDestroyed(s)
	}
	if relay != nil {
		relay.gone(s, err, err != nil || reset, whole)
	}
}

// reportEnd emits Error, runs the callbacks of writes, and then has Close emitted. Where a callback does not return
// it goes on with the rest in another task, and where there are too many for one turn in the next.
func (s *Socket) reportEnd(err error, hadError, opened, callbacksFirst bool) {
	returned := false
	again := func(schedule func(func())) {
		unreported := err
		schedule(func() { s.reportEnd(unreported, hadError, opened, callbacksFirst) })
	}
	defer func() {
		if !returned {
			again(s.set.Loop.tick)
		}
	}()
	s.emitDrained()
	if callbacksFirst && s.runCallbacks(-1) { // as in Node
		returned = true
		again(s.set.Loop.yield)
		return
	}
	if cause := err; cause != nil {
		err = nil // it is emitted once
		s.emitFailure(cause)
	}
	if s.runCallbacks(-1) {
		returned = true
		again(s.set.Loop.yield)
		return
	}
	returned = true
	s.leavePipes()
	if opened {
		s.set.Loop.close(func() { s.finishClose(hadError) })
	} else {
		s.finishClose(hadError)
	}
}

// dropError is what queued writes are told when the socket was destroyed. s.mu is held.
func (s *Socket) dropError() error {
	switch {
	case s.out.early && s.rare().err != nil:
		return fmt.Errorf("%w: %w", ErrClosedBeforeConnect, s.rare().err)
	case s.out.early:
		return ErrClosedBeforeConnect
	}
	return s.cause()
}

// finishClose emits Close, the last event.
func (s *Socket) finishClose(hadError bool) {
	s.mu.Lock()
	s.closed, s.closing, s.held = true, true, false
	if r := s.rarity; r != nil {
		r.relay, r.parting = nil, r.relay
	}
	s.mu.Unlock()
	defer func() { // even if a listener panics
		if s.set.server != nil {
			s.set.server.socketClosed(s)
		}
		s.leaveRelay()
		s.mu.Lock()
		again := s.rare().again
		if again != nil {
			s.rarity.again = nil
		}
		s.mu.Unlock()
		if again != nil {
			again()
		}
		s.release()
	}()
	s.emitClose(hadError)
}

// release takes s out of the loop's table, unless Connect has put it there anew.
func (s *Socket) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		s.set.Loop.removeSocket(s)
	}
}

// bothEnded closes the socket once the peer's end was delivered and its own was sent.
func (s *Socket) bothEnded() {
	s.mu.Lock()
	sending := s.tr != nil && s.tr.endUnderway() // closing the conn now might cut the end off
	if s.out.finished && (s.in.ended || s.out.closeAfter) && !sending {
		s.destroyLocked(nil, false)
		return
	}
	s.mu.Unlock()
}

// closingPhase starts the time that SocketOptions.CloseTimeout allows, once there is something to
// close. s.mu is held.
func (s *Socket) closingPhase() {
	if s.set.CloseTimeout > 0 && s.rare().closeTimer == nil && (s.tr != nil || s.rare().dial != nil) {
		s.giveUpAfter(&s.makeRare().closeTimer, "close", s.set.CloseTimeout, s.in.bytes, maxLate)
	}
}

// maxLate is how often what came in time is waited for when a limit is reached, because the loop was late: more
// chunks than the system holds for a socket by default.
const maxLate = 128

// giveUpAfter destroys the socket once d has passed, with an error that names op, behind what has come in time, and
// the end behind that: as long as there is something to read, or was since the last look, when read bytes had been
// read. A peer that goes on sending is not waited for. s.mu is held.
func (s *Socket) giveUpAfter(timer **time.Timer, op string, d time.Duration, read int64, looks int) {
	epoch := s.epoch
	due := func() {
		s.mu.Lock()
		switch {
		case s.epoch != epoch || s.destroyed:
		case s.in.yielded && s.in.bytes == read: // nothing more is read until that is delivered: it is not without end
			s.giveUpAfter(timer, op, time.Millisecond, read, looks)
		case looks > 0 && (s.in.yielded || s.unread() || s.in.bytes != read):
			s.giveUpAfter(timer, op, time.Millisecond, s.in.bytes, looks-1)
		default:
			s.destroyLocked(timeoutError(s, op), false)
			return
		}
		s.mu.Unlock()
	}
	*timer = time.AfterFunc(d, func() { s.set.Loop.event(due) })
}
