package evnet

import (
	"unsafe"

	"evnet/internal/transport"
)

// immediateSize is the size in bytes from which on a write does not wait for the end of the running callback.
const immediateSize = 16 << 10

// Write sends the bytes of p that the kernel accepts and queues the rest. It never blocks.
//
// Writes made in one callback are sent together when it returns, in one system call. Writes made in the
// callbacks for several tokens of one read are sent together too, after the last one. A write of 16 KiB or
// more is sent immediately, with the writes before it. So is a write on another goroutine, and one that fills
// the queue up to the high-water mark. If NeedDrain reports true afterwards, wait for Drain. Produce does that.
//
// Queued bytes are copied, so the caller may reuse p when Write has returned.
//
// It accepts all of p and returns len(p), or accepts nothing and returns 0 and an error: ErrWriteAfterEnd,
// ErrSocketClosed before Connect, ErrDestroyed, or ErrWriteBufferFull at the limit of MaxWriteBuffer or
// [Loop.SetMaxBuffered]. After ErrWriteBufferFull the socket stays open and later writes may succeed, so a program
// that continues sends a stream without p. Drain follows if bytes are queued. If the peer needs every message,
// destroy the socket. A failure of the conn is reported by Error and Close, after everything that was received before it
// has been delivered. Write implements io.Writer.
//
// Node: socket.write.
func (s *Socket) Write(p []byte) (n int, err error) { return s.write(p, nil, false) }

// WriteString is Write for a string. It implements io.StringWriter.
//
// Node: socket.write.
func (s *Socket) WriteString(p string) (n int, err error) {
	return s.write(unsafe.Slice(unsafe.StringData(p), len(p)), nil, false) // which only reads it
}

// WriteThen is Write with a callback. done runs on the loop once the kernel has accepted p, with nil, or
// with the error of Write or the cause for which p was dropped. That the kernel has accepted p does not
// mean that the peer has received it.
//
// The callbacks of a socket run exactly once each, in the order of the writes, before Close. The exception
// is ErrWriteBufferFull, which is reported asynchronously: it does not wait for a peer that does not read.
// A nil done is allowed.
//
// Node: socket.write with a callback.
func (s *Socket) WriteThen(p []byte, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	_, _ = s.write(p, done, false)
}

// write is Write. With read, p was received by another socket: MaxWriteBuffer does not apply, because p would be lost.
func (s *Socket) write(p []byte, done func(error), read bool) (int, error) {
	s.mu.Lock()
	n, e, err := s.writeLocked(p, done, read)
	s.mu.Unlock()
	e.run()
	return n, err
}

// writeLocked is write with s.mu held. It also returns the ending of the socket if writing has failed.
func (s *Socket) writeLocked(p []byte, done func(error), read bool) (int, *ending, error) {
	o := &s.out
	var e *ending
	if !read && o.deferred && s.fullLocked() {
		e = s.writeFailedLocked(s.flushLocked(), false) // only bytes that the kernel does not accept count
	}
	if err := s.writeErrorLocked(!read && (len(p) > 0 || done != nil)); err != nil {
		if err == ErrWriteBufferFull && s.stream.Queued() > 0 {
			o.needDrain = true // although the queue may be below the mark
		}
		switch {
		case done == nil:
		case err == ErrWriteBufferFull: // in the queue of callbacks they would accumulate
			s.loop().Post(func() {
				s.loop().SetOwner((*handle)(s))
				done(err)
			})
		default:
			o.own()
			o.callbacks.Push(writeCallback{end: s.stream.Accepted(), err: err, done: done})
			if e == nil { // otherwise the report of e runs the callback
				s.scheduleCallbacksLocked()
			}
		}
		return 0, e, err
	}
	if s.stream.Queued() == 0 {
		s.noteCompletedLocked()
	}
	if done != nil {
		o.own()
		o.callbacks.Push(writeCallback{end: s.stream.Accepted() + int64(len(p)), done: done})
	}
	err := s.sendLocked(p)
	if o.deferred && done != nil || len(p) == 0 && s.stream.Queued() == 0 && s.stream.IsOpen() {
		s.scheduleCallbacksLocked() // before functions that the running callback posts later, as in Node
	}
	if !o.deferred { // otherwise the flush counts the bytes that the kernel does not accept
		s.countQueuedLocked()
	}
	if mark := s.highWaterMarkLocked(); err == nil && s.exceedsLocked(mark) {
		if o.deferred {
			err = s.flushLocked() // only bytes that the kernel does not accept count towards the mark
			s.countQueuedLocked()
		}
		if s.exceedsLocked(mark) {
			o.needDrain = true
		}
	}
	return len(p), s.writeFailedLocked(err, false), nil
}

// exceedsLocked reports whether the queue has reached the mark. s.mu is held.
func (s *Socket) exceedsLocked(mark int) bool {
	queued := s.stream.Queued()
	return queued > 0 && queued >= mark
}

// sendLocked accepts p. A small p that is written on the loop waits for the end of the running callback. Any other is
// offered to the conn, and the rest of it is queued. s.mu is held.
func (s *Socket) sendLocked(p []byte) error {
	switch {
	case len(p) == 0:
		return nil
	case !s.maySendNowLocked(), len(p) < immediateSize && s.postponeLocked(), !s.stream.MayWrite():
		s.stream.Append(p)
		return nil
	}
	return s.afterWritingLocked(s.stream.Send(p))
}

// writeErrorLocked returns why bytes cannot be accepted, or nil. With limited, MaxWriteBuffer applies. s.mu is held.
func (s *Socket) writeErrorLocked(limited bool) error {
	switch {
	case s.destroyed || s.out.failed:
		return ErrDestroyed
	case s.out.ending:
		return ErrWriteAfterEnd
	case !s.stream.IsOpen() && s.opt().dial == nil:
		return ErrSocketClosed
	case limited && s.fullLocked():
		return ErrWriteBufferFull
	}
	return nil
}

// maySendNowLocked reports whether anything may be sent. s.mu is held.
func (s *Socket) maySendNowLocked() bool {
	return s.stream.IsOpen() && !s.handshake && !s.holdsQueueLocked()
}

// holdsQueueLocked reports whether queued bytes are held back: by Cork, or until TLS encrypts them. s.mu is held.
func (s *Socket) holdsQueueLocked() bool { return s.out.upgradePending || s.out.corks > 0 }

// postponeLocked makes the bytes that are queued next wait for the end of the running callback. Outside of a callback it
// does nothing and returns false. s.mu is held.
func (s *Socket) postponeLocked() bool {
	if !s.loop().InTask() {
		return false
	}
	if !s.out.deferred {
		s.out.deferred = true
		s.stream.Hold()
		s.loop().FlushLater((*handle)(s))
	}
	return true
}

func (s *Socket) flush() { (*handle)(s).Flush() }

// Flush sends the queued bytes after a task.
func (h *handle) Flush() {
	s := (*Socket)(h)
	s.mu.Lock()
	s.out.deferred = false
	if !s.holdsQueueLocked() {
		s.stream.Unhold()
	}
	e := s.writeFailedLocked(s.flushLocked(), false)
	if e == nil {
		s.countQueuedLocked()
	}
	s.mu.Unlock()
	e.run()
}

// flushLocked sends the queued bytes that the conn accepts, and leaves the rest to the stream. s.mu is held.
func (s *Socket) flushLocked() error {
	if !s.holdsQueueLocked() {
		s.stream.ReleaseQueued()
	}
	if s.handshake || !s.stream.MayWrite() {
		return nil
	}
	if s.out.ending && !s.out.upgradePending {
		s.stream.End()
	}
	return s.afterWritingLocked(s.stream.Flush())
}

// afterWritingLocked notes which bytes the stream has sent, and whether the rest waits for room. s.mu is held.
func (s *Socket) afterWritingLocked(sent transport.Flags, err error) error {
	if err != nil {
		return err
	}
	s.noteSentLocked(sent)
	if sent&transport.Moved != 0 {
		if sent&transport.Completed == 0 { // otherwise noteSentLocked has marked it
			s.markActiveLocked()
		}
		s.scheduleCallbacksLocked()
	}
	if s.stream.MayWrite() {
		s.settleLocked()
	} else {
		s.watchWritesLocked()
	}
	return nil
}

// noteSentLocked updates the counters after the stream has sent bytes. s.mu is held.
func (s *Socket) noteSentLocked(sent transport.Flags) {
	if s.out.counted > 0 {
		s.countQueuedLocked()
	}
	if sent&transport.Completed != 0 { // counts as activity
		s.noteCompletedLocked()
		s.markActiveLocked()
	}
	if s.out.upgradePending {
		s.upgradeWhenSentLocked()
	}
}

// NeedDrain reports whether a Write left at least SocketOptions.HighWaterMark bytes queued and Drain has not
// been emitted since. It is also true from ErrWriteBufferFull to Drain, if bytes are queued. Further writes are allowed, up
// to MaxWriteBuffer. After End or Destroy it is false, so a loop that writes until it is true must also stop at an error
// of Write. Produce does both. Any goroutine may call it.
//
// Node: socket.writableNeedDrain.
func (s *Socket) NeedDrain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.needsDrainLocked()
}

// needsDrainLocked is NeedDrain with s.mu held.
func (s *Socket) needsDrainLocked() bool {
	return s.out.needDrain && !s.out.ending && !s.destroyed
}

// Cork holds further writes back until Uncork was called as often as Cork, or End.
//
// Node: socket.cork.
func (s *Socket) Cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.ending {
		return
	}
	s.out.own()
	if s.out.corks++; s.out.corks == 1 {
		s.out.corkedAt = s.stream.Accepted()
		s.holdCorkedLocked()
	}
}

// holdCorkedLocked holds back the bytes that were written since Cork, if the socket is corked. s.mu is held.
func (s *Socket) holdCorkedLocked() {
	switch {
	case s.out.upgradePending: // StartTLS already holds back more
	case s.out.corks > 0:
		s.stream.HoldFrom(s.out.corkedAt)
	case s.out.deferred: // bytes written from now on are sent when the callback returns
		s.stream.Hold()
	default:
		s.stream.Unhold()
	}
}

// Uncork undoes one Cork. The last one sends all corked bytes immediately, together. Further calls do nothing.
//
// Node: socket.uncork.
func (s *Socket) Uncork() {
	s.mu.Lock()
	var e *ending
	if s.out.corks > 0 {
		if s.out.corks--; s.out.corks == 0 {
			s.holdCorkedLocked()
			e = s.writeFailedLocked(s.flushLocked(), false)
		}
	}
	s.mu.Unlock()
	e.run()
}
