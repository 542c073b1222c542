package ratelimit

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// takes counts how many of n events at one time are allowed.
func takes(b *Bucket, now time.Time, n int) (allowed int) {
	for range n {
		if b.Take(now) {
			allowed++
		}
	}
	return allowed
}

func TestBucket_AllowsBurstThenRate(t *testing.T) {
	for _, c := range []struct{ rate, burst int }{{1, 1}, {1, 20}, {3, 3}, {7, 1}, {1000, 1000}, {5, 2}} {
		b, now := NewBucket(c.rate, c.burst), time.Unix(1_000_000, 0)
		assert.Equal(t, c.burst, takes(&b, now, 2*c.burst), "%+v: the burst", c)
		allowed := 0
		for range 10 * c.rate { // ten seconds, in steps of the rate, rounded up to a nanosecond
			now = now.Add(time.Second/time.Duration(c.rate) + 1)
			allowed += takes(&b, now, 2)
		}
		assert.Equal(t, 10*c.rate, allowed, "%+v", c)
	}
}

// Credit is exact: a fraction that is not enough for one event is kept for the next one.
func TestBucket_LosesNoFraction(t *testing.T) {
	b, start := NewBucket(3, 2), time.Unix(1_000_000, 0)
	assert.Equal(t, 2, takes(&b, start, 3))
	allowed := 0
	for ms := 1; ms <= 10_000; ms++ { // Take once per millisecond, which adds three thousandths
		allowed += takes(&b, start.Add(time.Duration(ms)*time.Millisecond), 1)
	}
	assert.Equal(t, 30, allowed)
}

func TestBucket_NeverHoldsMoreThanTheBurst(t *testing.T) {
	for _, idle := range []time.Duration{time.Minute, 100 * 365 * 24 * time.Hour, math.MaxInt64} {
		b, now := NewBucket(2, 5), time.Unix(1_000_000, 0)
		assert.Equal(t, 5, takes(&b, now, 10))
		assert.Equal(t, 5, takes(&b, now.Add(idle), 10), idle)
	}
}

// A clock that is set back neither adds credit nor stops the bucket.
func TestBucket_TimeThatGoesBack(t *testing.T) {
	b, now := NewBucket(1, 2), time.Unix(1_000_000, 0)
	assert.Equal(t, 2, takes(&b, now, 3))
	now = now.Add(-time.Hour)
	assert.Zero(t, takes(&b, now, 3))
	assert.Equal(t, 1, takes(&b, now.Add(time.Second), 3))
}

func TestBucket_BadArguments(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, bad := range []int{0, -1, math.MinInt} {
		b := NewBucket(bad, bad)
		assert.Equal(t, 1, takes(&b, now, 10), bad)
		assert.Equal(t, 1, takes(&b, now.Add(time.Second), 10), bad)
	}
	huge := NewBucket(math.MaxInt, math.MaxInt)
	for range 10 {
		assert.Equal(t, 1000, takes(&huge, now, 1000))
		now = now.Add(math.MaxInt64)
	}
	var zero Bucket
	assert.Zero(t, takes(&zero, now, 1))
}
