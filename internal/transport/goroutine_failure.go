package transport

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// The error of a failed write. The reader may have the cause.

// deferFailure defers the report of a failed write until the reader, if there is one, has returned. The kernel reports a
// reset by the peer to the first call only: if the reader is first, the writer gets EPIPE. This applies to kernel conns,
// also below TLS.
func (t *goroutine) deferFailure(err error) bool {
	a := adapterOf(t.conn)
	isKernel := t.raw != nil || a != nil && IsKernelConn(a.Conn)
	if !isKernel || !t.reading || t.deferred != nil || !errors.Is(err, syscall.EPIPE) {
		return false
	}
	t.deferred, t.writing = err, true
	if !t.waiting {
		t.interrupt()
	}
	return true
}

// fail stores the error of a failed write for TakeFailure. The caller then calls Failed, without the lock.
func (t *goroutine) fail(err error) {
	if !t.retired && !t.deferFailure(err) {
		t.failure = err
	}
}

func (t *goroutine) hasFailed() bool {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	return t.failure != nil && !t.retired
}

// isDisconnect reports whether the error of a write means that the peer has closed the conn completely. It recognizes the
// errors of all kinds of conns.
func isDisconnect(err error) bool {
	for _, disconnect := range []error{syscall.EPIPE, syscall.ECONNRESET, io.ErrClosedPipe, net.ErrClosed, io.EOF} {
		if errors.Is(err, disconnect) {
			return true
		}
	}
	return false
}

// TakeFailure returns and removes the error that a goroutine has stored for a failed write, nil if there is none. writer
// reports whether the writer goroutine has failed. It is false if a Flush failed and the reader determined the cause.
func (s *Stream) TakeFailure() (err error, writer bool) {
	if !s.open || s.workers == nil {
		return nil, false
	}
	err, s.workers.failure = s.workers.failure, nil
	return err, s.workers.writeFailed
}

// DeferredFailure returns the error of a failed write until the reader has determined the cause.
func (s *Stream) DeferredFailure() error {
	if s.workers == nil {
		return nil
	}
	return s.workers.deferred
}
