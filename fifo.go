package evnet

// fifo is a first-in, first-out queue; the zero value is empty.
type fifo[T any] struct {
	items []T
	head  int // items before it are gone
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		// Reuse the room at the front rather than grow. Half empty keeps it O(1) on average.
		if n := q.len(); n <= q.head {
			copy(q.items, q.items[q.head:])
			clear(q.items[n:])
			q.items, q.head = q.items[:n], 0
		}
	}
	q.items = append(q.items, v)
}

// front returns the oldest item, to look at or change in place; the queue must not be empty.
func (q *fifo[T]) front() *T { return &q.items[q.head] }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
