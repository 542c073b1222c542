package transport

import (
	"errors"
	"io"
	"net"
	"runtime"
	"time"
)

const (
	immediateRetries = 3
	maxFailures      = 10 // temporary ones, in a row
	noLimit          = 0

	shortPause = 50 * time.Microsecond // between reads without data or error, up to
	idlePause  = 10 * time.Millisecond
	firstPause = time.Millisecond // after a failure, up to
	lastPause  = 100 * time.Millisecond
)

// retry counts how often in a row a conn has made no progress.
type retry int

// again waits before the next try, longer from one to the next, or reports false after max of them.
func (n *retry) again(max int) bool {
	*n++
	first, last := firstPause, lastPause
	if max == noLimit {
		first, last = shortPause, idlePause
	}
	switch {
	case max != noLimit && int(*n) > max:
		return false
	case *n <= immediateRetries:
		runtime.Gosched()
	default:
		time.Sleep(min(first<<min(int(*n-immediateRetries), 16), last))
	}
	return true
}

// isTemporary reports whether the next try may succeed after err, of a conn: err says so, and is not a timeout, which
// the program has requested.
func isTemporary(err error) bool {
	if err == nil {
		return false // and nothing is allocated
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary() && !timedOut(err)
}

// readInto is the conn's Read, whose count is checked.
func readInto(conn net.Conn, p []byte) (int, error) {
	n, err := conn.Read(p)
	if n < 0 || n > len(p) {
		return 0, errInvalidRead
	}
	return n, err
}

// reads counts the Reads in a row that have returned nothing, and those that have failed.
type reads struct{ empty, failed retry }

// check waits if the conn is to be read again, and returns the error that counts, nil for a temporary one.
func (r *reads) check(n int, err error) error {
	switch {
	case isTemporary(err) && r.failed.again(maxFailures):
		err = nil
	case n == 0 && err == nil: // io.Reader's discouraged but allowed answer
		r.empty.again(noLimit)
	}
	if n > 0 || err != nil {
		*r = reads{}
	}
	return err
}

// writeAll also copes with a conn that takes a part, or nothing for now, and reports no error. isClosed reports that
// the rest is of no use any more.
func writeAll(conn net.Conn, p []byte, isClosed func() bool) (int, error) {
	written := 0
	var failed retry
	for written < len(p) {
		n, err := conn.Write(p[written:])
		if n < 0 || n > len(p)-written {
			return written, errInvalidWrite
		}
		written += n
		if n > 0 {
			failed = 0
		}
		switch {
		case err == nil && n > 0:
			continue
		case err == nil:
			err = io.ErrShortWrite // unless more is taken soon
		case !isTemporary(err):
			return written, err
		}
		if isClosed() || !failed.again(maxFailures) {
			return written, err
		}
	}
	return written, nil
}
