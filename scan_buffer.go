package evnet

import (
	"bytes"
	"container/list"
	"sync"
	"time"
)

// This file has the data that Scan calls its split function with, and the schedule of deferred calls.

const firstJoin = 512 // bytes of the borrowed chunk that are first added to an unfinished token

var carriageReturn = []byte("\r")

// borrow makes p, a borrowed chunk of the transport, a part of the buffered data without copying it. The caller calls
// scanBuffered afterwards. s.mu is held.
func (in *inbound) borrow(p []byte) {
	if in.decoder != nil {
		in.decode(p, true)
	} else {
		in.borrowed = p
	}
}

// splitInput returns the data for split: the buffered data, and a part of the borrowed chunk if split has requested
// more.
func (in *inbound) splitInput() []byte {
	sc := in.scan
	rest := in.borrowed[in.borrowedAt:]
	switch {
	case in.decoder != nil:
		if len(in.raw) > 0 {
			raw := in.raw
			in.raw = nil
			in.decode(raw, false)
		}
		return in.text
	case len(rest) == 0:
	case len(in.raw) == 0:
		in.raw, in.rawBorrowed = rest, true
		in.borrowed, in.borrowedAt = nil, 0
	case sc.seen > 0:
		// Copy only the bytes that the unfinished token needs, if their number is known: the tokens after it are
		// found in the chunk itself.
		n := max(len(in.raw), firstJoin)
		if sc.lines {
			if n = bytes.IndexByte(rest, '\n') + 1; n == 0 {
				n = len(rest)
			}
		}
		n = min(n, len(rest))
		in.raw = append(in.raw, rest[:n]...)
		in.borrowedAt += n
		in.joined += n
		sc.reuse(in.raw)
	}
	return in.raw
}

// decode appends the text of p to the buffered text. borrowed says that p is valid only until keepBorrowed.
func (in *inbound) decode(p []byte, borrowed bool) {
	in.noteDecoded(p, borrowed)
	dst := in.text
	if len(dst) == 0 {
		dst = in.scan.buf[:0]
	}
	before := len(in.text)
	in.text = in.decoder.Write(dst, p)
	if in.decoded != unknownSource {
		in.decoded += len(in.text) - before
	}
	in.scan.reuse(in.text)
}

// scanned applies the result of split and reports whether the unfinished token is too long.
func (in *inbound) scanned(advance int, token []byte) (tooLong bool) {
	sc, held := in.scan, &in.raw
	if in.decoder != nil {
		held = &in.text
	}
	if advance == 0 && token == nil {
		sc.seen, sc.wait, sc.done = len(*held), sc.growth(len(*held)), in.atEnd
		rest := *held
		if sc.lines {
			rest = bytes.TrimSuffix(rest, carriageReturn)
		}
		return !in.atEnd && len(rest) > sc.max
	}
	sc.seen, sc.wait = 0, 0
	*held = (*held)[advance:]
	if left := len(in.raw); in.joined > 0 && left <= in.joined {
		in.borrowedAt -= left // the chunk itself has all remaining bytes
		in.raw, in.joined = nil, 0
	}
	if len(*held) == 0 {
		*held, in.rawBorrowed = nil, false
		if cap(sc.buf) > maxChunk {
			sc.buf = nil
		}
	}
	return false
}

// reuse keeps the memory of p, which is not borrowed, for unfinished tokens.
func (sc *scan) reuse(p []byte) {
	if cap(p) > cap(sc.buf) {
		sc.buf = p[:0]
	}
}

// keepBorrowed copies the rest of the borrowed chunk.
func (in *inbound) keepBorrowed() {
	if in.source != nil {
		in.keepSource()
	}
	rest := in.borrowed[in.borrowedAt:]
	if !in.rawBorrowed && len(rest) == 0 {
		if in.borrowed != nil || in.joined > 0 {
			in.borrowed, in.borrowedAt, in.joined = nil, 0, 0
		}
		return
	}
	dst := in.raw
	if in.rawBorrowed {
		dst = nil
		if in.scan != nil {
			dst = in.scan.buf[:0]
		}
		dst = append(dst, in.raw...)
	}
	in.forgetRaw()
	if in.raw = append(dst, rest...); in.scan != nil {
		in.scan.reuse(in.raw)
	}
}

// forgetRaw discards the buffered data that is not decoded.
func (in *inbound) forgetRaw() {
	if in.receiveBuffer == &emptyReceiveBuffer {
		return
	}
	in.raw, in.rawBorrowed = nil, false
	in.borrowed, in.borrowedAt, in.joined = nil, 0, 0
}

// rescan makes Scan restart with the buffered data, which has changed, even if split is running.
func (in *inbound) rescan() {
	if in.scan != nil {
		sc := *in.scan
		sc.seen, sc.wait, sc.done = 0, 0, false
		in.scan = &sc
	}
}

// The following decides when Scan calls split again for an unfinished token. Only split can determine whether a byte
// completes a token, and it examines the whole token each time. For a short token it is called whenever data arrives.
// For a long one the call is deferred until the data has grown in proportion, or until the loop has time for it.

const (
	deferGrowth = 8 // split is called when a long unfinished token has grown by 1/deferGrowth

	// A deferred call without a result is followed by a pause of pauseFactor times its duration, but no more than
	// longestPause, unless the call took longer.
	pauseFactor  = 8
	longestPause = 50 * time.Millisecond
)

var ( // changed by tests
	deferFrom = 4 << 10                // bytes: the size from which an unfinished token is long
	callBurst = 100 * time.Microsecond // accumulated pauses up to this duration are skipped
)

// deferredCalls schedules the calls of split for sockets of a loop that have received too little data. Together
// they take about a ninth of the loop's time. Sockets are served in the order in which they were queued.
type deferredCalls struct {
	next time.Time // when the next call may begin; used only on the loop

	mu      sync.Mutex  // guards the fields below; taken after the mu of a socket
	waiting list.List   // of *Socket
	timer   *time.Timer // nil until a socket is queued for the first time
	armed   bool        // the timer is running, or its event is pending
}

// growth returns how many bytes may follow n bytes of an unfinished token before a call of split is due. A call
// is always due for data longer than max.
func (sc *scan) growth(n int) int {
	if sc.lines || n < deferFrom {
		return 0
	}
	return max(min(n/deferGrowth, sc.max-n+1)-1, 0)
}

// deferred reports whether there is data that split has not seen, but no call of it is due.
func (in *inbound) deferred() bool {
	return in.scan != nil && in.scan.wait > 0 && in.buffered() > in.scan.seen && !in.deliverable()
}

// scanDeferredLocked reports whether a deferred call of split is allowed now, and makes it due. Otherwise it queues the
// socket. It runs on the loop; s.mu is held.
func (s *Socket) scanDeferredLocked() bool {
	if !s.in.deferred() {
		return false
	}
	l, sc := s.set.Loop, s.in.scan
	d := &l.host().deferred
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting.Len() == 0 && time.Until(d.next) <= callBurst {
		sc.callNow()
		return true
	}
	if sc.place == nil {
		sc.place = d.waiting.PushBack(s)
		l.armDeferred()
	}
	return false
}

// callNow makes a deferred call due.
func (sc *scan) callNow() { sc.wait, sc.timed = 0, true }

// spend accounts for the duration of a deferred call without a result. It runs on the loop.
func (d *deferredCalls) spend(took time.Duration) {
	if now := time.Now(); d.next.Before(now) {
		d.next = now
	}
	d.next = d.next.Add(max(min(pauseFactor*took, longestPause), took))
}

// armDeferred starts the timer if a socket is queued. It runs on the loop; the mu of deferredCalls is held.
func (l *Loop) armDeferred() {
	d := &l.host().deferred
	if d.armed || d.waiting.Len() == 0 {
		return
	}
	d.armed = true
	if pause := time.Until(d.next); d.timer == nil {
		d.timer = time.AfterFunc(pause, func() { l.core().Event(l.runDeferred) })
	} else {
		d.timer.Reset(pause)
	}
}

// runDeferred calls the split function of the socket at the head of the queue. It is an event of the loop.
func (l *Loop) runDeferred() {
	d := &l.host().deferred
	d.mu.Lock()
	d.armed = false
	first := d.waiting.Front()
	if first == nil || time.Until(d.next) > 0 {
		l.armDeferred()
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	defer func() { // also when a callback panics
		d.mu.Lock()
		l.armDeferred()
		d.mu.Unlock()
	}()
	s := first.Value.(*Socket)
	s.mu.Lock()
	if in := &s.in; in.scan != nil && in.scan.place == first {
		s.leaveDeferredLocked()
		if in.deferred() && s.canDeliverLocked() {
			in.scan.callNow()
		}
	}
	s.mu.Unlock()
	s.flow()
}

// leaveDeferredLocked removes the socket from the queue of deferred calls. s.mu is held.
func (s *Socket) leaveDeferredLocked() {
	sc := s.in.scan
	if sc == nil || sc.place == nil {
		return
	}
	d := &s.set.Loop.host().deferred
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting.Remove(sc.place)
	sc.place = nil
	if d.waiting.Len() == 0 && d.armed && d.timer.Stop() {
		d.armed = false
	}
}

// scanBeforeFailure makes a deferred call of split, because the socket is about to be destroyed with an error. It
// runs on the loop.
func (s *Socket) scanBeforeFailure() {
	s.mu.Lock()
	deferred := s.canDeliverLocked() && s.in.deferred()
	if deferred {
		s.in.scan.wait = 0
	}
	s.mu.Unlock()
	if deferred {
		s.flow()
	}
}

// scanBeforeTimeoutLocked reports whether a call of split was deferred, and schedules it before the next event: a token
// that has arrived is delivered before a timeout. It runs on the loop; s.mu is held.
func (s *Socket) scanBeforeTimeoutLocked() bool {
	if !s.canDeliverLocked() || !s.in.deferred() {
		return false
	}
	s.in.scan.wait = 0
	s.scheduleFlowLocked()
	return true
}
