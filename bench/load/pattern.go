package main

import "bytes"

// The bytes of every connection come from one periodic pattern, and each connection starts at a
// different place of it. So the generator detects a byte that is lost, duplicated, or sent to the wrong
// connection, without building messages or keeping copies of them.
const (
	maxWrite    = 1 << 20 // maximum size of a write and of a message
	wholeCheck  = 4 << 10 // reads up to this size are compared completely, larger ones at both ends
	partOfCheck = 64
)

// makePattern returns the pattern. It has at least maxWrite bytes from any place of its first period. With
// lines, a newline ends every size bytes.
func makePattern(lines bool, size int) (pattern []byte, period int) {
	period = 65521 // a prime, so that no message size divides it
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

// at returns n bytes of the pattern, beginning at the given place of a stream.
func (g *generator) at(place int64, n int) []byte {
	start := int(place % int64(g.period))
	return g.pattern[start : start+n]
}

// intact reports whether p equals the pattern at the given place of a stream.
func (g *generator) intact(p []byte, place int64) bool {
	want := g.at(place, len(p))
	if len(p) <= wholeCheck {
		return bytes.Equal(p, want)
	}
	end := len(p) - partOfCheck
	return bytes.Equal(p[:partOfCheck], want[:partOfCheck]) && bytes.Equal(p[end:], want[end:])
}
