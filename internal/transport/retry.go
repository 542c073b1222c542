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
	maxFailures      = 10 // consecutive temporary failures
	noLimit          = 0

	shortPause = 50 * time.Microsecond // between reads without data or error, increasing to
	idlePause  = 10 * time.Millisecond
	firstPause = time.Millisecond // after a failure, increasing to
	lastPause  = 100 * time.Millisecond
)

// retry counts consecutive calls of a conn without progress.
type retry int

// again waits before the next retry, and longer each time. It returns false after max retries.
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

// isTemporary reports whether a retry may succeed after the conn has returned err: err is temporary and not a timeout, which
// the program has requested itself, or Go's poller refuses to wait.
func isTemporary(err error) bool {
	if err == nil {
		return false // without an allocation
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary() && !timedOut(err) || isNotPollable(err)
}

// readInto calls Read of the conn and checks the count.
func readInto(conn net.Conn, p []byte) (int, error) {
	n, err := conn.Read(p)
	if n < 0 || n > len(p) {
		return 0, errInvalidRead
	}
	return n, err
}

// reads counts consecutive Reads that returned no data, and consecutive Reads that failed.
type reads struct{ empty, failed retry }

// check waits before a retry if one is due. It returns the error to report, nil for a temporary error.
func (r *reads) check(n int, err error) error {
	switch {
	case isTemporary(err) && r.failed.again(maxFailures):
		err = nil
	case n == 0 && err == nil: // io.Reader discourages but allows this result
		r.empty.again(noLimit)
	}
	if n > 0 || err != nil {
		*r = reads{}
	}
	return err
}

// writeAll writes all of p. It retries if the conn accepts only a part, or nothing, without an error. isClosed reports that
// the remaining bytes are no longer needed.
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
			err = io.ErrShortWrite // unless a retry succeeds
		case !isTemporary(err):
			return written, err
		}
		if isClosed() || !failed.again(maxFailures) {
			return written, err
		}
	}
	return written, nil
}
