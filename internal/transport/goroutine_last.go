package transport

import "time"

// The last write of the goroutine driver. If the owner is destroyed without a reset, the conn gets the queued bytes that it
// accepts without waiting, as a kernel conn does. Then it is closed.

// lastWrite limits the last write of a conn that does not belong to the kernel.
const lastWrite = 100 * time.Millisecond

// parting is the state of the last write. The owner's lock guards it.
type parting struct {
	active bool
	rest   [][]byte    // to be written after the batch of the writer
	closed bool        // the conn is closed or about to be closed
	timer  *time.Timer // of lastWrite
}

// WriteBlocks reports whether a write of the conn may block, so that only a goroutine writes.
func (s *Stream) WriteBlocks() bool { return s.workers != nil && s.workers.raw == nil }

// WriteLast sends the queued bytes that the conn accepts without waiting. Retire without a reset follows. If WriteBlocks
// reports true, the Closer does that.
func (s *Stream) WriteLast() {
	switch t := s.workers; {
	case !s.open || s.stopped || s.queue.sendable() == 0:
	case t == nil:
		_, _ = (*epollDriver)(s).tryWrite()
	case t.raw != nil:
		_, _ = t.writeTo(t.raw.writeNow)
	case !t.handshaking && t.failure == nil:
		t.last.active, t.last.rest = true, s.queue.takeRest()
	}
}

// takeLast returns the bytes for the last write, nil if there are no more.
func (t *goroutine) takeLast() [][]byte {
	rest := t.last.rest
	t.last.rest = nil
	return rest
}

// closeAfterLastWrite closes the conn after the last write. The writer, if it is running, does that. It is called without the
// lock.
func (t *goroutine) closeAfterLastWrite() {
	a := adapterOf(t.conn)
	waits := a == nil || !a.stopWaiting()
	t.owner.Mutex().Lock()
	var rest [][]byte
	if waits && !t.last.closed {
		t.last.timer = time.AfterFunc(lastWrite, t.closeLast)
	}
	running := t.writing || t.last.closed
	if !running {
		rest = t.takeLast()
	}
	t.owner.Mutex().Unlock()
	switch {
	case running:
	case waits:
		write := func() error { t.writeRest(rest); return nil }
		t.loop.Go(func() { contain(t.owner, write, func(error, bool) { t.closeLast() }) })
	default:
		t.writeRest(rest)
		t.closeLast()
	}
}

// writeRest writes the last bytes.
func (t *goroutine) writeRest(rest [][]byte) {
	for _, p := range rest {
		if _, err := writeAll(t.conn, p, t.isRetired); err != nil {
			return
		}
	}
}

// writesLast reports whether the last write is in progress.
func (t *goroutine) writesLast() bool {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	return t.last.active
}

// closeLast closes the conn after the last write, once. It is called without the lock.
func (t *goroutine) closeLast() {
	t.owner.Mutex().Lock()
	closed := t.last.closed
	t.last.closed = true
	if t.last.timer != nil {
		t.last.timer.Stop()
	}
	t.owner.Mutex().Unlock()
	if !closed {
		t.close(false)
	}
}

// stopWaiting makes Write of a kernel conn below TLS write only what the kernel accepts without waiting, and interrupts a Write
// that waits. It reports whether the conn supports that.
func (a *adapter) stopWaiting() bool {
	if !IsKernelConn(a.Conn) {
		return false
	}
	raw := newRawConn(a.Conn)
	if raw == nil {
		return false
	}
	a.last.Store(raw)
	_ = a.Conn.SetWriteDeadline(time.Unix(1, 0))
	return true
}

// writeKernel is Write of a kernel conn.
func (a *adapter) writeKernel(p []byte) (n int, err error) {
	raw := a.last.Load()
	if raw == nil {
		if a.writer != nil {
			n, err = a.writer.Write(p)
		} else {
			n, err = notingConn{a.Conn, &a.wire}.Write(p)
		}
		if !timedOut(err) {
			return n, err
		}
		if raw = a.last.Load(); raw == nil {
			return n, err
		}
	}
	for n < len(p) { // also if stopWaiting has interrupted Write
		more, err := raw.writeNow(p[n:])
		n += more
		a.wire.noteSent(more)
		switch {
		case err != nil:
			return n, err
		case more == 0:
			return n, errWouldBlock
		}
	}
	return n, nil
}
