package transport

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"evnet/internal/netpoll"
)

// A failed write of the goroutine driver.

const (
	silenceCheck  = 25 * time.Millisecond
	silenceChecks = 8
)

// silence detects that a conn has nothing more to read after a failed write. A kernel conn usually returns an error then. Read
// of another conn may block forever. The limit is a number of checks, so that a process without processor time does not
// reach it before the reader continues.
type silence struct {
	timer *time.Timer // nil unless the reader is in Read
	found int         // consecutive checks that have found the reader in Read
	is    bool        // reported by the next Serve
}

func (q *silence) stop() {
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
}

// awaitSilence starts the checks before the reader enters Read.
func (t *goroutine) awaitSilence() {
	q := &t.silence
	if q.found = 0; q.timer == nil && !t.retired {
		q.timer = time.AfterFunc(silenceCheck, t.checkSilence)
	}
}

func (t *goroutine) checkSilence() {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	q := &t.silence
	switch {
	case q.timer == nil: // stopped
		return
	case !t.reading || t.full || t.waiting: // decide starts the checks again
		q.timer = nil
		return
	}
	if q.found++; q.found < silenceChecks {
		q.timer.Reset(silenceCheck)
		return
	}
	q.timer, q.is = nil, true
	t.loop.Notify(t.owner, netpoll.Readable)
}

// stopWriting makes the reader report what it has, or continue to read.
func (t *goroutine) stopWriting() (unread bool, failed error) {
	switch {
	case t.full:
		t.loop.Notify(t.owner, netpoll.Readable) // serve may have held it back
	case t.reading:
		t.awaitSilence()
	case t.raw != nil:
		unread, failed = t.raw.peek()
		return unread, readError(t.conn, failed)
	}
	return true, nil
}

// fail stores the error of a failed write for TakeFailure. The caller then calls Failed, without the lock.
func (t *goroutine) fail(err error) {
	if !t.retired {
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
// reports whether the writer goroutine has failed. It is false if a method of the conn has panicked.
func (s *Stream) TakeFailure() (err error, writer bool) {
	if !s.open || s.workers == nil {
		return nil, false
	}
	err, s.workers.failure = s.workers.failure, nil
	return err, s.workers.writeFailed
}
