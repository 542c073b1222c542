package figures

import "math/bits"

// Each power of two is divided into 64 buckets, so that a quantile is at most 1.6 % too large.
const (
	subBits = 6
	sub     = 1 << subBits
)

// A Histogram counts durations without allocating. The zero value is empty.
type Histogram struct {
	counts [(64 - subBits + 1) * sub]int64
	total  int64
}

// Add counts one duration in nanoseconds; a negative one counts as 0.
func (h *Histogram) Add(ns int64) {
	h.counts[bucket(max(ns, 0))]++
	h.total++
}

// Reset empties the histogram.
func (h *Histogram) Reset() { *h = Histogram{} }

// Total returns the number of durations.
func (h *Histogram) Total() int64 { return h.total }

// Quantile returns an upper bound of the quantile q: the largest duration of its bucket. It returns 0 if
// the histogram is empty.
func (h *Histogram) Quantile(q float64) int64 {
	if h.total == 0 {
		return 0
	}
	rank := min(int64(q*float64(h.total)), h.total-1)
	var seen int64
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return upper(i)
		}
	}
	return upper(len(h.counts) - 1)
}

// bucket returns the bucket of a duration. Each value below 64 has its own bucket; for larger values the
// first 7 bits choose it.
func bucket(ns int64) int {
	if ns < sub {
		return int(ns)
	}
	shift := bits.Len64(uint64(ns)) - subBits - 1
	return (shift+1)*sub + int(ns>>shift) - sub
}

// upper returns the largest duration of a bucket.
func upper(i int) int64 {
	if i < sub {
		return int64(i)
	}
	shift := i/sub - 1
	return (int64(i%sub+sub)+1)<<shift - 1
}
