package listen

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func yes() bool { return true }
func no() bool  { return false }

// openHandoff returns a handoff whose receivers are open.
func openHandoff(receivers, room int) *Handoff[int] {
	h := NewHandoff[int](receivers, room)
	for i := range receivers {
		h.SetOpen(i, yes)
	}
	return h
}

// put puts an item, for which there must be room, and returns its receiver.
func put(t *testing.T, h *Handoff[int], item int) int {
	receiver, ok := h.Put(item)
	assert.True(t, ok)
	return receiver
}

func take(t *testing.T, h *Handoff[int], receiver int) int {
	item, more, ok := h.Take(receiver)
	assert.True(t, ok)
	assert.False(t, more)
	return item
}

func TestHandoff_FillsReceiversInTurn(t *testing.T) {
	h := openHandoff(3, 10)
	for i := range 9 {
		assert.Equal(t, i%3, put(t, h, i))
	}
	for i := range 9 {
		assert.Equal(t, i, take(t, h, i%3), "oldest first")
	}
	_, _, ok := h.Take(0)
	assert.False(t, ok)
}

func TestHandoff_SkipsReceiversWithoutRoom(t *testing.T) {
	h := openHandoff(2, 2)
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
		h := openHandoff(1, 1)
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
		h := openHandoff(2, 2)
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
		_, _, ok := h.Take(0)
		assert.False(t, ok)
		_, ok = h.Put(5)
		assert.False(t, ok)
		assert.Empty(t, h.Close())
	})
}

// Every item has exactly one owner in the end, for any order of calls.
func TestHandoff_LosesNothing(t *testing.T) {
	const items, receivers = 2000, 3
	h := openHandoff(receivers, 4)
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
				if item, _, ok := h.Take(i); ok {
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
	h := openHandoff(2, 8)
	put(t, h, 0)
	put(t, h, 1)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		receiver, _ := h.Put(2)
		_, _, _ = h.Take(receiver)
	}))
}

// While no receiver is open, items wait. The receivers that open share them.
func TestHandoff_ItemsWaitForAReceiver(t *testing.T) {
	h := NewHandoff[int](3, 4)
	assert.False(t, h.AllOpen())
	for i := range 4 {
		assert.Equal(t, NoReceiver, put(t, h, i))
	}
	_, _, ok := h.Take(1)
	assert.False(t, ok, "a closed receiver gets nothing")
	assert.Equal(t, []int{1}, h.SetOpen(1, yes))
	assert.Empty(t, h.SetOpen(1, yes))
	assert.Equal(t, []int{1, 2}, h.SetOpen(2, yes))
	for i, receiver := range []int{1, 2, 1, 2} {
		item, more, ok := h.Take(receiver)
		assert.True(t, ok)
		assert.Equal(t, i, item)
		assert.Equal(t, i < 3, more)
	}
	for i := range 4 {
		assert.Equal(t, 1+i%2, put(t, h, i), "receiver 0 is closed")
	}
	assert.Empty(t, h.SetOpen(0, yes))
	assert.True(t, h.AllOpen())
}

// The items of a receiver that closes go to the others.
func TestHandoff_ClosedReceiverReturnsItsItems(t *testing.T) {
	h := openHandoff(2, 4)
	for i := range 4 {
		put(t, h, i)
	}
	assert.Equal(t, []int{1}, h.SetOpen(0, no))
	got := []int{}
	for range 4 {
		item, _, ok := h.Take(1)
		assert.True(t, ok)
		got = append(got, item)
	}
	assert.Equal(t, []int{0, 2, 1, 3}, got)
	assert.Equal(t, 1, put(t, h, 4))
	assert.Empty(t, h.SetOpen(1, no), "no receiver to notify")
	assert.Equal(t, NoReceiver, put(t, h, 5))
	assert.Equal(t, []int{4, 5}, h.Close())
}

// A Put that waits for room uses the queue of a receiver that opens.
func TestHandoff_PutWaitsForAReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, first := range map[string]func() bool{"none open": no, "one full": yes} {
			h := NewHandoff[int](2, 1)
			h.SetOpen(0, first)
			put(t, h, 0)
			receiver := make(chan int)
			go func() { receiver <- put(t, h, 1) }()
			synctest.Wait()
			h.SetOpen(1, yes)
			assert.Equal(t, 1, <-receiver, name)
		}
	})
}

// Items keep their order, if some of them have waited for a receiver.
func TestHandoff_WaitingItemsAreOlder(t *testing.T) {
	h := NewHandoff[int](1, 8)
	notified := 0
	for i := range 6 {
		if i == 3 {
			notified += len(h.SetOpen(0, yes))
		}
		if put(t, h, i) == 0 {
			notified++
		}
	}
	for want := 0; notified > 0; notified-- {
		item, more, ok := h.Take(0)
		assert.True(t, ok)
		assert.Equal(t, want, item)
		want++
		if more {
			notified++
		}
	}
	assert.Empty(t, h.Close(), "every item was taken")
}
