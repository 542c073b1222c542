package evnet

import (
	"fmt"
	"log/slog"
	"sync"
)

// Relay connects two sockets, as a proxy does: data that either receives is written to the other, at
// the other's pace, until both directions have ended. Relay sets AllowHalfOpen for both: the peer's
// end is passed on after all data before it, and the other direction continues. SetEncoding and Data
// listeners apply to the data, as with Pipe. OnRead, Scan, Chunks and BlockingConn end; data that
// they have not taken is passed on too.
//
// A socket may still be connecting, or be connected right after the call. A socket that was paused, by
// Pause or PauseOnConnect, is resumed. The sockets may be on different loops, both of which must run. Any
// goroutine may call Relay.
//
// Neither socket outlives the other. If one fails or is Reset before both directions have ended, the
// other is Reset, if its conn supports that, so that its peer does not mistake a truncated stream for
// a complete one. The reset waits until its peer has received what was relayed before: for at most 30
// seconds, and no longer than two seconds without progress. If one is destroyed without an error, the other is destroyed too. The same happens
// to a live socket if Relay cannot connect the two, because one is nil, closed, given twice, or in a
// relay already. That earlier relay continues.
//
// done may be nil. It runs once, on a's loop, after both sockets have emitted Close. It gets nil if
// both directions have ended, otherwise the first cause, which is ErrDestroyed after a Destroy without
// an error. With a done, errors of the sockets count as handled.
//
// Node: stream.pipeline in both directions.
func Relay(a, b *Socket, done func(error)) {
	r := &relay{done: done, loop: DefaultLoop, pending: 1}
	var sockets []*Socket
	switch {
	case a == nil || b == nil:
		r.fail(nilArgument("Relay", "socket"), true)
		for _, s := range []*Socket{a, b} {
			if s != nil {
				sockets = append(sockets, s)
			}
		}
	case a == b:
		r.fail(fmt.Errorf("%w: with itself", ErrRelayed), true)
		sockets = []*Socket{a}
	default:
		sockets = []*Socket{a, b}
	}
	if len(sockets) > 0 {
		r.loop = sockets[0].set.Loop
	}
	if len(sockets) == 2 && a.set.Loop != b.set.Loop && done != nil {
		r.release = r.loop.core().Expect()
	}
	for _, s := range sockets {
		r.join(s)
	}
	if cause, reset := r.failed(); cause == nil {
		a.link(&pipe{src: a, dst: b, sock: b, relay: r})
		b.link(&pipe{src: b, dst: a, sock: a, relay: r})
	} else {
		for _, s := range sockets {
			r.destroyMember(s, reset)
		}
		if done == nil {
			defer r.logFailure(cause) // last, since the log handler may panic
		}
	}
	r.closed()
}

// logFailure logs a failure of the call of Relay if there is no done to report it to. A peer can cause this by closing
// its connection before the program calls Relay.
func (r *relay) logFailure(cause error) {
	if record, ok := r.loop.core().Log().Take(slog.Default(), slog.LevelWarn); ok {
		record.Write("evnet: Relay could not connect its sockets", "err", cause)
	}
}

// relay is the state that two sockets share. Its mu is taken last, and no function is called while it is held.
type relay struct {
	done    func(error)
	loop    *Loop  // where done runs
	release func() // lets loop end; nil if both sockets belong to loop, or if there is no done

	mu      sync.Mutex
	members []*Socket
	pending int // Close events to come, and the call of Relay
	cause   error
	reset   bool // the cause is a failure
}

// join makes s a member of the relay.
func (r *relay) join(s *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opt().relay != nil, s.closed && s.opt().closingRelay != nil:
		r.fail(ErrRelayed, true)
		return
	case s.destroyed:
		r.fail(s.opt().err, s.opt().err != nil)
	}
	if s.closed && !s.closing {
		return
	}
	r.mu.Lock()
	r.pending++
	r.mu.Unlock()
	if s.closed { // Close is being emitted: done waits for that
		s.makeOpt().closingRelay = r
		return
	}
	s.makeOpt().relay = r
	s.halfOpen, s.in.onRead = true, nil
	if s.in.scan != nil {
		s.leaveDeferredLocked()
		s.in.scan = nil
	}
	s.reclaimChunkLocked()
	s.endChunksLocked(ErrConsumed)
	s.endBlockingLocked(ErrConsumed)
	s.in.joining = true
	r.mu.Lock()
	r.members = append(r.members, s)
	r.mu.Unlock()
}

// fail records the first cause of a failure: ErrDestroyed if a socket was destroyed without an error.
func (r *relay) fail(cause error, reset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cause == nil {
		cause = ErrDestroyed
	}
	if r.cause == nil {
		r.cause, r.reset = cause, reset
	}
}

// failed returns the cause of a failure, nil if there is none.
func (r *relay) failed() (cause error, reset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause, r.reset
}

// others returns the members except s.
func (r *relay) others(s *Socket) []*Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []*Socket
	for _, x := range r.members {
		if x != s {
			others = append(others, x)
		}
	}
	return others
}

// destroyed ends the other member after one was destroyed.
func (r *relay) destroyed(e *ending) {
	reset := e.hadError || e.reset
	if !e.whole {
		r.fail(e.err, reset)
	}
	for _, other := range r.others(e.s) {
		if e.whole {
			r.passEnd(other)
		} else {
			r.destroyMember(other, reset)
		}
	}
}

// passEnd ends s because the other member has closed after both its sides have ended.
func (r *relay) passEnd(s *Socket) {
	s.mu.Lock()
	removed, readable := s.opt().relay != r, !s.in.ended
	s.mu.Unlock()
	switch {
	case removed:
	case readable: // the program has ended the other: data that s still receives has no destination
		_ = s.Close()
	default: // the pipe has done so, unless the other closed before Relay has linked it
		s.End()
	}
}

// writeFailed destroys both members because data of one could not be written to the other.
func (r *relay) writeFailed(err error) {
	r.fail(err, true)
	for _, s := range r.others(nil) {
		r.destroyMember(s, true)
	}
}

// destroyMember destroys s, unless it belongs to another relay or is destroyed already. A reset waits until the peer has
// received what was relayed before.
func (r *relay) destroyMember(s *Socket, reset bool) {
	s.mu.Lock()
	var e *ending
	live := s.opt().relay == r && !s.destroyed
	if live && reset && !s.resetWhenSentLocked() {
		e = s.destroyLocked(nil, s.stream.IsOpen())
	}
	s.mu.Unlock()
	e.run()
	if live && !reset {
		s.Destroy(nil)
	}
}

// closed counts the Close event of one member, after its listeners have run, and runs done after the last one.
func (r *relay) closed() {
	r.mu.Lock()
	r.pending--
	done, cause := r.pending == 0, r.cause
	r.mu.Unlock()
	if !done {
		return
	}
	if r.done != nil {
		r.loop.core().Post(func() { r.done(cause) })
	}
	if r.release != nil {
		r.release()
	}
}

// leaveRelay reports to the relay that s has emitted Close.
func (s *Socket) leaveRelay() {
	s.mu.Lock()
	s.closing = false
	r := s.opt().closingRelay
	if r != nil {
		s.optional.closingRelay = nil
	}
	s.mu.Unlock()
	if r != nil {
		r.closed()
	}
}
