// Package ratelimit limits how often something happens: events in general with [Bucket], records of a
// log with [Log].
package ratelimit

import "time"

// most is the highest rate and the largest burst, so that the arithmetic does not overflow: one event per
// nanosecond, which is no limit in practice.
const most = 1_000_000_000

// one is what an event costs. Credit is counted in billionths of an event: a nanosecond earns as many of
// them as the rate is, without rounding.
const one = int64(time.Second)

// Bucket is a token bucket. It allows a burst of events at any time, and beyond that as many per second
// as its rate. Use NewBucket; the zero value allows nothing. It is not safe for concurrent use.
type Bucket struct {
	rate   int64 // events per second
	full   int64 // the largest credit
	credit int64
	last   time.Time // when the credit was computed
}

// NewBucket returns a full bucket for rate events per second. A rate or burst below 1 is 1.
func NewBucket(rate, burst int) Bucket {
	full := int64(min(max(burst, 1), most)) * one
	return Bucket{rate: int64(min(max(rate, 1), most)), full: full, credit: full}
}

// Take reports whether an event is allowed at the time now, and counts it if so. If now is before the time
// of the last call, no credit is added.
func (b *Bucket) Take(now time.Time) bool {
	if b.rate == 0 {
		return false
	}
	if !b.last.IsZero() {
		elapsed := min(max(int64(now.Sub(b.last)), 0), b.full/b.rate+1) // more would only fill it further
		b.credit = min(b.credit+elapsed*b.rate, b.full)
	}
	b.last = now
	if b.credit < one {
		return false
	}
	b.credit -= one
	return true
}
