package evnet

import "time"

// A turn of the loop is limited in bytes, and here in work: one chunk of 64 KiB may have 65,536 tokens.

const (
	// roundTime is the approximate time of one turn for all sockets with more work than their share.
	roundTime = 20 * time.Millisecond
	// longestShare is for a single socket, shortestShare for one of many: in less time a socket does little but
	// yield.
	longestShare  = time.Millisecond
	shortestShare = 50 * time.Microsecond

	freeCalls = 8  // callbacks before the clock is read for the first time
	mostCalls = 64 // callbacks between two readings

	// Weights of a callback: for a token or the result of a write, and for a whole chunk.
	lightCall = 1
	heavyCall = 8
)

// budget counts and times the callbacks that a socket runs in one turn of its loop. It belongs to the loop.
type budget struct {
	turn  uint32 // of the loop, which the other fields are about
	calls int32
	next  int32 // the call at which the clock is read
	began time.Duration
}

// spend counts one callback, with its weight, and reports whether the socket has used its share of the turn.
func (b *budget) spend(l *Loop, weight int32) bool {
	if b.turn != l.core().Turn() {
		*b = budget{turn: l.core().Turn(), next: freeCalls}
	}
	if b.calls += weight; b.calls < b.next {
		return false
	}
	now := time.Since(processStart)
	if b.began == 0 {
		b.began = now
	}
	b.next = b.calls + min(b.calls+1, mostCalls)
	return now-b.began > max(min(roundTime/time.Duration(1+l.core().Yielded()), longestShare), shortestShare)
}

// processStart makes reading the monotonic clock one call.
var processStart = time.Now()

// yieldFlow defers the delivery of buffered data to the next turn. s.mu is held.
func (s *Socket) yieldFlow() {
	epoch := s.epoch
	s.in.yielded = true
	s.set.Loop.yield(func() {
		s.mu.Lock()
		if s.epoch == epoch {
			s.in.yielded = false
		}
		s.mu.Unlock()
		s.flow()
	})
}
