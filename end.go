package evnet

import (
	"time"

	"evnet/internal/transport"
)

// The ways a socket ends.

// End ends the writing side of the socket. The peer sees the end after all written data. Received data is
// still delivered, up to the peer's end; Close follows once the peer has ended too. End undoes every Cork. While the socket is
// connecting, the end is sent once it is connected. Further calls do nothing. Finish is emitted when
// the end has been sent, or when there is no connection to send it on because Connect was not called.
//
// Node: socket.end.
func (s *Socket) End() {
	s.mu.Lock()
	e := s.endLocked()
	s.mu.Unlock()
	e.run()
}

// endLocked is End with s.mu held.
func (s *Socket) endLocked() *ending {
	if s.destroyed || s.out.ending {
		s.out.ending = true
		return nil
	}
	s.out.ending = true
	if s.out.corks > 0 {
		s.out.corks = 0
		s.holdCorkedLocked()
	}
	s.closingPhaseLocked()
	if !s.stream.IsOpen() && s.opt().dial == nil {
		s.loop().Post(s.finished)
	}
	var err error
	if s.maySendNowLocked() {
		if s.stream.End(); !s.postponeLocked() {
			err = s.flushLocked()
		}
	}
	e := s.writeFailedLocked(err, false)
	s.roomChangedLocked()
	s.stopProducerLocked()
	return e
}

// Close sends the queued data and the end of this side, then closes the connection without waiting
// for the end of the peer. It does not block and always returns nil; the Close event reports that the
// socket is closed. SocketOptions.CloseTimeout bounds the time. A socket that was never connected is
// destroyed. Close implements io.Closer.
//
// After Close no consumer gets data, and End is not emitted. Received bytes that were not delivered are
// discarded, and so are those that arrive later, also if the socket was paused. A consumer that got a
// chunk before, such as another Data listener, is not affected.
//
// A TCP or Unix connection that is closed while its peer still sends would be reset, and the peer might lose the end of
// the written data. Therefore its descriptor stays open until the peer has ended, and incoming data is discarded, for at
// most a second or 256 KiB. Of each loop at most 128 connections are in this state. Destroy does not wait.
//
// Node: socket.destroySoon, after which data and the peer's end are still emitted until the socket is
// destroyed.
func (s *Socket) Close() error {
	s.mu.Lock()
	e := s.closeLocked()
	s.mu.Unlock()
	e.run()
	return nil
}

// closeLocked is Close with s.mu held.
func (s *Socket) closeLocked() *ending {
	s.discardReceivedLocked()
	if s.out.failed {
		return s.failLocked(s.optional.failed)
	}
	if s.out.finished || !s.stream.IsOpen() && s.opt().dial == nil {
		return s.destroyLocked(nil, false)
	}
	return s.endLocked()
}

// finished emits Finish after the end of this side was sent. It runs on the loop.
func (s *Socket) finished() {
	s.mu.Lock()
	switch {
	case s.destroyed || s.out.failed || s.out.finished || s.opt().dial != nil: // a socket that connects after End ends once connected
		s.mu.Unlock()
		return
	case !s.out.ending || s.stream.IsOpen() && !s.stream.EndSent(): // of an earlier connection
		s.mu.Unlock()
		return
	case !s.owesDoneLocked():
	case s.out.yielded: // Finish is emitted after the callbacks of the sent writes
		s.loop().Event(s.finished)
		s.mu.Unlock()
		return
	default:
		s.loop().Post(func() { s.runWriteCallbacks(-1) })
		s.loop().Post(s.finished)
		s.mu.Unlock()
		return
	}
	s.out.finished = true
	s.mu.Unlock()
	s.emitFinish()
	s.leavePipes()
	s.bothEnded()
}

// Destroy closes the socket immediately. Of the queued data it sends what the conn accepts without
// waiting, and discards the rest, with what is corked and what waits for a TLS handshake. So a message
// that is written just before Destroy is sent, unless earlier ones wait for the peer. Undelivered data
// is discarded too. Reset sends nothing.
//
// The peer may not receive what was sent: if data that this side has not read remains, the kernel
// closes the connection with a reset. To send everything, call Close.
//
// A conn that does not belong to the kernel is closed 100 milliseconds later at the latest. Close is
// emitted without waiting for that. With an error, Error is emitted with it before Close. Further calls
// do nothing.
//
// Node: socket.destroy.
func (s *Socket) Destroy(err error) {
	s.mu.Lock()
	s.dropChunkLocked()
	if werr := s.writeLastLocked(); err == nil {
		err = werr
	}
	e := s.destroyLocked(err, false)
	s.mu.Unlock()
	e.run()
}

func (s *Socket) halt() { s.Destroy(nil) }

// Reset closes the connection with a reset (RST) and discards queued and undelivered data. The peer sees ECONNRESET; this side emits Close
// without an error. While the socket is connecting, the reset follows once it is connected. A socket
// that was never connected fails with ErrSocketClosed. If the connection does not support RST, as with
// a Unix socket, Reset destroys it.
//
// Node: socket.resetAndDestroy.
func (s *Socket) Reset() {
	s.mu.Lock()
	var e *ending
	switch {
	case s.destroyed:
	case s.opt().dial != nil:
		s.makeOpt().resetLater = true
	case !s.stream.IsOpen():
		e = s.destroyLocked(ErrSocketClosed, false)
	default:
		s.dropChunkLocked()
		e = s.destroyLocked(nil, true)
	}
	s.mu.Unlock()
	e.run()
}

// ending is the work that follows the destruction of a socket. The caller of destroyLocked runs it after unlocking,
// because closing a conn waits for its readers and writers, which may need the lock.
type ending struct {
	s *Socket

	err            error // not reported yet
	hadError       bool
	opened         bool // there is a connection, or an attempt, to close
	callbacksFirst bool // the callbacks of writes run before Error
	reset          bool // closed with a reset
	whole          bool // both sides have ended without an error
	linger         linger

	closer    transport.Closer
	dial      *connecting
	handshake *handshaking
	onConnect Listener
	relay     *relay

	rounds int // of callbacks that runCallbacks has begun
	left   int // callbacks of the current round that have not run
}

// destroyLocked marks the socket as destroyed and returns the work that follows, or nil if it was destroyed already. s.mu
// is held.
func (s *Socket) destroyLocked(err error, reset bool) *ending {
	if s.destroyed {
		if s.optional != nil {
			s.optional.again = nil
		}
		return nil
	}
	s.destroyed = true
	if err != nil {
		s.makeOpt().err = err
	}
	s.stopTimersLocked()
	s.leaveDeferredLocked()
	s.out.early, s.out.failed = !s.stream.IsOpen(), false
	closer := s.stream.Retire(reset)
	s.destroyProducerLocked()
	s.out.drop()
	s.uncountLocked()
	r := s.opt()
	e := &ending{
		s: s, err: err, hadError: err != nil, opened: s.opened, callbacksFirst: s.out.callbacksFirst, reset: reset,
		whole:  err == nil && !reset && s.in.ended && s.out.finished,
		linger: r.linger, closer: closer, dial: r.dial, handshake: r.handshake, onConnect: r.onConnect, relay: r.relay,
	}
	if e.dial != nil {
		s.optional.dial = nil
	}
	if e.handshake != nil {
		s.optional.handshake, s.optional.upgrade = nil, nil
	}
	s.endChunksLocked(s.readersCauseLocked())
	s.endBlockingLocked(s.readersCauseLocked())
	s.roomChangedLocked()
	return e
}

// run closes the resources of the socket and schedules the report of its end. It is called without a lock; e may be nil.
func (e *ending) run() {
	if e == nil {
		return
	}
	s := e.s
	defer s.loop().Post(e.report) // also when closing panics
	e.onConnect.Off()
	if e.dial != nil {
		e.dial.cancel()
	}
	if e.linger != lingerNever && s.loop().OnLoop() {
		e.closer.Linger(&s.set.Loop.host().linger, s.loop(), e.linger == lingerRefused)
	} else {
		e.closer.Close()
	}
	if e.handshake != nil {
		e.handshake.stop() // after the close, which may be a reset
	}
	if s.set.server != nil {
		s.set.server.socketDestroyed(s)
	}
	if e.relay != nil {
		e.relay.destroyed(e)
	}
}

// report emits Error, runs the callbacks of writes, and then has Close emitted. If a callback does not return, the
// rest follows in another task. If there are too many callbacks for one turn, the rest follows in the next.
func (e *ending) report() {
	s, returned := e.s, false
	defer func() {
		if !returned {
			s.loop().Post(e.report)
		}
	}()
	s.emitDrained()
	s.mu.Lock()
	s.out.reporting = true
	s.mu.Unlock()
	if e.callbacksFirst && e.runCallbacks() { // as in Node
		returned = true
		s.loop().Yield(e.report)
		return
	}
	if cause := e.err; cause != nil {
		e.err = nil // it is emitted once
		s.emitFailure(cause)
	}
	if e.runCallbacks() {
		returned = true
		s.loop().Yield(e.report)
		return
	}
	returned = true
	s.leavePipes()
	if e.opened {
		s.loop().AtTurnEnd(func() { s.finishClose(e.hadError) })
	} else {
		s.finishClose(e.hadError)
	}
}

// runCallbacks runs the callbacks of writes, and reports whether the socket's share of the turn did not suffice. Each round
// runs the callbacks that are pending when it begins. The number of rounds is limited, because a callback that writes again
// whenever it is called would delay Close forever. What remains runs after Close.
func (e *ending) runCallbacks() (more bool) {
	for s := e.s; e.rounds < maxCalls; {
		if e.left == 0 {
			s.mu.Lock()
			e.left = s.out.callbacks.Len()
			s.mu.Unlock()
			if e.left == 0 {
				return false
			}
			e.rounds++
		}
		if s.runCallbacks(&e.left) {
			return true
		}
		e.left = 0 // also if another task has run some of them
	}
	return false
}

// finishClose emits Close, the last event.
func (s *Socket) finishClose(hadError bool) {
	s.mu.Lock()
	s.closed, s.closing, s.registered, s.out.reporting = true, true, false, false
	if r := s.optional; r != nil {
		r.relay, r.closingRelay = nil, r.relay
	}
	s.mu.Unlock()
	defer func() { // even if a listener panics
		if s.set.server != nil {
			s.set.server.socketClosed(s)
		}
		s.leaveRelay()
		s.mu.Lock()
		if s.out.callbacks.Len() > 0 {
			s.scheduleCallbacksLocked()
		}
		again := s.opt().again
		if again != nil {
			s.optional.again = nil
		}
		s.mu.Unlock()
		if again != nil {
			again()
		}
		s.release()
	}()
	s.emitClose(hadError)
}

// release removes s from the table of the loop, unless Connect has added it again.
func (s *Socket) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.registered {
		s.loop().Remove(&s.member)
	}
}

// bothEnded closes the socket once the end of the peer was delivered and its own was sent.
func (s *Socket) bothEnded() {
	s.mu.Lock()
	sending := s.stream.EndUnderway() // closing the conn now might cut the end off
	var e *ending
	if s.out.finished && (s.in.ended || s.out.closeAfter) && !sending && !s.out.failed {
		e = s.destroyLocked(nil, false)
		if e != nil && !s.in.ended {
			e.linger = lingerBriefly
		}
	}
	s.mu.Unlock()
	e.run()
}

// closingPhaseLocked starts the timer of SocketOptions.CloseTimeout if there is a connection, or an attempt, to close.
// s.mu is held.
func (s *Socket) closingPhaseLocked() {
	if s.set.CloseTimeout > 0 && s.opt().closeTimer == nil && (s.stream.IsOpen() || s.opt().dial != nil) {
		s.giveUpAfterLocked(&s.makeOpt().closeTimer, "close", s.set.CloseTimeout, s.in.bytes, maxLate)
	}
}

// maxLate is how often an expired limit is extended because the loop was late to read data that had arrived before it.
// It exceeds the number of chunks that the kernel buffers for a socket by default.
const maxLate = 128

// giveUpAfterLocked destroys the socket after d, with an error that names op. Data and an end that have arrived before are
// delivered first: the socket lives on while there is data to read, or more was read than the read bytes of the last
// check. The number of these checks limits the time that a peer gains by continuing to send. s.mu is held.
func (s *Socket) giveUpAfterLocked(timer **time.Timer, op string, d time.Duration, read int64, looks int) {
	epoch := s.epoch
	due := func() {
		s.mu.Lock()
		var e *ending
		switch {
		case s.epoch != epoch || s.destroyed:
		case s.in.yielded && s.in.bytes == read: // nothing is read before the rest is delivered, so this ends
			s.giveUpAfterLocked(timer, op, time.Millisecond, read, looks)
		case looks > 0 && (s.in.yielded || s.unreadLocked() || s.in.bytes != read):
			s.giveUpAfterLocked(timer, op, time.Millisecond, s.in.bytes, looks-1)
		default:
			e = s.destroyLocked(timeoutError(s, op), false)
		}
		s.mu.Unlock()
		e.run()
	}
	*timer = time.AfterFunc(d, func() { s.loop().Event(due) })
}
