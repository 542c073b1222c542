package evnet

import (
	"sync"

	"evnet/internal/fifo"
	"evnet/internal/netpoll"
)

// The queue of what is written and not sent yet.

const (
	smallSegment = 2 << 10  // of an outbox, for a few messages
	largeSegment = 16 << 10 // what comes behind it is held in segments of this size
)

var (
	outboxes = sync.Pool{New: func() any { return &outbox{small: make([]byte, 0, smallSegment)} }}
	segments = sync.Pool{New: func() any { b := make([]byte, 0, largeSegment); return &b }}
)

// outbound is the sending half of a socket. The socket's mu guards it.
type outbound struct {
	*outbox // shared by those that have nothing to send: own comes before each change

	accepted int64 // bytes taken by Write
	sent     int64 // bytes handed to the conn
	queued   int   // bytes that wait, or are in the writer's hands
	deferAt  int64 // accepted when deferred became true: what is behind it waits, to leave together

	needDrain bool // a Write went over the high-water mark; Drain is owed
	tubed     bool // what is in the tube holds its source back
	deferred  bool // the loop flushes after the running task
	reserved  bool // deliverWrites is among the loop's ticks
	yielded   bool // their share of this turn is used: callbacks wait for an event
	dropped   bool // the socket is destroyed, and with it what was queued
	early     bool // ... before it was connected
	turning   bool // StartTLS was called: what is behind turnAt waits for TLS

	ending         bool // End was called
	endSent        bool // the end is on its way; Finish too
	finished       bool // Finish was emitted
	closeAfter     bool // Close was called: do not wait for the peer
	failed         bool // a goroutine has failed to write
	callbacksFirst bool // writing failed, and the callbacks hear of it before Error
}

// outbox is what a socket needs while something waits to be sent.
type outbox struct {
	queue fifo.Queue[*[]byte] // segments
	off   int                 // of the first one, sent already

	tube     *netpoll.SplicePipe // before the queue: what Pipe has passed on in the kernel
	tubeFrom *Loop               // whose it is

	direct []byte // behind the queue: what Write is sending without a copy, while it runs
	small  []byte // the first segment of a queue, if a small one will do

	budget   budget             // of the callbacks of writes
	counted  int                // in what the loop buffers
	turnAt   int64              // accepted when turning became true
	waiting  fifo.Queue[waiter] // for bytes to be handed to the conn, in order
	room     chan struct{}      // closed when a goroutine in ReadFrom is to look again; nil if there is none
	corks    int
	corkedAt int64 // accepted when the first cork came: what is behind it waits
}

var emptyOutbox outbox // never changed

// waiter is a WriteThen: its bytes end at offset end of all that was accepted.
type waiter struct {
	end  int64
	err  error // refused at once; told in its turn
	done func(error)
}

// own lets the outbox be changed.
func (o *outbound) own() {
	if o.outbox == &emptyOutbox {
		o.outbox = outboxes.Get().(*outbox)
	}
}

// owesDone reports whether a write that was sent is still to be told so.
func (o *outbound) owesDone() bool {
	return o.waiting.Len() > 0 && o.waiting.Front().err == nil && o.waiting.Front().end <= o.sent
}

// settle gives an outbox back that nobody needs any more. s.mu is held.
func (s *Socket) settle() {
	o := &s.out
	if b := o.outbox; b != &emptyOutbox && o.queued == 0 && b.waiting.Len() == 0 && b.corks == 0 && b.room == nil && !o.turning {
		s.countQueued()
		o.outbox = &emptyOutbox
		if !o.dropped { // else the writer may still hold its segment
			outboxes.Put(b)
		}
	}
}

// add copies p, which is counted already, to the end of the queue.
func (o *outbound) add(p []byte) {
	if o.queued == len(p) && 0 < len(p) && len(p) <= smallSegment { // nobody has the small segment
		o.small = append(o.small[:0], p...)
		o.queue.Push(&o.small)
		return
	}
	for len(p) > 0 {
		var last *[]byte
		if o.queue.Len() > 0 {
			last = *o.queue.Back()
		}
		if last == nil || len(*last) == cap(*last) {
			last = segments.Get().(*[]byte)
			o.queue.Push(last)
		}
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
}

// release gives a segment back that nobody looks at any more.
func release(b *[]byte) {
	if cap(*b) == largeSegment {
		*b = (*b)[:0]
		segments.Put(b)
	}
}

// piece is the i-th piece of memory that waits to be sent, nil behind the last.
func (o *outbound) piece(i int) []byte {
	switch n := o.queue.Len(); {
	case i == 0 && n > 0:
		return (**o.queue.Front())[o.off:]
	case i < n:
		return **o.queue.At(i)
	case i == n && len(o.direct) > 0:
		return o.direct
	}
	return nil
}

// advance takes away the first n bytes, which the conn has taken. s.mu is held.
func (o *outbound) advance(s *Socket, n int) {
	for n > 0 {
		p := o.piece(0)
		k := min(n, len(p))
		o.took(s, k)
		if n -= k; o.queue.Len() == 0 {
			o.direct = p[k:]
		} else if o.off += k; k == len(p) {
			o.off = 0
			release(o.queue.Pop())
		}
		if k == len(p) {
			o.completed(s)
		}
	}
}

// took counts n bytes that the conn has taken. s.mu is held.
func (o *outbound) took(s *Socket, n int) {
	o.sent += int64(n)
	if !o.dropped {
		o.queued -= n
	}
	if o.counted > 0 {
		s.countQueued()
	}
	if n > 0 && (s.tr == nil || s.tr.mayWrite()) {
		s.touch() // what the writer gets away bit by bit is seen when the time is up
	}
}

// completed notes that a queued write is done, which is activity. s.mu is held.
func (o *outbound) completed(s *Socket) {
	s.noteSent()
	s.touch()
}

// take gives the writer about limit bytes to write without the lock, and the segments to release
// then.
func (o *outbound) take(limit int) (batch [][]byte, used []*[]byte) {
	for limit = min(limit, o.sendable()); limit > 0; {
		p := o.piece(0)
		if len(p) > limit {
			p = p[:limit]
			o.off += limit
		} else {
			if b := o.queue.Pop(); b != &o.small {
				used = append(used, b)
			}
			o.off = 0
		}
		batch = append(batch, p)
		limit -= len(p)
	}
	return batch, used
}

// sendable is how many bytes may leave: all that are queued, but for those behind a cork, those of the
// running callback and those that TLS is to encrypt.
func (o *outbound) sendable() int {
	switch {
	case o.turning:
		return min(int(o.turnAt-o.sent), o.queued)
	case o.corks > 0:
		return min(int(o.corkedAt-o.sent), o.queued)
	case o.deferred:
		return min(int(o.deferAt-o.sent), o.queued)
	}
	return o.queued
}

// drop empties the queue of a socket that is destroyed. s.mu is held.
func (o *outbound) drop() {
	o.dropped, o.queued, o.needDrain = true, 0, false
	if o.outbox != &emptyOutbox {
		// Its segments are not released: the writer may still hold a part of one.
		o.queue, o.off, o.direct, o.corks = fifo.Queue[*[]byte]{}, 0, nil, 0
		if o.tube != nil {
			o.tubeFrom.host().pipes.discard(o.tube)
			o.tube, o.tubeFrom = nil, nil
		}
	}
}
