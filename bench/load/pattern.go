package main

import "bytes"

// The bytes of every connection come from one pattern that repeats with its period, each
// connection starting elsewhere: so a byte that is lost, doubled, or sent to the wrong connection is
// seen, no message is ever put together, and none is kept for comparing.
const (
	maxWrite    = 1 << 20 // of one write, and of one message
	wholeCheck  = 4 << 10 // reads up to this size are compared whole, others at both ends
	partOfCheck = 64
)

// makePattern returns the pattern, long enough to take maxWrite bytes from any place of its first
// period. Of lines, it has one at each multiple of their size.
func makePattern(lines bool, size int) (pattern []byte, period int) {
	period = 65521 // a prime, so that messages of any size do not fall into step with it
	if lines {
		period = 1021 * size
	}
	pattern = make([]byte, period+maxWrite)
	state := uint32(1)
	for i := range pattern[:period] {
		state = state*1664525 + 1013904223
		pattern[i] = 'A' + byte(state>>24)%57
		if lines && i%size == size-1 {
			pattern[i] = '\n'
		}
	}
	for i := period; i < len(pattern); i += period {
		copy(pattern[i:], pattern[:period])
	}
	return pattern, period
}

// at returns n bytes of the pattern from that place of a stream on.
func (g *generator) at(place int64, n int) []byte {
	start := int(place % int64(g.period))
	return g.pattern[start : start+n]
}

// intact reports whether p is what the pattern has at that place.
func (g *generator) intact(p []byte, place int64) bool {
	want := g.at(place, len(p))
	if len(p) <= wholeCheck {
		return bytes.Equal(p, want)
	}
	end := len(p) - partOfCheck
	return bytes.Equal(p[:partOfCheck], want[:partOfCheck]) && bytes.Equal(p[end:], want[end:])
}
