package listen

import (
	"sync"

	"evnet/internal/fifo"
)

// Handoff is a set of bounded queues, one for each receiver, that fill in rotation. It passes accepted connections to
// the loops of a server. NewHandoff makes one.
//
// Any goroutine may call the methods. The handoff makes no calls: the caller of Put notifies the receiver, which then
// calls Take once. The caller of Take or Close owns the items that it returns. The lock of a handoff is the innermost,
// because its methods take no other.
type Handoff[T any] struct {
	mu     sync.Mutex // guards everything below
	queues []fifo.Queue[T]
	room   int // of each queue
	next   int // the next receiver
	closed bool
	freed  *sync.Cond // signalled when an item is taken, and on Close
}

// NewHandoff returns a handoff for the given number of receivers, with room for the given number of items per receiver.
func NewHandoff[T any](receivers, room int) *Handoff[T] {
	h := &Handoff[T]{queues: make([]fifo.Queue[T], receivers), room: room}
	h.freed = sync.NewCond(&h.mu)
	return h
}

// Put queues an item for the next receiver that has room, and returns its number, from 0. It blocks while no
// receiver has room. It returns false if the handoff is closed. In that case, the caller still owns the item.
func (h *Handoff[T]) Put(item T) (receiver int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.closed {
		if receiver, ok = h.nextLocked(); ok {
			h.queues[receiver].Push(item)
			return receiver, true
		}
		h.freed.Wait()
	}
	return 0, false
}

// nextLocked chooses the receiver of the next item, if any has room.
func (h *Handoff[T]) nextLocked() (receiver int, ok bool) {
	for range h.queues {
		receiver = h.next
		h.next = (h.next + 1) % len(h.queues)
		if h.queues[receiver].Len() < h.room {
			return receiver, true
		}
	}
	return 0, false
}

// Take removes the receiver's oldest item and returns it. It returns false if there is none, as after Close. It does
// not block.
func (h *Handoff[T]) Take(receiver int) (item T, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.queues[receiver]
	if q.Len() == 0 {
		return item, false
	}
	h.freed.Signal()
	return q.Pop(), true
}

// Close ends every Put that blocks and returns the items that no receiver has taken.
func (h *Handoff[T]) Close() (items []T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.freed.Broadcast()
	for i := range h.queues {
		for q := &h.queues[i]; q.Len() > 0; {
			items = append(items, q.Pop())
		}
	}
	return items
}
