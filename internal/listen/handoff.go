package listen

import (
	"sync"

	"evnet/internal/fifo"
)

// NoReceiver is the receiver of an item that waits until a receiver opens.
const NoReceiver = -1

// Handoff is a set of bounded queues, one for each receiver, that fill in rotation. It passes accepted connections to
// the loops of a server. NewHandoff makes one. Only open receivers get items. While none is open, items wait.
//
// Any goroutine may call the methods. The handoff makes no calls: the caller of Put and SetOpen notifies the receiver,
// which then calls Take once. The caller of Take or Close owns the items that it returns. The lock of a handoff is the
// innermost, because its methods take no other.
type Handoff[T any] struct {
	mu      sync.Mutex // guards everything below
	queues  []fifo.Queue[T]
	open    []bool        // for each receiver
	waiting fifo.Queue[T] // for any receiver
	room    int           // of each queue
	next    int           // the next receiver
	closed  bool
	freed   *sync.Cond // signalled when an item is taken, when a receiver opens, and on Close
}

// NewHandoff returns a handoff for the given number of receivers, with room for the given number of items per receiver.
// No receiver is open.
func NewHandoff[T any](receivers, room int) *Handoff[T] {
	h := &Handoff[T]{queues: make([]fifo.Queue[T], receivers), open: make([]bool, receivers), room: room}
	h.freed = sync.NewCond(&h.mu)
	return h
}

// SetOpen opens or closes a receiver, as isOpen reports under the lock of the handoff. So the last of several concurrent
// calls has the current state. The caller notifies each of the returned receivers: they have items to take.
func (h *Handoff[T]) SetOpen(receiver int, isOpen func() bool) (notify []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	open := isOpen()
	if open == h.open[receiver] {
		return nil
	}
	h.open[receiver] = open
	h.freed.Broadcast()
	if !open {
		for q := &h.queues[receiver]; q.Len() > 0; {
			h.waiting.Push(q.Pop())
		}
	}
	if h.waiting.Len() == 0 {
		return nil
	}
	for i, open := range h.open {
		if open {
			notify = append(notify, i)
		}
	}
	return notify
}

// AllOpen reports whether every receiver is open.
func (h *Handoff[T]) AllOpen() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, open := range h.open {
		if !open {
			return false
		}
	}
	return true
}

// Put queues an item for the next open receiver that has room, and returns its number, from 0. It blocks while no open
// receiver has room. While none is open, the item waits, and the result is NoReceiver. Put returns false if the handoff
// is closed. In that case, the caller still owns the item.
func (h *Handoff[T]) Put(item T) (receiver int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.closed {
		if receiver, ok = h.nextLocked(); ok {
			q := &h.waiting
			if receiver != NoReceiver {
				q = &h.queues[receiver]
			}
			q.Push(item)
			return receiver, true
		}
		h.freed.Wait()
	}
	return 0, false
}

// nextLocked chooses the receiver of the next item, if any has room.
func (h *Handoff[T]) nextLocked() (receiver int, ok bool) {
	anyOpen := false
	for range h.queues {
		receiver = h.next
		h.next = (h.next + 1) % len(h.queues)
		if h.open[receiver] {
			anyOpen = true
			if h.queues[receiver].Len() < h.room {
				return receiver, true
			}
		}
	}
	return NoReceiver, !anyOpen && h.waiting.Len() < h.room
}

// Take removes the oldest item and returns it: one that waits for any receiver, otherwise one of the receiver's. It does
// not block. It returns false if there is none, as after Close. more reports whether items still wait for any receiver:
// the caller calls Take once more later, so that the receivers share these items.
func (h *Handoff[T]) Take(receiver int) (item T, more, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := &h.queues[receiver]
	if h.waiting.Len() > 0 && h.open[receiver] {
		q = &h.waiting
	}
	if q.Len() == 0 {
		return item, false, false
	}
	item = q.Pop()
	h.freed.Signal()
	return item, q == &h.waiting && q.Len() > 0, true
}

// Close ends every Put that blocks and returns the items that no receiver has taken.
func (h *Handoff[T]) Close() (items []T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.freed.Broadcast()
	for i := range h.queues {
		items = appendAll(items, &h.queues[i])
	}
	return appendAll(items, &h.waiting)
}

// appendAll moves the items of q to items.
func appendAll[T any](items []T, q *fifo.Queue[T]) []T {
	for q.Len() > 0 {
		items = append(items, q.Pop())
	}
	return items
}
