package evnet

import (
	"errors"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// Write sends p, or what the system takes of it, queues the rest and never blocks. What waits is
// copied, so the caller may reuse p at once. Writes made in one callback leave together after it, in
// one system call; one of 16 KiB and more leaves at once, with those before it, and so does one made
// on another goroutine.
//
// It returns len(p), or 0 and an error, and then nothing is queued: ErrWriteAfterEnd,
// ErrSocketClosed before Connect, ErrDestroyed, or ErrWriteBufferFull. A failure of the conn is
// told by Error and Close. When NeedDrain reports true afterwards, wait for Drain. It implements
// io.Writer. Node: socket.write.
func (s *Socket) Write(p []byte) (n int, err error) { return s.write(p, nil, false) }

// WriteString is Write for a string. It implements io.StringWriter. Node: socket.write.
func (s *Socket) WriteString(p string) (n int, err error) {
	return s.write(unsafe.Slice(unsafe.StringData(p), len(p)), nil, false) // which only reads it
}

// WriteThen is Write with a callback: done runs on the loop once p is handed to the system, with
// nil, or with the error of Write or the cause that p was dropped. The callbacks of a socket run
// exactly once each, in the order of the writes, before Close; but ErrWriteBufferFull is told soon, and
// does not wait for a peer that does not read. That p was handed over does not mean that the peer has
// it. A nil done is allowed. Node: socket.write with a callback.
func (s *Socket) WriteThen(p []byte, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	_, _ = s.write(p, done, false)
}

// write is Write. What was read already goes beyond the limit: it would be lost.
func (s *Socket) write(p []byte, done func(error), read bool) (int, error) {
	s.mu.Lock()
	n, e, err := s.writeLocked(p, done, read)
	s.mu.Unlock()
	e.run()
	return n, err
}

// writeLocked is write with s.mu held. It also returns what follows if writing has failed.
func (s *Socket) writeLocked(p []byte, done func(error), read bool) (int, *ending, error) {
	o := &s.out
	var e *ending
	if !read && o.deferred && s.full() {
		e = s.writeFailedLocked(s.flushLocked()) // only what the kernel does not accept counts
	}
	if err := s.writeError(!read && (len(p) > 0 || done != nil)); err != nil {
		switch {
		case done == nil:
		case err == ErrWriteBufferFull: // behind those that wait there would be ever more of them
			s.set.Loop.tick(func() {
				s.set.Loop.setOwner(s)
				done(err)
			})
		default:
			o.own()
			o.waiting.Push(waiter{end: o.accepted, err: err, done: done})
			if e == nil { // else its report runs the callback
				s.reserveDelivery()
			}
		}
		return 0, e, err
	}
	if o.queued == 0 {
		s.noteSent()
	}
	o.accepted += int64(len(p))
	o.queued += len(p)
	if done != nil {
		o.own()
		o.waiting.Push(waiter{end: o.accepted, done: done})
	}
	err := s.send(p)
	if o.deferred && done != nil || len(p) == 0 && o.queued == 0 && s.tr != nil {
		s.reserveDelivery() // before what this callback posts next, as in Node
	}
	if !o.deferred { // else the flush does, which knows what the kernel does not take
		s.countQueued()
	}
	if mark := s.highWaterMark(); err == nil && o.queued > 0 && o.queued >= mark {
		if o.deferred {
			err = s.flushLocked() // the mark is judged by what the system does not take
			s.countQueued()
		}
		if o.queued > 0 && o.queued >= mark {
			o.needDrain = true
		}
	}
	return len(p), s.writeFailedLocked(err), nil
}

// send takes p, counted already: a small one written on the loop waits for the end of the running
// callback, any other is offered to the conn, and the rest of it waits. s.mu is held.
func (s *Socket) send(p []byte) error {
	o := &s.out
	if len(p) == 0 {
		return nil
	}
	o.own()
	if !s.open() {
		o.add(p)
		return nil
	}
	if len(p) < largeSegment && s.postpone(len(p)) || !s.tr.mayWrite() {
		o.add(p)
		return nil
	}
	o.direct, o.deferAt = p, o.accepted
	moved, err := s.tr.tryWrite()
	rest := o.direct
	o.direct = nil
	o.add(rest)
	return s.afterWriting(moved, err)
}

// writeError is why bytes cannot be taken, or nil; limited says that MaxWriteBuffer counts. s.mu is held.
func (s *Socket) writeError(limited bool) error {
	switch {
	case s.destroyed:
		return ErrDestroyed
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.tr == nil && s.rare().dial == nil:
		return ErrSocketClosed
	case limited && s.full():
		return ErrWriteBufferFull
	}
	return nil
}

// open reports whether anything may be sent. s.mu is held.
func (s *Socket) open() bool {
	return s.tr != nil && !s.handshake && !s.out.turning && s.out.corks == 0
}

// postpone lets the last n bytes wait for the end of the running callback, and reports false when it
// is not in one: then nothing waits. s.mu is held.
func (s *Socket) postpone(n int) bool {
	if !s.set.Loop.inCallback() {
		return false
	}
	if !s.out.deferred {
		s.out.deferred, s.out.deferAt = true, s.out.accepted-int64(n)
		s.set.Loop.flushLater(s)
	}
	return true
}

// maySend reports whether the queue may move on this goroutine. s.mu is held.
func (s *Socket) maySend() bool {
	return s.tr != nil && !s.handshake && s.tr.mayWrite()
}

// flush sends what is queued, now.
func (s *Socket) flush() {
	s.mu.Lock()
	s.out.deferred = false
	err := s.flushLocked()
	s.countQueued()
	e := s.writeFailedLocked(err)
	s.mu.Unlock()
	e.run()
}

// flushLocked hands the conn what it takes and leaves the rest to the writer. s.mu is held.
func (s *Socket) flushLocked() error {
	s.out.deferAt = s.out.accepted
	if !s.maySend() {
		return nil
	}
	if s.out.sendable() == 0 {
		return s.flushEnd()
	}
	return s.afterWriting(s.tr.tryWrite())
}

// afterWriting leaves what tryWrite has not moved to the writer, and tells of the rest. s.mu is held.
func (s *Socket) afterWriting(moved bool, err error) error {
	if err != nil {
		return err
	}
	if moved {
		s.reserveDelivery()
	}
	if s.out.sendable() > 0 {
		s.startWriting()
		return nil
	}
	s.settle()
	return s.flushEnd()
}

// reserveDelivery makes the loop run deliverWrites soon, if there is anything to tell. s.mu is held.
func (s *Socket) reserveDelivery() {
	if !s.out.reserved && (s.out.waiting.Len() > 0 || s.out.needDrain || s.out.tubed) {
		s.out.reserved = true
		s.set.Loop.tick(func() { s.deliverWrites(-1) })
	}
}

// owesCallbacks makes the loop go on with the callbacks of writes after one that has not returned, also
// where Close was told already.
func (s *Socket) owesCallbacks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		s.reserveDelivery()
	}
}

// progressed runs on the loop when the writer has moved the queue.
func (s *Socket) progressed() { s.deliverWrites(-1) }

// deliverWrites reports that writes are done: Drain first, then at most limit callbacks. What exceeds the socket's
// share of the turn follows in the next.
func (s *Socket) deliverWrites(limit int) {
	s.emitDrained()
	s.mu.Lock()
	yielded := s.out.yielded
	s.mu.Unlock()
	if yielded || !s.runCallbacks(limit) {
		return
	}
	s.mu.Lock()
	s.out.yielded = true
	s.mu.Unlock()
	s.set.Loop.yield(func() {
		s.mu.Lock()
		s.out.yielded = false
		s.mu.Unlock()
		s.deliverWrites(-1)
	})
}

// emitDrained lets sources of pipes and goroutines go on, and emits Drain, if the queue has drained.
func (s *Socket) emitDrained() {
	s.mu.Lock()
	o := &s.out
	o.reserved = false
	drained := o.needDrain && o.queued == 0 && !s.destroyed
	if drained {
		o.needDrain = false
	}
	tell := drained && !o.ending
	emptied := o.tubed && o.tube == nil
	if emptied {
		o.tubed = false
	}
	s.mu.Unlock()
	if drained || emptied && !s.NeedDrain() {
		s.drainPipes()
	}
	if drained {
		s.wakeReadFrom()
	}
	if tell {
		s.emitDrain()
	}
}

// runCallbacks runs at most limit callbacks of writes that are done, and reports whether the socket's share of the
// turn did not suffice.
func (s *Socket) runCallbacks(limit int) (more bool) {
	o := &s.out
	s.set.Loop.setOwner(s)
	for ; limit != 0; limit-- {
		s.mu.Lock()
		if o.waiting.Len() == 0 || !o.dropped && !s.due(o.waiting.Front()) {
			s.countQueued()
			s.settle()
			s.mu.Unlock()
			return false
		}
		if o.budget.spend(s.set.Loop, lightCall) {
			s.countQueued()
			s.mu.Unlock()
			return true
		}
		w := o.waiting.Pop()
		err := w.err
		if err == nil && (w.end > o.sent || o.early) {
			err = s.dropError()
		}
		s.mu.Unlock()
		w.done(err)
	}
	return false
}

// due reports whether w is to be told: what was written before it is sent. Before the connection is made
// nothing is written, not even nothing. s.mu is held.
func (s *Socket) due(w *waiter) bool { return w.end <= s.out.sent && (w.err != nil || s.tr != nil) }

// writeFailedLocked ends the socket after a failed write, whose callback hears of it before Error, as in Node:
// but of a reset that a goroutine has met while writing, which in Node is told by the reader, if there is
// one. Without an error it does nothing. s.mu is held.
func (s *Socket) writeFailedLocked(err error) *ending {
	if err == nil {
		return nil
	}
	s.out.callbacksFirst = !s.out.failed || s.in.mode == paused || !errors.Is(err, syscall.ECONNRESET)
	if _, ok := err.(*net.OpError); !ok {
		if errno, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("write", errno)
		}
		err = &net.OpError{Op: "write", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
	}
	if s.tr != nil && s.tr.blame(err) {
		return nil
	}
	return s.destroyLocked(err, false)
}

// NeedDrain reports whether a Write left at least SocketOptions.HighWaterMark bytes queued and
// Drain has not been emitted since. Writing on is allowed, up to MaxWriteBuffer. After End or
// Destroy it is false. Any goroutine may call it. Node: socket.writableNeedDrain.
func (s *Socket) NeedDrain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.needsDrain()
}

// needsDrain is NeedDrain with s.mu held.
func (s *Socket) needsDrain() bool {
	return s.out.needDrain && !s.out.ending && !s.destroyed
}

// Cork holds further writes back until Uncork was called as often, or End. Node: socket.cork.
func (s *Socket) Cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.ending {
		return
	}
	s.out.own()
	if s.out.corks++; s.out.corks == 1 {
		s.out.corkedAt = s.out.accepted
	}
}

// Uncork takes back one Cork; with the last one everything held leaves at once, together. Further
// calls do nothing. Node: socket.uncork.
func (s *Socket) Uncork() {
	s.mu.Lock()
	var e *ending
	if s.out.corks > 0 {
		if s.out.corks--; s.out.corks == 0 {
			e = s.writeFailedLocked(s.flushLocked())
		}
	}
	s.mu.Unlock()
	e.run()
}
