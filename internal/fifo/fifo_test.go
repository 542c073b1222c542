package fifo

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A Queue behaves as a slice that is appended to and cut at the front.
func TestQueue_Order(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[int]
		var want []int
		next := 0
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			if rapid.IntRange(0, 4).Draw(t, "step") < 3 || len(want) == 0 {
				q.Push(next)
				want = append(want, next)
				next++
			} else {
				require.Equal(t, want[0], q.Pop())
				want = want[1:]
			}
			require.Equal(t, len(want), q.Len())
			for i, v := range want {
				require.Equal(t, v, *q.At(i))
			}
			if len(want) > 0 {
				require.Equal(t, want[0], *q.Front())
				require.Equal(t, want[len(want)-1], *q.Back())
			}
		}
	})
}

// Front, Back and At allow changes in place.
func TestQueue_ChangeInPlace(t *testing.T) {
	var q Queue[string]
	for _, v := range []string{"removed", "a", "b", "c"} {
		q.Push(v)
	}
	q.Pop()
	*q.Front() += "1"
	*q.At(1) += "2"
	*q.Back() += "3"
	assert.Equal(t, "a1", q.Pop())
	assert.Equal(t, "b2", q.Pop())
	assert.Equal(t, "c3", q.Pop())
	assert.Zero(t, q.Len())
}

// A queue that is never empty keeps its capacity, as long as its length does not grow.
func TestQueue_ReusesMemory(t *testing.T) {
	var q Queue[int]
	for i := range 10 {
		q.Push(i)
	}
	for range 1000 {
		q.Push(q.Pop())
	}
	assert.LessOrEqual(t, cap(q.items), 32)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { q.Push(q.Pop()) }))
}

// Removed items are not kept alive.
func TestQueue_ClearsRemovedItems(t *testing.T) {
	var q Queue[*int]
	for range 1000 {
		q.Push(new(int))
		q.Push(new(int))
		q.Pop()
		if q.Len() > 5 {
			q.Pop()
		}
	}
	kept := 0
	for _, p := range q.items[:cap(q.items)] {
		if p != nil {
			kept++
		}
	}
	assert.Equal(t, q.Len(), kept)
}
