package listen

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put puts an item, for which there must be room, and returns its receiver.
func put(t *testing.T, h *Handoff[int], item int) int {
	receiver, ok := h.Put(item)
	assert.True(t, ok)
	return receiver
}

func take(t *testing.T, h *Handoff[int], receiver int) int {
	item, ok := h.Take(receiver)
	assert.True(t, ok)
	return item
}

func TestHandoff_FillsReceiversInTurn(t *testing.T) {
	h := NewHandoff[int](3, 10)
	for i := range 9 {
		assert.Equal(t, i%3, put(t, h, i))
	}
	for i := range 9 {
		assert.Equal(t, i, take(t, h, i%3), "oldest first")
	}
	_, ok := h.Take(0)
	assert.False(t, ok)
}

func TestHandoff_SkipsReceiversWithoutRoom(t *testing.T) {
	h := NewHandoff[int](2, 2)
	for i := range 4 {
		put(t, h, i)
	}
	take(t, h, 1)
	take(t, h, 1)
	assert.Equal(t, 1, put(t, h, 4))
	assert.Equal(t, 1, put(t, h, 5), "receiver 0 has no room")
}

func TestHandoff_PutWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const producers = 3
		h := NewHandoff[int](1, 1)
		put(t, h, 0)
		var all sync.WaitGroup
		for i := range producers {
			all.Go(func() { put(t, h, 1+i) })
		}
		seen := map[int]bool{}
		for range 1 + producers {
			synctest.Wait() // the producers have no room
			seen[take(t, h, 0)] = true
			synctest.Wait() // each Take unblocks one of them
		}
		all.Wait()
		assert.Len(t, seen, 1+producers)
	})
}

func TestHandoff_CloseReturnsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandoff[int](2, 2)
		for i := range 4 {
			put(t, h, i)
		}
		put := make(chan bool)
		go func() {
			_, ok := h.Put(4)
			put <- ok
		}()
		synctest.Wait()
		assert.Equal(t, []int{0, 2, 1, 3}, h.Close())
		assert.False(t, <-put, "Close ends a Put that waits")
		_, ok := h.Take(0)
		assert.False(t, ok)
		_, ok = h.Put(5)
		assert.False(t, ok)
		assert.Empty(t, h.Close())
	})
}

// Every item has exactly one owner in the end, for any order of calls.
func TestHandoff_LosesNothing(t *testing.T) {
	const items, receivers = 2000, 3
	h := NewHandoff[int](receivers, 4)
	notify := make([]chan struct{}, receivers)
	for i := range notify {
		notify[i] = make(chan struct{}, items)
	}
	var mu sync.Mutex
	owners := make([]int, items)
	own := func(item int) {
		mu.Lock()
		owners[item]++
		mu.Unlock()
	}
	var producer, consumers sync.WaitGroup
	producer.Go(func() {
		for i := range items {
			if receiver, ok := h.Put(i); ok {
				notify[receiver] <- struct{}{}
			} else {
				own(i)
			}
			if i == items/2 {
				for _, item := range h.Close() {
					own(item)
				}
			}
		}
		for _, c := range notify {
			close(c)
		}
	})
	for i, c := range notify {
		consumers.Go(func() {
			for range c {
				if item, ok := h.Take(i); ok {
					own(item)
				}
			}
		})
	}
	producer.Wait()
	consumers.Wait()
	for item, n := range owners {
		assert.Equal(t, 1, n, "item %d", item)
	}
}

func TestHandoff_DoesNotAllocate(t *testing.T) {
	h := NewHandoff[int](2, 8)
	put(t, h, 0)
	put(t, h, 1)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		receiver, _ := h.Put(2)
		_, _ = h.Take(receiver)
	}))
}
