package evtest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
)

// PatternBytes returns bytes in which a wrong order is visible.
func PatternBytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>8) ^ byte(i)
	}
	return p
}

// AssertEqualBytes checks that want and got are equal. It does not print megabytes when it fails.
func AssertEqualBytes(t testing.TB, want, got []byte) {
	t.Helper()
	assert.Equal(t, len(want), len(got))
	assert.True(t, bytes.Equal(want, got), "the bytes differ from those that were sent")
}

// RandomBytes returns data in which a lost, duplicated or reordered chunk is visible.
func RandomBytes(n int) []byte {
	p := make([]byte, n)
	state := uint32(n)
	for i := range p {
		state = state*1664525 + 1013904223
		p[i] = byte(state >> 24)
	}
	return p
}

// Sum is the SHA-256 of everything written to it.
type Sum struct {
	N int
	h interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func NewSum() *Sum { return &Sum{h: sha256.New()} }

func (s *Sum) Write(p []byte) (int, error) {
	s.N += len(p)
	return s.h.Write(p)
}

func (s *Sum) Check(t testing.TB, want []byte) {
	t.Helper()
	assert.Equal(t, len(want), s.N)
	sha := sha256.Sum256(want)
	assert.Equal(t, sha[:], s.h.Sum(nil))
}

const Megabyte = 1 << 20
