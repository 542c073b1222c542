package evnet

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

var errInvalidRead = errors.New("evnet: the conn's Read has returned an impossible count")

const (
	maxChunk  = 64 << 10 // the most that one Data event holds, as in Node
	minBuffer = 4 << 10  // what an idle reader holds; it grows while reads fill it
	maxBatch  = 256 << 10
)

// transport moves the bytes of one conn without ever blocking the loop: one goroutine reads while
// the socket wants data, another writes while bytes are queued. It knows nothing of events: it
// calls the socket's received, and progressed when the queue has moved.
//
// A conn that is exactly a *net.TCPConn or *net.UnixConn is also written to directly, as long as
// the system takes bytes without blocking. A type that embeds one is not: it may have a Write of
// its own.
type transport struct {
	s    *Socket
	conn net.Conn
	raw  *rawConn // nil for a conn that can only be written to by its Write

	// Guarded by s.mu.
	want        bool          // the socket wants data
	reading     bool          // the reader is there
	full        bool          // the reader has a chunk that the loop has not taken up yet
	waiting     bool          // the reader waits for the loop, which has taken it up, not in Read
	watching    bool          // the reader is in untilReset, not in Read
	interrupted bool          // a read deadline in the past is set, to bring the reader back from Read
	writing     bool          // the writer is there
	ending      bool          // the writer is sending this side's end
	gone        bool          // the socket is destroyed
	kept        bool          // Detach has given the conn away
	recalled    bool          // Detach waits for the reader, or is about to go on: no other is started
	broken      error         // why writing failed, while the reader is asked whether it knows better
	parting     chan struct{} // closed when the reader is out of Read; nil unless Detach waits for that

	// Handed from the reader to the loop and back.
	buf []byte
	n   int
	err error
	ack chan struct{}
}

func newTransport(s *Socket, conn net.Conn) *transport {
	return &transport{s: s, conn: conn, raw: newRawConn(conn), ack: make(chan struct{}, 1)}
}

// setReading starts or stops the flow of data. While it is stopped the reader looks out for a reset,
// where it can. s.mu is held.
func (t *transport) setReading(want bool) {
	if t.gone || t.recalled {
		return
	}
	t.want = want
	switch {
	case !t.reading:
		if want || t.mayWatch() {
			t.reading = true
			t.s.loop.spawn(t.read)
		}
	case t.waiting || t.interrupted:
	case t.watching && (want || !t.mayWatch()), !t.watching && !want:
		t.interrupt()
	}
}

// mayWatch reports whether a reset can be seen without reading, and may be told: nothing that came
// before it is held. s.mu is held.
func (t *transport) mayWatch() bool { return t.raw != nil && !t.s.in.eof && t.s.in.held() == 0 }

// read is the reader: it hands over one chunk, or the end, and waits until the loop has seen it.
func (t *transport) read() {
	for t.mayRead() {
		if t.buf == nil {
			t.buf = make([]byte, minBuffer)
		}
		t.next()
		if t.n > len(t.buf) {
			t.n, t.err = 0, errInvalidRead
		}
		if t.n = max(t.n, 0); timedOut(t.err) && t.paused() {
			t.err = nil
		}
		if t.n == 0 && t.err == nil {
			continue // called back; or io.Reader's discouraged but allowed answer
		}
		t.handOver()
		<-t.ack
		if t.err != nil {
			t.leave()
			return
		}
		if t.n == len(t.buf) && len(t.buf) < maxChunk {
			t.buf = make([]byte, min(4*len(t.buf), maxChunk))
		}
	}
}

// next reads one chunk, or waits without reading until there is a reset to tell.
func (t *transport) next() {
	t.s.mu.Lock()
	watching := t.watching
	t.s.mu.Unlock()
	if !watching {
		t.n, t.err = t.conn.Read(t.buf)
		return
	}
	t.n, t.err = 0, t.raw.untilReset()
	if errno, ok := t.err.(syscall.Errno); ok {
		local, remote := t.conn.LocalAddr(), t.conn.RemoteAddr()
		t.err = &net.OpError{Op: "read", Net: network(remote), Source: local, Addr: remote, Err: os.NewSyscallError("read", errno)}
	}
}

// mayRead reports whether the reader is to go on.
func (t *transport) mayRead() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.waiting, t.watching = false, false
	if t.broken != nil {
		t.interrupt()
		return true
	}
	if !t.want && !t.mayWatch() || t.gone || t.parting != nil {
		t.want, t.reading = false, false
		t.outOfRead()
		return false
	}
	if t.interrupted {
		t.interrupted = false
		_ = t.conn.SetReadDeadline(time.Time{})
	}
	t.watching = !t.want
	return true
}

// handOver lets the loop take the chunk up.
func (t *transport) handOver() {
	t.s.mu.Lock()
	t.full = true
	t.outOfRead()
	t.s.mu.Unlock()
	t.s.loop.event(t.deliver)
}

// outOfRead tells Detach, if it waits. s.mu is held.
func (t *transport) outOfRead() {
	if t.parting != nil {
		close(t.parting)
		t.parting = nil
	}
}

// recall brings the reader back from Read: it has left then, or has a chunk for the loop. It runs on
// the loop. s.mu is held, and released meanwhile.
func (t *transport) recall() error {
	if !t.reading || t.waiting || t.full {
		return nil
	}
	t.interrupted = true
	if err := t.conn.SetReadDeadline(time.Unix(1, 0)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err // a net.Pipe that the peer has closed knows no deadline, and no waiting either
	}
	out := make(chan struct{})
	t.parting, t.recalled = out, true
	t.s.mu.Unlock()
	timer := time.NewTimer(detachWait)
	defer timer.Stop()
	select {
	case <-out:
	case <-timer.C:
	}
	t.s.mu.Lock()
	t.recalled = false
	if t.parting != nil {
		t.parting = nil
		return errReaderStuck // when it does come back, it goes on as after Pause and Resume
	}
	return nil
}

// leave ends the reader for good: the socket has seen the end.
func (t *transport) leave() {
	t.s.mu.Lock()
	t.reading = false
	if t.broken == nil || t.s.tr != t {
		t.s.mu.Unlock()
		return
	}
	t.s.destroyLocked(t.broken, false) // nobody else would tell
}

// paused reports whether the reader was called back because the socket wants no data.
func (t *transport) paused() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.interrupted && t.broken == nil
}

// interrupt makes a Read return. A conn that knows no deadlines brings one chunk more. s.mu is held.
func (t *transport) interrupt() {
	t.interrupted = true
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
}

// blame puts a failed write off until the reader has returned, if there is one: a reset by the peer
// is told to whoever comes first, and a writer that comes second hears but EPIPE. s.mu is held.
func (t *transport) blame(err error) bool {
	if t.raw == nil || !t.reading || t.broken != nil || !errors.Is(err, syscall.EPIPE) {
		return false
	}
	t.broken, t.writing = err, true
	if !t.waiting {
		t.interrupt()
	}
	return true
}

// deliver runs on the loop.
func (t *transport) deliver() {
	t.s.mu.Lock()
	t.waiting, t.full = true, false
	t.s.mu.Unlock()
	defer func() { t.ack <- struct{}{} }()
	t.s.received(t, t.buf[:t.n], t.err)
}

// tryWrite writes what the conn takes without blocking: nothing, if it cannot tell. s.mu is held
// and the writer is not there.
func (t *transport) tryWrite(p []byte) (int, error) {
	if t.raw == nil {
		return 0, nil
	}
	return t.raw.tryWrite(p)
}

// startWriting lets the writer empty the socket's queue, and send the end if that is asked for.
// s.mu is held.
func (t *transport) startWriting() {
	if t.writing || t.gone {
		return
	}
	t.writing = true
	if t.raw != nil {
		t.s.loop.spawn(t.writeWhenReady)
	} else {
		t.s.loop.spawn(t.writeBlocking)
	}
}

// writeWhenReady is the writer of a kernel socket: each time there is room it writes what fits.
func (t *transport) writeWhenReady() {
	s := t.s
	for {
		var failed error
		err := t.raw.whenWritable(func(write func([]byte) (int, error)) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if t.gone {
				return true
			}
			moved, err := s.out.writeTo(s, write)
			failed = err
			s.out.failed = err != nil // before the end that the reader may see then is believed
			if moved && err == nil {
				s.loop.event(s.progressed)
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

// writeBlocking is the writer of any other conn.
func (t *transport) writeBlocking() {
	s := t.s
	for {
		s.mu.Lock()
		var batch [][]byte
		if !t.gone { // else the queue is that of another connection by now
			batch = s.out.take(maxBatch)
		}
		s.mu.Unlock()
		var failed error
		for _, p := range batch {
			for piece := range slices.Chunk(p, maxChunk) { // so that progress shows
				n, err := writeAll(t.conn, piece)
				s.mu.Lock()
				if t.gone {
					s.mu.Unlock()
					return
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
			s.loop.event(s.progressed)
		}
		if !t.goOn(failed) {
			return
		}
	}
}

// writeAll also copes with a conn that takes a part and reports no error.
func writeAll(conn net.Conn, p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := conn.Write(p[written:])
		if n < 0 || n > len(p)-written || n == 0 && err == nil {
			return written, io.ErrShortWrite
		}
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// goOn reports whether the writer has more to do. When all is written it sends the end, if asked.
func (t *transport) goOn(failed error) bool {
	s := t.s
	s.mu.Lock()
	if t.gone {
		s.mu.Unlock()
		return false
	}
	if failed != nil {
		t.writing = false
		s.writeFailed(failed)
		return false
	}
	if s.out.sendable() > 0 {
		s.mu.Unlock()
		return true
	}
	if s.out.wantsEnd() && t.raw == nil {
		s.out.endSent, t.ending = true, true
		s.loop.tick(s.finished)
		s.mu.Unlock()
		err := t.sendEnd()
		s.mu.Lock()
		t.ending = false
		s.loop.tick(s.bothEnded)
		if err != nil && !t.gone {
			t.writing = false
			s.writeFailed(err)
			return false
		}
	}
	t.writing = false
	if err := s.flushEnd(); err != nil {
		s.writeFailed(err)
		return false
	}
	s.mu.Unlock()
	return false
}

// sendEnd ends this side of the conn: by half, or, where that is unknown, whole.
func (t *transport) sendEnd() error {
	if c, ok := t.conn.(halfCloser); ok {
		return c.CloseWrite()
	}
	return t.conn.Close()
}

type halfCloser interface{ CloseWrite() error }

// halfCloses reports whether the conn may be half open. If not, reading fails once sendEnd was
// called, and that is the end, not a failure.
func (t *transport) halfCloses() bool {
	_, ok := t.conn.(halfCloser)
	return ok
}

// close closes the conn, with a reset if asked for and known. The transport is gone already, and
// s.mu is not held.
func (t *transport) close(reset bool) {
	if t.kept {
		return
	}
	if reset {
		inner := t.conn
		if c, ok := t.conn.(interface{ NetConn() net.Conn }); ok {
			inner = c.NetConn()
		}
		if c, ok := inner.(interface{ SetLinger(int) error }); ok {
			_ = c.SetLinger(0)
		}
		if inner != t.conn { // a tls.Conn's own Close would tell the peer that it has got all
			t.s.loop.spawn(func() { _, _ = inner.Close(), t.conn.Close() })
			return
		}
	}
	if isKernelConn(t.conn) {
		_ = t.conn.Close()
		return
	}
	t.s.loop.spawn(func() { _ = t.conn.Close() }) // it may block, a tls.Conn for seconds
}

// isKernelConn reports whether closing and half-closing the conn cannot block.
func isKernelConn(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// timedOut also knows conns older than os.ErrDeadlineExceeded.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
