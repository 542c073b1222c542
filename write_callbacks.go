package evnet

import "fmt"

// How the callbacks of writes, and Drain, are called.

// scheduleCallbacksLocked makes the loop run runWriteCallbacks asynchronously, if there is anything to report. s.mu is held.
func (s *Socket) scheduleCallbacksLocked() {
	if !s.out.scheduled && (s.out.callbacks.Len() > 0 || s.out.needDrain || s.out.splicePending) {
		s.out.scheduled = true
		s.loop().Post(func() { s.runWriteCallbacks(-1) })
	}
}

// owesCallbacks makes the loop continue with the callbacks of writes if one of them did not return, also after Close
// was emitted.
func (s *Socket) owesCallbacks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		s.scheduleCallbacksLocked()
	}
}

// runWriteCallbacks reports that writes are done: Drain first, then at most limit callbacks. What exceeds the socket's
// share of the turn follows in the next. It runs on the loop.
func (s *Socket) runWriteCallbacks(limit int) {
	s.emitDrained()
	s.mu.Lock()
	waits := s.out.yielded || s.out.reporting
	if limit < 0 { // callbacks that are added meanwhile are scheduled behind what is posted already, as in Node
		limit = s.out.callbacks.Len()
	}
	s.mu.Unlock()
	if waits || !s.runCallbacks(&limit) {
		return
	}
	s.mu.Lock()
	s.out.yielded = true
	s.mu.Unlock()
	s.loop().Yield(func() {
		s.mu.Lock()
		s.out.yielded = false
		s.mu.Unlock()
		s.runWriteCallbacks(-1)
	})
}

// emitDrained lets sources of pipes and waiting goroutines continue, and emits Drain, if the queue has drained.
func (s *Socket) emitDrained() {
	s.mu.Lock()
	o := &s.out
	o.scheduled = false
	drained := o.needDrain && s.stream.Queued() == 0 && !s.destroyed && !o.failed
	if drained {
		o.needDrain = false
		s.roomChangedLocked()
		s.resumeProducerLocked()
	}
	emits := drained && !o.ending
	emptied := o.splicePending && !s.stream.HoldsPipe()
	if emptied {
		o.splicePending = false
	}
	s.mu.Unlock()
	if drained || emptied && !s.NeedDrain() {
		s.drainPipes()
	}
	if emits {
		s.emitDrain()
	}
}

// runCallbacks runs at most *limit callbacks of writes that are done, and reports whether the socket's share of the turn
// did not suffice. It subtracts the number of callbacks from *limit.
func (s *Socket) runCallbacks(limit *int) (more bool) {
	o := &s.out
	s.loop().SetOwner((*handle)(s))
	for ; *limit != 0; *limit-- {
		s.mu.Lock()
		if o.callbacks.Len() == 0 || !o.dropped && !s.isDoneLocked(o.callbacks.Front()) {
			s.countQueuedLocked()
			s.settleLocked()
			s.mu.Unlock()
			return false
		}
		if o.budget.spend(s.set.Loop, lightCall) {
			s.countQueuedLocked()
			s.mu.Unlock()
			return true
		}
		c := o.callbacks.Pop()
		err := c.err
		if err == nil && (c.end > s.stream.Acked() || o.early) {
			err = s.dropErrorLocked()
		}
		s.mu.Unlock()
		c.done(err)
	}
	s.mu.Lock()
	s.countQueuedLocked()
	s.settleLocked()
	s.mu.Unlock()
	return false
}

// isDoneLocked reports whether the callback is due because everything written before it was sent. It is never due before
// the connection is made, not even for an empty write. s.mu is held.
func (s *Socket) isDoneLocked(c *writeCallback) bool {
	return c.end <= s.stream.Acked() && (c.err != nil || s.stream.IsOpen())
}

// owesDoneLocked reports whether the callback of a write that was sent has not been called yet. s.mu is held.
func (s *Socket) owesDoneLocked() bool {
	o := &s.out
	return o.callbacks.Len() > 0 && o.callbacks.Front().err == nil && o.callbacks.Front().end <= s.stream.Acked()
}

// dropErrorLocked returns the error for queued writes of a destroyed socket. s.mu is held.
func (s *Socket) dropErrorLocked() error {
	switch {
	case s.opt().failed != nil:
		return s.optional.failed.err
	case s.out.early && s.opt().err != nil:
		return fmt.Errorf("%w: %w", ErrClosedBeforeConnect, s.opt().err)
	case s.out.early:
		return ErrClosedBeforeConnect
	}
	return s.causeLocked()
}
