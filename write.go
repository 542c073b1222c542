package evnet

import (
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// What waits to be sent is held in segments of two sizes: a small one for a few messages, large ones
// behind it.
const (
	smallSegment = 2 << 10
	largeSegment = 16 << 10
)

var (
	smallSegments = sync.Pool{New: func() any { return newSegment(smallSegment) }}
	largeSegments = sync.Pool{New: func() any { return newSegment(largeSegment) }}
)

func newSegment(size int) *[]byte {
	b := make([]byte, 0, size)
	return &b
}

// outbound is the sending half of a socket. The socket's mu guards it.
type outbound struct {
	queue    fifo[*[]byte] // the bytes that wait, in segments
	off      int           // of the first segment, sent already
	direct   []byte        // behind the queue: what Write is sending without a copy, while it runs
	queued   int           // bytes in queue and direct, and in the writer's hands
	accepted int64         // bytes taken by Write
	sent     int64         // bytes handed to the conn

	waiting fifo[waiter]  // for bytes to be handed to the conn, in order
	room    chan struct{} // closed when a goroutine in ReadFrom is to look again; nil if there is none
	dropErr error         // why the rest of queue was dropped, once it was

	corks     int
	corkedAt  int64 // accepted when the first cork came: what is behind it waits
	needDrain bool  // a Write went over the high-water mark; Drain is owed
	deferred  bool  // the loop flushes after the running task
	deferAt   int64 // accepted when that was decided: what is behind it waits, to leave together
	reserved  bool  // deliverWrites is among the loop's ticks

	ending     bool // End was called
	endSent    bool // the end is on its way; Finish too
	finished   bool // Finish was emitted
	closeAfter bool // Close was called: do not wait for the peer
	failed     bool // writing failed
	failedHere bool // ... in a method that wrote: the callbacks hear of it before Error
}

// waiter is a WriteThen: its bytes end at offset end of all that was accepted.
type waiter struct {
	end  int64
	err  error // refused at once; told in its turn
	done func(error)
}

// Write sends p, or what the system takes of it, queues the rest and never blocks. What waits is
// copied, so the caller may reuse p at once. Writes made in one callback leave together after it, in
// one system call; one of 16 KiB and more leaves at once, with those before it, and so does one made
// on another goroutine.
//
// It returns len(p), or 0 and an error, and then nothing is queued: ErrWriteAfterEnd,
// ErrSocketClosed before Connect, ErrDestroyed, or ErrWriteBufferFull. A failure of the conn is
// told by Error and Close. When NeedDrain reports true afterwards, wait for Drain. It implements
// io.Writer. Node: socket.write.
func (s *Socket) Write(p []byte) (n int, err error) { return s.write(p, nil) }

// WriteString is Write for a string. It implements io.StringWriter. Node: socket.write.
func (s *Socket) WriteString(p string) (n int, err error) {
	return s.write(unsafe.Slice(unsafe.StringData(p), len(p)), nil) // which only reads it
}

// WriteThen is Write with a callback: done runs on the loop once p is handed to the system, with
// nil, or with the error of Write or the cause that p was dropped. The callbacks of a socket run
// exactly once each, in the order of the writes, before Close. That p was handed over does not mean
// that the peer has it. A nil done is allowed. Node: socket.write with a callback.
func (s *Socket) WriteThen(p []byte, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	_, _ = s.write(p, done)
}

func (s *Socket) write(p []byte, done func(error)) (int, error) {
	s.mu.Lock()
	o := &s.out
	if o.deferred && s.full() {
		if err := s.flushLocked(); err != nil { // only what the system does not take counts
			s.leave(err)
			s.mu.Lock()
		}
	}
	if err := s.writeError(len(p)); err != nil {
		if done != nil {
			o.waiting.push(waiter{end: o.accepted, err: err, done: done})
			s.reserveDelivery()
		}
		s.mu.Unlock()
		return 0, err
	}
	if o.queued == 0 {
		s.noteSent()
	}
	o.accepted += int64(len(p))
	o.queued += len(p)
	if done != nil {
		o.waiting.push(waiter{end: o.accepted, done: done})
	}
	err := s.send(p)
	if o.deferred && done != nil || len(p) == 0 && o.queued == 0 {
		s.reserveDelivery() // before what this callback posts next, as in Node
	}
	if err == nil && o.queued > 0 && o.queued >= s.set.HighWaterMark {
		if o.deferred {
			err = s.flushLocked() // the mark is judged by what the system does not take
		}
		if o.queued > 0 && o.queued >= s.set.HighWaterMark {
			o.needDrain = true
		}
	}
	s.leave(err)
	return len(p), nil
}

// send takes p, counted already: a small one written on the loop waits for the end of the running
// callback, any other is offered to the conn, and the rest of it waits. s.mu is held.
func (s *Socket) send(p []byte) error {
	o := &s.out
	if !s.open() {
		o.add(p)
		return nil
	}
	if len(p) < largeSegment && s.postpone(len(p)) {
		o.add(p)
		return nil
	}
	if !s.tr.mayWrite() {
		o.add(p)
		return nil
	}
	o.direct = p
	err := s.flushLocked()
	rest := o.direct
	o.direct = nil
	if err == nil {
		o.add(rest)
	}
	return err
}

// writeError is why n bytes cannot be taken, or nil. s.mu is held.
func (s *Socket) writeError(n int) error {
	switch {
	case s.destroyed:
		return ErrDestroyed
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.tr == nil && s.dial == nil:
		return ErrSocketClosed
	case n > 0 && s.full():
		return ErrWriteBufferFull
	}
	return nil
}

// full reports whether the queue has reached its limit. s.mu is held.
func (s *Socket) full() bool {
	return s.set.MaxWriteBuffer >= 0 && s.out.queued >= s.set.MaxWriteBuffer
}

// add copies p to the end of the queue.
func (o *outbound) add(p []byte) {
	for len(p) > 0 {
		var last *[]byte
		if n := o.queue.len(); n > 0 {
			last = o.queue.items[len(o.queue.items)-1]
		}
		if last == nil || len(*last) == cap(*last) {
			pool := &largeSegments
			if last == nil && len(p) <= smallSegment {
				pool = &smallSegments
			}
			last = pool.Get().(*[]byte)
			o.queue.push(last)
		}
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
}

// release gives a segment back that nobody looks at any more.
func release(b *[]byte) {
	*b = (*b)[:0]
	if cap(*b) == smallSegment {
		smallSegments.Put(b)
	} else {
		largeSegments.Put(b)
	}
}

// open reports whether anything may be sent. s.mu is held.
func (s *Socket) open() bool {
	return s.tr != nil && !s.handshake && s.out.corks == 0
}

// postpone lets the last n bytes wait for the end of the running callback, and reports false when it
// is not in one: then nothing waits. s.mu is held.
func (s *Socket) postpone(n int) bool {
	if !s.loop.inCallback() {
		return false
	}
	if !s.out.deferred {
		s.out.deferred, s.out.deferAt = true, s.out.accepted-int64(n)
		s.loop.flushLater(s)
	}
	return true
}

// maySend reports whether the queue may move on this goroutine. s.mu is held.
func (s *Socket) maySend() bool {
	return s.tr != nil && !s.handshake && s.tr.mayWrite()
}

// flush sends what is queued, now.
func (s *Socket) flush() {
	s.mu.Lock()
	s.out.deferred = false
	s.leave(s.flushLocked())
}

// leave releases s.mu, and ends the socket if writing has failed.
func (s *Socket) leave(err error) {
	if err != nil {
		s.out.failedHere = true
		s.writeFailed(err)
		return
	}
	s.mu.Unlock()
}

// flushLocked hands the conn what it takes and leaves the rest to the writer. s.mu is held.
func (s *Socket) flushLocked() error {
	s.out.deferAt = s.out.accepted
	if !s.maySend() {
		return nil
	}
	if s.out.sendable() > 0 {
		moved, err := s.tr.tryWrite()
		if err != nil {
			return err
		}
		if moved {
			s.reserveDelivery()
		}
		if s.out.sendable() > 0 {
			s.tr.startWriting()
		}
	}
	return s.flushEnd()
}

// reserveDelivery makes the loop run deliverWrites soon, if there is anything to tell. s.mu is held.
func (s *Socket) reserveDelivery() {
	if !s.out.reserved && (s.out.waiting.len() > 0 || s.out.needDrain) {
		s.out.reserved = true
		s.loop.tick(func() { s.deliverWrites(-1) })
	}
}

// progressed runs on the loop when the writer has moved the queue.
func (s *Socket) progressed() { s.deliverWrites(-1) }

// deliverWrites tells that writes are done: Drain first, then at most limit callbacks.
func (s *Socket) deliverWrites(limit int) {
	s.mu.Lock()
	o := &s.out
	o.reserved = false
	drained := o.needDrain && o.queued == 0 && !s.destroyed
	if drained {
		o.needDrain = false
	}
	tell := drained && !o.ending
	s.mu.Unlock()
	if drained {
		s.drainPipes()
		s.wakeReadFrom()
	}
	if tell {
		s.emitDrain()
	}
	s.loop.current = s
	for ; limit != 0; limit-- {
		s.mu.Lock()
		if o.waiting.len() == 0 || o.waiting.front().end > o.sent && o.dropErr == nil {
			s.mu.Unlock()
			return
		}
		w := o.waiting.pop()
		err := w.err
		if err == nil && w.end > o.sent {
			err = o.dropErr
		}
		s.mu.Unlock()
		w.done(err)
	}
}

// piece is the i-th piece of memory that waits to be sent, nil behind the last.
func (o *outbound) piece(i int) []byte {
	switch n := o.queue.len(); {
	case i == 0 && n > 0:
		return (**o.queue.front())[o.off:]
	case i < n:
		return *o.queue.items[o.queue.head+i]
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
		if n -= k; o.queue.len() == 0 {
			o.direct = p[k:]
		} else if o.off += k; k == len(p) {
			o.off = 0
			release(o.queue.pop())
		}
		if k == len(p) {
			o.completed(s)
		}
	}
}

// took counts n bytes that the conn has taken. s.mu is held.
func (o *outbound) took(s *Socket, n int) {
	o.sent += int64(n)
	if o.dropErr == nil {
		o.queued -= n
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
			used = append(used, o.queue.pop())
			o.off = 0
		}
		batch = append(batch, p)
		limit -= len(p)
	}
	return batch, used
}

// sendable is how many bytes may leave: all that are queued, but for those behind a cork and those
// of the running callback.
func (o *outbound) sendable() int {
	switch {
	case o.corks > 0:
		return min(int(o.corkedAt-o.sent), o.queued)
	case o.deferred:
		return min(int(o.deferAt-o.sent), o.queued)
	}
	return o.queued
}

// drop empties the queue because of err. s.mu is held.
func (o *outbound) drop(err error) {
	o.dropErr = err
	o.queue = fifo[*[]byte]{} // not released: the writer may still hold a part of a segment
	o.queued, o.off, o.direct, o.needDrain, o.corks = 0, 0, nil, false, 0
}

// writeFailed ends the socket after a failed write. s.mu is held, and released.
func (s *Socket) writeFailed(err error) {
	if _, ok := err.(*net.OpError); !ok {
		if errno, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("write", errno)
		}
		err = &net.OpError{Op: "write", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
	}
	if s.tr != nil && s.tr.blame(err) {
		s.mu.Unlock()
		return
	}
	s.out.failed = true
	s.destroyLocked(err, false)
}

// NeedDrain reports whether a Write left at least SocketOptions.HighWaterMark bytes queued and
// Drain has not been emitted since. Writing on is allowed, up to MaxWriteBuffer. After End or
// Destroy it is false. Any goroutine may call it. Node: socket.writableNeedDrain.
func (s *Socket) NeedDrain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.needDrain && !s.out.ending && !s.destroyed
}

// Cork holds further writes back until Uncork was called as often, or End. Node: socket.cork.
func (s *Socket) Cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.ending {
		return
	}
	if s.out.corks++; s.out.corks == 1 {
		s.out.corkedAt = s.out.accepted
	}
}

// Uncork takes back one Cork; with the last one everything held leaves at once, together. Further
// calls do nothing. Node: socket.uncork.
func (s *Socket) Uncork() {
	s.mu.Lock()
	if s.out.corks == 0 {
		s.mu.Unlock()
		return
	}
	s.out.corks--
	var err error
	if s.out.corks == 0 {
		err = s.flushLocked()
	}
	s.leave(err)
}
