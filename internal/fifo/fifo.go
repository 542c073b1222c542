// Package fifo provides a first-in, first-out queue that reuses its memory.
//
// A Queue has no lock. Its owner calls it with the owner's lock, or on one goroutine. The package does not know the queued
// items.
package fifo

// Queue is a first-in, first-out queue. The zero value is empty.
//
// A pointer that Front, Back or At returns is valid until the next Push or Pop.
type Queue[T any] struct {
	items []T
	head  int // the items before it were removed
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return len(q.items) - q.head }

// Push adds v at the back.
func (q *Queue[T]) Push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		// Move the items to the front instead of growing. Doing so only when half of the room is free keeps Push O(1) on
		// average.
		if n := q.Len(); n <= q.head {
			copy(q.items, q.items[q.head:])
			clear(q.items[n:])
			q.items, q.head = q.items[:n], 0
		}
	}
	q.items = append(q.items, v)
}

// Pop removes the oldest item and returns it. The queue must not be empty.
func (q *Queue[T]) Pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// Front returns the oldest item. The queue must not be empty.
func (q *Queue[T]) Front() *T { return &q.items[q.head] }

// Back returns the newest item. The queue must not be empty.
func (q *Queue[T]) Back() *T { return &q.items[len(q.items)-1] }

// At returns the i-th item; the oldest is At(0).
func (q *Queue[T]) At(i int) *T { return &q.items[q.head+i] }
