package evnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"evnet/internal/transport"
)

// A failed write. The peer may have answered before it closed the connection: what was received is delivered before the
// failure is reported, as by a blocking conn. The last bytes may also have the cause, such as an alert of TLS.

// maxHeld is how long a failed write waits for a program that has paused the socket or has no consumer.
const maxHeld = time.Second

// failedWrite is the failure of a socket that still delivers what was received. The socket's mu guards it.
type failedWrite struct {
	err            error // with the operation and the addresses
	callbacksFirst bool
	complete       bool        // nothing more will be received
	reporting      bool        // reportFailedWrite is among the loop's posted tasks
	timer          *time.Timer // of maxHeld; nil if it does not run
}

// writeFailedLocked handles a failed write. If something may still have to be delivered, the socket only stops writing.
// Otherwise it is destroyed. The callbacks are then called before Error, as in Node. The exception is a reset that the
// stream's writer, a goroutine, has met: in Node the reader, if there is one, reports it. Without an error it does nothing.
// s.mu is held.
func (s *Socket) writeFailedLocked(err error, byWriter bool) *ending {
	if err == nil || s.out.failed || s.destroyed {
		return nil
	}
	f := &failedWrite{err: s.writeFailureLocked(err)}
	f.callbacksFirst = !byWriter || s.in.mode == paused || !errors.Is(err, syscall.ECONNRESET)
	if !s.handshake && !s.out.upgradePending && s.stream.IsOpen() {
		unread, failed := s.stream.StopWriting()
		if failed != nil {
			f.explain(failed)
		}
		f.complete = !unread || s.in.eof
		if !f.complete || s.in.deliverable() || s.in.deferred() {
			s.holdFailureLocked(f)
			return nil
		}
	}
	s.out.callbacksFirst = f.callbacksFirst
	return s.destroyLocked(f.err, false)
}

// holdFailureLocked lets the socket deliver what was received before f is reported. s.mu is held.
func (s *Socket) holdFailureLocked(f *failedWrite) {
	o := &s.out
	o.failed, o.needDrain = true, false
	s.makeOpt().failed = f
	s.countQueuedLocked()
	s.destroyProducerLocked()
	s.roomChangedLocked()
	s.loop().Post(s.releaseSources)
	s.scheduleFlowLocked()
	s.updateReadingLocked()
}

// releaseSources removes the pipes whose destination is s, which accepts no more data. The data of a Relay is discarded, so
// that its peer reads the rest.
func (s *Socket) releaseSources() {
	for _, l := range s.pipeSources() {
		if l.relay != nil {
			l.unblock()
		} else {
			l.src.unpipe(l)
		}
	}
}

// writeFailureLocked is err, from writing, with the operation and the addresses. s.mu is held.
func (s *Socket) writeFailureLocked(err error) error {
	if _, ok := err.(*net.OpError); ok {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("write", errno)
	}
	return &net.OpError{Op: "write", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// failureLocked is the failed write of a socket that still delivers, nil if there is none. s.mu is held.
func (s *Socket) failureLocked() error {
	if s.out.failed {
		return s.optional.failed.err
	}
	return nil
}

// explain makes err, from reading, the cause if it says more than the failure of the write: a reset, or an error of TLS. In
// Node the reader would have reported it.
func (f *failedWrite) explain(err error) {
	if errors.Is(f.err, syscall.ECONNRESET) && errors.Is(err, syscall.ECONNRESET) || !isDisconnect(f.err) ||
		!errors.Is(err, syscall.ECONNRESET) && isDisconnect(err) {
		return
	}
	f.err, f.callbacksFirst = err, false
}

// isDisconnect reports whether err says only that the connection has ended.
func isDisconnect(err error) bool {
	for _, end := range []error{syscall.EPIPE, syscall.ECONNRESET, io.ErrClosedPipe, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF,
		os.ErrDeadlineExceeded} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// noteRestLocked takes from a report of the stream what ends the received data after a failed write, and reports whether that
// has happened. s.mu is held.
func (s *Socket) noteRestLocked(r *transport.Report) (complete bool) {
	f := s.optional.failed
	switch {
	case f.complete || r.Flags&transport.Exhausted == 0 && r.Err == nil:
		return false
	case r.Flags&transport.Exhausted != 0:
		f.complete = true
	case r.Err == io.EOF && (!errors.Is(f.err, syscall.ECONNRESET) || s.stream.ProvesEnd()):
		f.complete = true // the peer had ended its side
	case r.Err == io.EOF: // the kernel has reported the reset to the write, and now reports an end
		f.complete, r.Err = true, nil
	case r.Err != nil:
		f.explain(s.readFailureLocked(r.Err))
		f.complete, r.Err = true, nil
	}
	return true
}

// updateRestLocked continues the delivery after a failed write: it makes the stream read, has the failure reported, or
// limits the wait for the program. s.mu is held.
func (s *Socket) updateRestLocked() {
	in, f := &s.in, s.optional.failed
	waiting := !s.out.closeAfter && (in.deliverable() || in.eof && !in.ended)
	s.stream.SetReading(!f.complete && !in.deliverable())
	if in.yielded || in.crowded || in.deferDelivery || waiting && s.canDeliverLocked() {
		return
	}
	switch {
	case waiting:
		s.dropWritesLocked()
		if in.mode != flowing && f.timer == nil {
			f.timer = time.AfterFunc(maxHeld, func() { s.loop().Event(func() { s.heldTooLong(f) }) })
		}
	case f.complete && !f.reporting:
		f.reporting = true
		s.loop().Post(func() { s.reportFailedWrite(f) })
	}
}

// dropWritesLocked has the callbacks of the failed writes run before the program takes the rest of the data: it may wait for
// them. s.mu is held.
func (s *Socket) dropWritesLocked() {
	if !s.out.dropped {
		s.out.dropped = true
		s.scheduleCallbacksLocked()
	}
}

// heldTooLong reports f if the program still takes nothing. It runs on the loop.
func (s *Socket) heldTooLong(f *failedWrite) {
	s.mu.Lock()
	f.timer = nil
	var e *ending
	if s.out.failed && s.optional.failed == f && s.in.mode != flowing {
		e = s.failLocked(f)
	}
	s.mu.Unlock()
	e.run()
}

// reportFailedWrite destroys the socket after everything that was received before the failure is delivered. It runs on the
// loop.
func (s *Socket) reportFailedWrite(f *failedWrite) {
	s.scanBeforeFailure()
	s.mu.Lock()
	f.reporting = false
	var e *ending
	if s.out.failed && s.optional.failed == f && !s.in.deliverable() {
		e = s.failLocked(f)
	}
	s.mu.Unlock()
	e.run()
}

// failLocked destroys the socket with the failure. s.mu is held.
func (s *Socket) failLocked(f *failedWrite) *ending {
	s.out.callbacksFirst = f.callbacksFirst
	return s.destroyLocked(f.err, false)
}
