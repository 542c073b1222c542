package goid_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"evnet/internal/goid"
)

func TestSelf(t *testing.T) {
	const many = 100
	me := goid.Self()
	var mu sync.Mutex
	var start, done sync.WaitGroup
	seen := map[uintptr]bool{me: true}
	start.Add(many)
	for range many {
		done.Go(func() {
			first := goid.Self()
			start.Done()
			start.Wait() // all goroutines are alive at the same time
			assert.Equal(t, first, deep(100), "a grown stack")
			mu.Lock()
			defer mu.Unlock()
			assert.False(t, seen[first])
			seen[first] = true
		})
	}
	done.Wait()
	assert.NotZero(t, me)
	assert.Equal(t, me, goid.Self())
}

func deep(n int) uintptr {
	var frame [1024]byte
	if n == 0 {
		return goid.Self()
	}
	frame[n] = 1
	return deep(n-1) + uintptr(frame[n]) - 1
}

func BenchmarkSelf(b *testing.B) {
	for b.Loop() {
		goid.Self()
	}
}
