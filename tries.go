package evnet

import (
	"errors"
	"io"
	"net"
	"runtime"
	"time"
)

const (
	firstTries  = 3  // at once
	maxFailures = 10 // in a row, that may pass
	forEver     = 0

	shortPause = 50 * time.Microsecond // of one that has said nothing, up to
	idlePause  = 10 * time.Millisecond
	firstPause = time.Millisecond // of one that has failed, up to
	lastPause  = 100 * time.Millisecond
)

// tries counts how often in a row a conn was asked in vain.
type tries int

// again waits before the next try, longer from one to the next, or reports false after max of them.
func (n *tries) again(max int) bool {
	*n++
	first, last := firstPause, lastPause
	if max == forEver {
		first, last = shortPause, idlePause
	}
	switch {
	case max != forEver && int(*n) > max:
		return false
	case *n <= firstTries:
		runtime.Gosched()
	default:
		time.Sleep(min(first<<min(int(*n-firstTries), 16), last))
	}
	return true
}

// passes reports whether err, of a conn, may be over at the next try: it says so, and is no time-out,
// which the program has asked for.
func passes(err error) bool {
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

// reads counts the Reads in a row that have brought nothing, and those that have failed.
type reads struct{ vain, failed tries }

// heed waits where the conn is to be asked again, and returns the error that counts, nil for one that may pass.
func (r *reads) heed(n int, err error) error {
	switch {
	case passes(err) && r.failed.again(maxFailures):
		err = nil
	case n == 0 && err == nil: // io.Reader's discouraged but allowed answer
		r.vain.again(forEver)
	}
	if n > 0 || err != nil {
		*r = reads{}
	}
	return err
}

// writeAll also copes with a conn that takes a part, or nothing for now, and reports no error. gone says that
// the rest is of no use any more.
func writeAll(conn net.Conn, p []byte, gone func() bool) (int, error) {
	written := 0
	var failed tries
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
		case !passes(err):
			return written, err
		}
		if gone() || !failed.again(maxFailures) {
			return written, err
		}
	}
	return written, nil
}
