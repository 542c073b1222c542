package evnet

import "time"

// A turn of the loop is bounded in bytes, and here in work: one chunk of 64 KiB may hold 65,536 tokens.

const (
	// roundTime is about what all sockets with more work than their share take together in one turn.
	roundTime = 20 * time.Millisecond
	// longestShare is for a socket that is alone, shortestShare for one among many: in less, a socket does little but
	// pass the turn on.
	longestShare  = time.Millisecond
	shortestShare = 50 * time.Microsecond

	freeCalls = 8  // so few callbacks are not worth a look at the clock
	mostCalls = 64 // without one

	// Weights of a callback: one that gets a token or the outcome of a write, and one that gets a whole chunk.
	lightCall = 1
	heavyCall = 8
)

// budget counts and times the callbacks that a socket runs in one turn of its loop. Only the loop's owner uses it.
type budget struct {
	turn  uint32 // of the loop, for which the rest counts
	calls int32
	next  int32 // the call at which the clock is looked at
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

// yieldFlow leaves what is still held for the next turn. s.mu is held.
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
