package transport

import (
	"math"
	"sync"

	"evnet/internal/fifo"
	"evnet/internal/netpoll"
)

const (
	smallSegment = 2 << 10  // the first segment of a body, for a few messages
	largeSegment = 16 << 10 // further bytes are kept in segments of this size
)

var (
	bodies   = sync.Pool{New: func() any { return &body{small: make([]byte, 0, smallSegment)} }}
	segments = sync.Pool{New: func() any { b := make([]byte, 0, largeSegment); return &b }}
)

// queue has the accepted bytes of one connection that are not sent yet. It does not know the connection. The zero value
// is empty. The owner's lock guards it.
type queue struct {
	*body       // nil while nothing is queued, &discarded after drop
	added int64 // bytes that were queued so far
	acked int64 // bytes that the conn has accepted
}

// body is the state of a queue that is not empty.
type body struct {
	segments fifo.Queue[*[]byte]
	offset   int // sent bytes of the first segment

	pipe  *netpoll.SplicePipe // precedes the segments: bytes that Pipe has moved within the kernel
	pipes *SplicePipes        // the owner of the pipe

	direct    []byte // follows the segments: bytes that a running Send sends without a copy
	small     []byte // the first segment of a queue, if a small one is enough
	barrier   int64  // bytes after this offset are held back
	completed int64  // the value of acked when the last segment was sent completely
}

var discarded body // never changed

// isActive reports whether the queue has a body in use.
func (q *queue) isActive() bool { return q.body != nil && q.body != &discarded }

// activate gives the queue a body.
func (q *queue) activate() {
	if q.body == nil {
		q.body = bodies.Get().(*body)
		q.barrier, q.completed = math.MaxInt64, q.acked
	}
}

// settle returns the body to the pool if nothing is queued or held back.
func (q *queue) settle() {
	if q.isActive() && q.length() == 0 && q.barrier == math.MaxInt64 {
		bodies.Put(q.body)
		q.body = nil
	}
}

func (q *queue) length() int {
	if q.body == &discarded {
		return 0
	}
	return int(q.added - q.acked)
}

// sendable returns the number of bytes that may be sent.
func (q *queue) sendable() int {
	if !q.isActive() {
		return 0
	}
	return max(int(min(q.barrier, q.added)-q.acked), 0)
}

// hold holds back all bytes after the offset.
func (q *queue) hold(offset int64) {
	if q.activate(); q.isActive() {
		q.barrier = offset
	}
}

// raise allows all bytes that are queued now to be sent. A hold remains for later bytes.
func (q *queue) raise() {
	if q.isActive() && q.barrier != math.MaxInt64 {
		q.barrier = q.added
	}
}

// release undoes hold.
func (q *queue) release() {
	if q.isActive() {
		q.barrier = math.MaxInt64
	}
}

// append copies p to the end of the queue.
func (q *queue) append(p []byte) {
	empty := q.length() == 0
	q.added += int64(len(p))
	q.store(p, empty)
}

// borrow queues p without a copy. keepDirect follows.
func (q *queue) borrow(p []byte) {
	q.added += int64(len(p))
	q.activate()
	q.direct = p
}

// keepDirect copies the borrowed bytes that were not sent.
func (q *queue) keepDirect() {
	rest := q.direct
	q.direct = nil
	q.store(rest, q.length() == len(rest))
}

// store copies p, which is counted already. empty reports whether the queue was empty before p.
func (q *queue) store(p []byte, empty bool) {
	if q.activate(); len(p) == 0 || !q.isActive() {
		return
	}
	if empty && len(p) <= smallSegment { // no writer uses the small segment
		q.small = append(q.small[:0], p...)
		q.segments.Push(&q.small)
		return
	}
	for len(p) > 0 {
		var last *[]byte
		if q.segments.Len() > 0 {
			last = *q.segments.Back()
		}
		if last == nil || len(*last) == cap(*last) {
			last = segments.Get().(*[]byte)
			q.segments.Push(last)
		}
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
}

// freeSegment returns an unused segment to the pool.
func freeSegment(b *[]byte) {
	if cap(*b) == largeSegment {
		*b = (*b)[:0]
		segments.Put(b)
	}
}

// piece returns the i-th piece of queued memory, nil after the last one.
func (q *queue) piece(i int) []byte {
	switch n := q.segments.Len(); {
	case i == 0 && n > 0:
		return (**q.segments.Front())[q.offset:]
	case i < n:
		return **q.segments.At(i)
	case i == n && len(q.direct) > 0:
		return q.direct
	}
	return nil
}

// advance removes the first n bytes, which the conn has accepted, and reports whether a segment was sent completely.
func (q *queue) advance(n int) (completed bool) {
	for n > 0 {
		p := q.piece(0)
		k := min(n, len(p))
		q.acked += int64(k)
		if n -= k; q.segments.Len() == 0 {
			q.direct = p[k:]
		} else if q.offset += k; k == len(p) {
			q.offset = 0
			freeSegment(q.segments.Pop())
		}
		if k == len(p) {
			completed = true
			q.completed = q.acked
		}
	}
	return completed
}

// take returns about limit bytes that a writer writes without the lock, and the segments to free afterwards. The bytes
// stay queued until ack.
func (q *queue) take(limit int) (batch [][]byte, used []*[]byte) {
	for limit = min(limit, q.sendable()); limit > 0; {
		p := q.piece(0)
		if len(p) > limit {
			p = p[:limit]
			q.offset += limit
		} else {
			if b := q.segments.Pop(); b != &q.small {
				used = append(used, b)
			}
			q.offset = 0
		}
		batch = append(batch, p)
		limit -= len(p)
	}
	return batch, used
}

// takeRest returns the sendable bytes that take has not returned.
func (q *queue) takeRest() [][]byte {
	if !q.isActive() {
		return nil
	}
	stored := 0
	for i := range q.segments.Len() {
		stored += len(q.piece(i))
	}
	rest, _ := q.take(q.sendable() - (q.length() - stored))
	return rest
}

// ack counts n bytes that take returned and that are sent now. whole reports that they complete one of the pieces.
func (q *queue) ack(n int, whole bool) {
	q.acked += int64(n)
	if whole && q.isActive() {
		q.completed = q.acked
	}
}

// pour moves the bytes of the splice pipe to the front of the queue, and returns the pipe to its loop.
func (q *queue) pour() {
	if !q.isActive() || q.pipe == nil {
		return
	}
	p := q.pipe.ReadAll()
	q.returnPipe()
	rest := q.segments
	q.segments = fifo.Queue[*[]byte]{}
	q.segments.Push(&p)
	for rest.Len() > 0 {
		q.segments.Push(rest.Pop())
	}
}

// returnPipe returns the empty splice pipe to its loop.
func (q *queue) returnPipe() {
	q.pipes.keep(q.pipe)
	q.pipe, q.pipes = nil, nil
}

// drop empties the queue permanently. It does not free the segments, because a writer may still use one.
func (q *queue) drop() {
	if q.isActive() && q.pipe != nil {
		q.pipes.Discard(q.pipe)
	}
	q.body = &discarded
}
