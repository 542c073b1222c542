package evnet

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
)

// The writing half of a transport.

func (t *goTransport) mayWrite() bool { return !t.writing }

func (t *goTransport) tryWrite() (moved bool, err error) {
	if t.raw == nil {
		return false, nil
	}
	return t.writeTo(t.raw.tryWrite)
}

// writeTo hands the queue to a function that does not block. s.mu is held.
func (t *goTransport) writeTo(write func([]byte) (int, error)) (moved bool, err error) {
	o := &t.s.out
	for left := o.sendable(); left > 0; left = o.sendable() {
		p := o.piece(0)
		p = p[:min(len(p), left)]
		n, err := write(p)
		if n > 0 {
			moved = true
			o.advance(t.s, n)
		}
		if err != nil || n < len(p) {
			return moved, err
		}
	}
	return moved, nil
}

func (t *goTransport) startWriting() {
	if t.writing || t.gone {
		return
	}
	t.writing = true
	if t.raw != nil {
		t.s.set.Loop.spawn(t.writeWhenReady)
	} else {
		t.s.set.Loop.spawn(func() { contain(t.s, t.writeBlocking, t.writerGone) })
	}
}

// writeWhenReady is the writer of a kernel socket: each time there is room it writes what fits.
func (t *goTransport) writeWhenReady() {
	s := t.s
	for {
		var failed error
		err := t.raw.whenWritable(func(write func([]byte) (int, error)) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if t.gone {
				return true
			}
			moved, err := t.writeTo(write)
			failed = err
			s.out.failed = err != nil // before the end that the reader may see then is believed
			if moved && err == nil {
				s.set.Loop.event(s.progressed)
			}
			return err != nil || s.out.sendable() == 0
		})
		if failed == nil {
			failed = err
		}
		if !t.goOn(failed) {
			return
		}
	}
}

// writerGone is told that writeBlocking has ended: err is not nil if a method of the conn has not
// returned.
func (t *goTransport) writerGone(err error) {
	if err == nil {
		return
	}
	t.s.mu.Lock()
	var e *ending
	if !t.gone {
		t.writing, t.ending = false, false
		e = t.s.writeFailedLocked(err)
	}
	t.s.mu.Unlock()
	e.run()
}

// writeBlocking is the writer of any other conn.
func (t *goTransport) writeBlocking() error {
	s := t.s
	t.findBelow()
	for {
		s.mu.Lock()
		var batch [][]byte
		var used []*[]byte
		if !t.gone { // else the queue is that of another connection by now
			batch, used = s.out.take(maxBatch)
		}
		s.mu.Unlock()
		var failed error
		for _, p := range batch {
			for piece := range slices.Chunk(p, maxChunk) { // so that progress shows
				n, err := writeAll(t.conn, piece, t.isGone)
				s.mu.Lock()
				if t.gone {
					s.mu.Unlock()
					return nil
				}
				s.out.took(s, n)
				s.mu.Unlock()
				if failed = err; err != nil {
					break
				}
			}
			if failed != nil {
				break
			}
			s.mu.Lock()
			if !t.gone {
				s.out.completed(s)
			}
			s.mu.Unlock()
		}
		if len(batch) > 0 && failed == nil {
			for _, b := range used {
				release(b)
			}
			s.set.Loop.event(s.progressed)
		}
		if !t.goOn(failed) {
			return nil
		}
	}
}

func (t *goTransport) isGone() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.gone
}

// goOn reports whether the writer has more to do. When all is written it sends the end, if asked.
func (t *goTransport) goOn(failed error) bool {
	s := t.s
	s.mu.Lock()
	if t.gone {
		s.mu.Unlock()
		return false
	}
	if failed != nil {
		t.writing, s.out.failed = false, true
		e := s.writeFailedLocked(failed)
		s.mu.Unlock()
		e.run()
		return false
	}
	if s.out.sendable() > 0 {
		s.mu.Unlock()
		return true
	}
	if s.out.wantsEnd() && t.raw == nil {
		s.out.endSent, t.ending, t.closed = true, true, !halfCloses(t.conn)
		s.reserveDelivery() // progressed is an event, and comes after that:
		s.set.Loop.tick(s.finished)
		s.mu.Unlock()
		err := sendEnd(t.conn)
		s.mu.Lock()
		t.ending = false
		s.set.Loop.tick(s.bothEnded)
		if s.in.ended && hasLeft(err) {
			err = nil // the peer has left after its own end, and needs none
		}
		if err != nil && !t.gone {
			t.writing = false
			e := s.writeFailedLocked(err)
			s.mu.Unlock()
			e.run()
			return false
		}
	}
	t.writing = false
	e := s.writeFailedLocked(s.flushEnd())
	s.mu.Unlock()
	e.run()
	return false
}

func (t *goTransport) endBlocks() bool   { return t.raw == nil }
func (t *goTransport) endUnderway() bool { return t.ending }
func (t *goTransport) sendEnd() error    { return sendEnd(t.conn) }
func (t *goTransport) halfCloses() bool  { return halfCloses(t.conn) }

// hasLeft reports whether err, from writing, says that the peer has closed the whole conn, as conns of all
// kinds say it.
func hasLeft(err error) bool {
	for _, left := range []error{syscall.EPIPE, syscall.ECONNRESET, io.ErrClosedPipe, net.ErrClosed, io.EOF} {
		if errors.Is(err, left) {
			return true
		}
	}
	return false
}
