package evnet

import (
	"fmt"
	"log/slog"
	"sync"
)

// Relay joins two sockets, as a proxy does: what either receives is written to the other, at the
// other's pace, until both directions have ended. Both are made to allow half-open: the peer's end
// is passed on once everything before it was, and the other direction goes on. A socket may still
// be connecting, or be connected right after, and they may be on different loops, both of which
// must run. SetEncoding and Data listeners see what passes, as with Pipe; OnRead, Scan, Chunks and
// BlockingConn end, and what they have not taken passes too.
//
// Neither outlives the other: when one fails or is Reset before both directions have ended, the
// other is Reset, where its conn knows that, so that its peer does not take a stream that was cut
// off for a whole one; when one is merely destroyed, so is the other. That is also what becomes of
// what is live when a socket is nil, closed, given twice, or in a relay already, whose relay goes on.
//
// done, which may be nil, runs once, on a's loop, after both have emitted Close: with nil if both
// directions ended, else with the first cause, which is ErrDestroyed after a plain Destroy. With
// done, errors of the sockets count as heard. Any goroutine may call Relay. Node: stream.pipeline,
// both ways.
func Relay(a, b *Socket, done func(error)) {
	r := &relay{done: done, loop: DefaultLoop, left: 1}
	var with []*Socket
	switch {
	case a == nil || b == nil:
		r.fail(nilArgument("Relay", "socket"), true)
		for _, s := range []*Socket{a, b} {
			if s != nil {
				with = append(with, s)
			}
		}
	case a == b:
		r.fail(fmt.Errorf("%w: with itself", ErrRelayed), true)
		with = []*Socket{a}
	default:
		with = []*Socket{a, b}
	}
	if len(with) > 0 {
		r.loop = with[0].set.Loop
	}
	if len(with) == 2 && a.set.Loop != b.set.Loop && done != nil {
		r.release = r.loop.core().Expect()
	}
	for _, s := range with {
		r.join(s)
	}
	if cause, reset := r.failed(); cause == nil {
		a.link(&pipe{src: a, dst: b, sock: b, relay: r})
		b.link(&pipe{src: b, dst: a, sock: a, relay: r})
	} else {
		for _, s := range with {
			r.destroyMember(s, reset)
		}
		if done == nil {
			defer r.logFailure(cause) // last, for the handler may panic
		}
	}
	r.closed()
}

// logFailure logs that Relay has failed immediately and has no done. A peer can cause this by closing its connection
// before the program calls Relay.
func (r *relay) logFailure(cause error) {
	if record, ok := r.loop.core().Log().Take(slog.Default(), slog.LevelWarn); ok {
		record.Write("evnet: Relay of sockets that cannot be joined", "err", cause)
	}
}

// relay is the state that two sockets share. Its lock is taken last, and nothing is called under it.
type relay struct {
	done    func(error)
	loop    *Loop  // where done runs
	release func() // lets loop end; nil if both sockets belong to loop

	mu    sync.Mutex
	ends  []*Socket
	left  int // Close events to come, and the call of Relay
	cause error
	reset bool // the cause is a failure
}

// join makes s one of the two.
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
	r.left++
	r.mu.Unlock()
	if s.closed { // done waits for that
		s.makeOpt().closingRelay = r
		return
	}
	s.makeOpt().relay = r
	s.halfOpen, s.in.onRead = true, nil
	if s.in.scan != nil {
		s.leaveDeferred()
		s.in.scan = nil
	}
	s.reclaimChunk()
	s.endChunks(ErrConsumed)
	s.endBlocking(ErrConsumed)
	s.in.joining = true
	r.mu.Lock()
	r.ends = append(r.ends, s)
	r.mu.Unlock()
}

// fail records the first cause of a failure. A destruction without an error is ErrDestroyed.
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

func (r *relay) failed() (cause error, reset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause, r.reset
}

func (r *relay) others(s *Socket) []*Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []*Socket
	for _, x := range r.ends {
		if x != s {
			others = append(others, x)
		}
	}
	return others
}

// destroyed ends the other socket after one was destroyed.
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

// passEnd ends s because the other socket has closed with both its sides ended.
func (r *relay) passEnd(s *Socket) {
	s.mu.Lock()
	theirs, readable := s.opt().relay != r, !s.in.ended
	s.mu.Unlock()
	switch {
	case theirs:
	case readable: // the other was ended by hand: what s still receives has nowhere to go
		_ = s.Close()
	default: // its pipe has done so, unless it closed before Relay had linked it
		s.End()
	}
}

// broken ends both sockets because data of one could not be written to the other.
func (r *relay) writeFailed(err error) {
	r.fail(err, true)
	for _, s := range r.others(nil) {
		r.destroyMember(s, true)
	}
}

// tear ends s, unless it belongs to another relay or is ending already.
func (r *relay) destroyMember(s *Socket, reset bool) {
	s.mu.Lock()
	var e *ending
	live := s.opt().relay == r && !s.destroyed
	if live && reset {
		e = s.destroyLocked(nil, s.stream.IsOpen())
	}
	s.mu.Unlock()
	e.run()
	if live && !reset {
		s.Destroy(nil)
	}
}

// closed counts the Close of one socket, after its listeners, and runs done after the last.
func (r *relay) closed() {
	r.mu.Lock()
	r.left--
	over, cause := r.left == 0, r.cause
	r.mu.Unlock()
	if !over {
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
