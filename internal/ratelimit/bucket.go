// Package ratelimit limits the rate of events with [Bucket], and of log records with [Log]. It does not know
// the meaning of the events. The methods of a Log may be called from any goroutine. The owner of a Bucket
// locks it.
package ratelimit

import "time"

// maxRate is the highest rate and the largest burst, so that the arithmetic does not overflow. It is one
// event per nanosecond, which does not limit in practice.
const maxRate = 1_000_000_000

// cost is the credit that one event uses. Credit is counted in billionths of an event: in each nanosecond the
// credit grows by exactly the rate, without rounding.
const cost = int64(time.Second)

// Bucket is a token bucket. It allows a burst of events at any time, and beyond that as many events per
// second as its rate. NewBucket makes one; the zero value allows no event. It is not safe for concurrent use.
type Bucket struct {
	rate   int64 // events per second
	full   int64 // the largest credit
	credit int64
	last   time.Time // when the credit was computed
}

// NewBucket returns a full bucket for rate events per second. A rate or burst below 1 is 1.
func NewBucket(rate, burst int) Bucket {
	full := int64(min(max(burst, 1), maxRate)) * cost
	return Bucket{rate: int64(min(max(rate, 1), maxRate)), full: full, credit: full}
}

// Take reports whether an event is allowed at the time now, and counts it if so. If now is before the time
// of the last call, no credit is added.
func (b *Bucket) Take(now time.Time) bool {
	if b.rate == 0 {
		return false
	}
	if !b.last.IsZero() {
		elapsed := min(max(int64(now.Sub(b.last)), 0), b.full/b.rate+1) // a full bucket gets no more credit
		b.credit = min(b.credit+elapsed*b.rate, b.full)
	}
	b.last = now
	if b.credit < cost {
		return false
	}
	b.credit -= cost
	return true
}
