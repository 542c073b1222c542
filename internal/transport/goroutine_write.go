package transport

import (
	"net"
	"slices"
	"time"

	"evnet/internal/netpoll"
)

// The writing half of the goroutine driver.

func (t *goroutine) mayWrite() bool { return !t.writing && t.failure == nil }

func (t *goroutine) tryWrite() (Flags, error) {
	if t.raw == nil {
		return 0, nil
	}
	return t.writeTo(t.raw.tryWrite)
}

// writeTo passes the queue to a function that does not block.
func (t *goroutine) writeTo(write func([]byte) (int, error)) (flags Flags, err error) {
	q := &t.s.queue
	for left := q.sendable(); left > 0; left = q.sendable() {
		p := q.piece(0)
		p = p[:min(len(p), left)]
		n, err := write(p)
		if n > 0 {
			flags |= Moved
			if q.advance(n) {
				flags |= Completed
			}
		}
		if err != nil || n < len(p) {
			return flags, err
		}
	}
	return flags, nil
}

func (t *goroutine) awaitWritable() {
	if t.writing || t.retired {
		return
	}
	t.writing = true
	if t.raw != nil {
		t.loop.Go(t.writeWhenReady)
	} else {
		t.loop.Go(func() { contain(t.owner, t.writeBlocking, t.writerReturned) })
	}
}

// writeWhenReady is the writer for a kernel socket. Whenever the socket is writable, it writes as much as the kernel accepts.
func (t *goroutine) writeWhenReady() {
	for {
		var failed error
		err := t.raw.whenWritable(func(write func([]byte) (int, error)) bool {
			t.owner.Mutex().Lock()
			defer t.owner.Mutex().Unlock()
			if t.retired {
				return true
			}
			flags, err := t.writeTo(write)
			failed = err
			t.writeFailed = err != nil // set before the reader can report the end that may follow
			done := err != nil || t.s.queue.sendable() == 0
			if flags&Moved != 0 {
				t.moved = true
				t.owner.Progressed(flags&Completed != 0)
				if !done { // otherwise nextStep notifies
					t.loop.Notify(t.owner, netpoll.Writable)
				}
			}
			return done
		})
		if failed == nil {
			failed = err
		}
		if !t.keepWriting(failed) {
			return
		}
	}
}

// writerReturned handles a panic or runtime.Goexit of a method of the conn. err is nil if the writer has returned.
func (t *goroutine) writerReturned(err error, _ bool) {
	if err == nil {
		return
	}
	t.owner.Mutex().Lock()
	t.writing = false
	t.endPassed()
	t.fail(err)
	t.owner.Mutex().Unlock()
	if t.writesLast() {
		t.closeLast()
	}
	t.owner.Failed()
}

// writeBlocking is the writer for any other conn.
func (t *goroutine) writeBlocking() error {
	t.lookBelow()
	for {
		batch, used := t.takeBatch()
		var failed error
		for _, p := range batch {
			if failed = t.writePiece(p); failed != nil {
				break
			}
		}
		if failed == nil {
			for _, b := range used {
				freeSegment(b)
			}
		}
		if !t.keepWriting(failed) {
			return nil
		}
	}
}

func (t *goroutine) takeBatch() (batch [][]byte, used []*[]byte) {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	switch {
	case t.last.active:
		return t.takeLast(), nil
	case t.retired: // the queue may belong to another connection
		return nil, nil
	}
	return t.s.queue.take(maxBatch)
}

// writePiece writes p in chunks, so that progress is visible.
func (t *goroutine) writePiece(p []byte) error {
	for chunk := range slices.Chunk(p, maxChunk) {
		n, err := writeAll(t.conn, chunk, t.isRetired)
		t.owner.Mutex().Lock()
		p = p[n:]
		switch {
		case t.last.active && !t.last.closed: // the queue may belong to another connection
		case t.retired:
			err = net.ErrClosed
		default:
			whole := err == nil && len(p) == 0
			t.s.queue.ack(n, whole)
			t.moved = true
			t.owner.Progressed(whole)
		}
		t.owner.Mutex().Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *goroutine) isRetired() bool {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	return t.retired && (!t.last.active || t.last.closed)
}

// keepWriting reports whether the writer has more to write. When everything is written, it sends the end if that was
// requested.
func (t *goroutine) keepWriting(failed error) bool {
	again, sendsEnd := t.nextStep(failed)
	switch {
	case again:
		return true
	case sendsEnd:
		t.endSentBy(sendEnd(t.conn))
	case t.writesLast():
		t.closeLast()
	}
	if t.hasFailed() {
		t.owner.Failed()
	}
	return false
}

// nextStep decides what follows a batch: another batch, this side's end, which may block, or nothing.
func (t *goroutine) nextStep(failed error) (again, sendsEnd bool) {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	s := t.s
	if t.moved && !t.retired && failed == nil {
		t.loop.Notify(t.owner, netpoll.Writable)
	}
	switch {
	case t.last.active:
		return failed == nil && t.last.rest != nil, false
	case t.retired:
	case failed != nil:
		t.writing, t.writeFailed = false, true
		t.fail(failed)
	case s.queue.sendable() > 0:
		return true, false
	case s.endDue() && t.raw == nil:
		s.queue.settle()
		s.endSent, t.closed = true, !halfCloses(t.conn)
		t.ending = make(chan struct{})
		return false, true
	default:
		t.writing = false
		s.queue.settle()
		if err := s.sendEndIfDue(); err != nil {
			t.fail(err)
		}
		if !t.moved { // otherwise an event is already pending
			t.loop.Notify(t.owner, netpoll.Writable)
		}
	}
	return false, false
}

// endSentBy handles the result of sending the end.
func (t *goroutine) endSentBy(err error) {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	defer t.endPassed()
	if t.retired {
		return
	}
	t.writing = false
	if err != nil && !(t.s.peerEnded && isDisconnect(err)) { // a peer that ended and disconnected needs no end
		t.fail(err)
		return
	}
	t.loop.PostReady(t.owner, Ended)
}

// endPassed records that the writer is no longer sending the end.
func (t *goroutine) endPassed() {
	if t.ending != nil {
		close(t.ending)
		t.ending = nil
	}
}

// endPrecedence limits how long the reader waits for the writer's report, for example because the peer does not read.
const endPrecedence = 10 * time.Millisecond

// awaitEnd waits a short time for the writer if it is sending the end, so that its report precedes the peer's answer. The reader
// calls it before it passes on what it has read.
func (t *goroutine) awaitEnd() {
	t.owner.Mutex().Lock()
	ending := t.ending
	if ending == nil || t.awaited || t.retired {
		ending = nil
	}
	t.awaited = t.awaited || ending != nil
	t.owner.Mutex().Unlock()
	if ending == nil {
		return
	}
	limit := time.NewTimer(endPrecedence)
	defer limit.Stop()
	select {
	case <-ending:
	case <-limit.C:
	}
}

func (t *goroutine) endBlocks() bool { return t.raw == nil }
