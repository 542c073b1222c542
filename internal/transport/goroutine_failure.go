package transport

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// Which error a failed write is reported with: the reader may know the cause.

// deferFailure puts a failed write off until the reader has returned, if there is one: a reset by the peer is reported
// to whoever asks first, and a writer that comes second gets EPIPE. Only the kernel's conns do so, under TLS too.
func (t *goroutine) deferFailure(err error) bool {
	a := adapterOf(t.conn)
	knows := t.raw != nil || a != nil && IsKernelConn(a.Conn)
	if !knows || !t.reading || t.deferred != nil || !errors.Is(err, syscall.EPIPE) {
		return false
	}
	t.deferred, t.writing = err, true
	if !t.waiting {
		t.interrupt()
	}
	return true
}

// fail notes why writing has failed, for TakeFailure. Failed follows, without the lock.
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

// hasLeft reports whether err, from writing, says that the peer has closed the whole conn, as conns of all kinds say
// it.
func hasLeft(err error) bool {
	for _, left := range []error{syscall.EPIPE, syscall.ECONNRESET, io.ErrClosedPipe, net.ErrClosed, io.EOF} {
		if errors.Is(err, left) {
			return true
		}
	}
	return false
}

// TakeFailure takes the error that a goroutine has met while writing, nil if there is none. writer reports that it was the
// writer, rather than the reader that was asked for the cause of a failed Flush.
func (s *Stream) TakeFailure() (err error, writer bool) {
	if !s.open || s.workers == nil {
		return nil, false
	}
	err, s.workers.failure = s.workers.failure, nil
	return err, s.workers.writeFailed
}

// DeferredFailure returns the error of a failed write while the reader is asked for the cause.
func (s *Stream) DeferredFailure() error {
	if s.workers == nil {
		return nil
	}
	return s.workers.deferred
}
