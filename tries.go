package evnet

import (
	"errors"
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
