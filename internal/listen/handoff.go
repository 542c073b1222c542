package listen

import (
	"sync"

	"evnet/internal/fifo"
)

// Handoff is a set of bounded queues, one for each receiver, that fill in turn. It passes accepted connections to
// the loops of a server. NewHandoff makes one.
//
// Any goroutine may call the methods. The handoff calls nobody: the caller of Put notifies the receiver, which
// then calls Take once. Whoever gets an item, from Take or from Close, owns it. The lock of a handoff is the
// innermost: its methods take no other.
type Handoff[T any] struct {
	mu     sync.Mutex // guards everything below
	queues []fifo.Queue[T]
	room   int // of each queue
	next   int // the receiver whose turn it is
	closed bool
	freed  *sync.Cond // signalled when an item is taken, and on Close
}

// NewHandoff returns a handoff to so many receivers, with room for so many items for each.
func NewHandoff[T any](receivers, room int) *Handoff[T] {
	h := &Handoff[T]{queues: make([]fifo.Queue[T], receivers), room: room}
	h.freed = sync.NewCond(&h.mu)
	return h
}

// Put queues an item for the next receiver that has room, and returns its number, from 0. It blocks while no
// receiver has room. It reports false if the handoff is closed: the item is still the caller's.
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

// Take removes the receiver's oldest item and returns it. It reports false if there is none, which is so after
// Close. It does not block.
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
