package evnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	minBuffer = 4 << 10 // what an idle reader holds; it grows while reads fill it
	maxBatch  = 256 << 10
)

// goTransport is the transport of any conn: one goroutine reads while the socket wants data, another
// writes while bytes are queued.
//
// A conn that is exactly a *net.TCPConn or *net.UnixConn is also written to directly, as long as
// the system takes bytes without blocking. A type that embeds one is not: it may have a Write of
// its own.
type goTransport struct {
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
	closed      bool          // ... by closing the conn, which is not to be done twice
	gone        bool          // the socket is destroyed
	kept        bool          // Detach has given the conn away
	recalled    bool          // the conn is to be given away: no other reader is started, and none goes on
	shaking     bool          // a goroutine does the handshake, in Read and Write
	broken      error         // why writing failed, while the reader is asked whether it knows better
	parting     chan struct{} // closed when the reader is out of Read; nil unless recall waits for that
	setting     chan struct{} // closed when the read deadline is set; nil while nobody is at it
	deaf        error         // why the reader could not be called back
	below       net.Conn      // the kernel conn under one of the program's own, for WriteTimeout; nil if there is none

	// Handed from the reader to the loop and back.
	buf []byte
	n   int
	err error
	ack chan struct{}
}

func newGoTransport(s *Socket, conn net.Conn) *goTransport {
	return &goTransport{s: s, conn: conn, raw: newRawConn(conn), ack: make(chan struct{}, 1)}
}

func (t *goTransport) setReading(want bool) {
	if t.gone || t.recalled {
		return
	}
	t.want = want
	switch {
	case !t.reading:
		if want || t.mayWatch() {
			t.reading = true
			t.s.set.Loop.spawn(func() { contain(t.s, t.read, t.readerGone) })
		}
	case t.waiting || t.interrupted:
	case t.watching && (want || !t.mayWatch()), !t.watching && !want:
		t.interrupt()
	}
}

// mayWatch reports whether a reset can be seen without reading, and may be told: nothing that came
// before it is held. While a destination of Pipe is full it is not worth its cost: the flow goes on
// soon. s.mu is held.
func (t *goTransport) mayWatch() bool {
	in := &t.s.in
	return t.raw != nil && in.mode == paused && !in.eof && in.held() == 0
}

// read is the reader: it hands over one chunk, or the end, and waits until the loop has seen it.
func (t *goTransport) read() error {
	var before reads
	for t.mayRead() {
		t.next()
		if timedOut(t.err) && t.paused() {
			t.err = nil // called back
		} else if !t.watching {
			t.err = before.heed(t.n, t.err)
		}
		if t.n == 0 && t.err == nil {
			continue
		}
		t.handOver()
		<-t.ack
		if t.err != nil {
			t.leave()
			return nil
		}
		if t.n == len(t.buf) && len(t.buf) < maxChunk {
			t.buf = make([]byte, min(4*len(t.buf), maxChunk))
		}
	}
	return nil
}

// readerGone is told that the reader has ended: err is not nil if a method of the conn has not returned.
func (t *goTransport) readerGone(err error) {
	if err != nil {
		t.n, t.err = 0, err
		t.handOver()
	}
}

// next reads one chunk, or waits without reading until there is a reset to tell.
func (t *goTransport) next() {
	if !t.watching { // nobody else changes it
		if t.buf == nil {
			t.buf = make([]byte, minBuffer)
		}
		t.n, t.err = readInto(t.conn, t.buf)
		return
	}
	t.n, t.err = 0, t.raw.untilReset()
	t.err = readError(t.conn, t.err)
}

// mayRead reports whether the reader is to go on.
func (t *goTransport) mayRead() bool {
	for {
		goOn, first := t.decide()
		if first == nil {
			return goOn
		}
		first()
	}
}

// decide is mayRead, or what is to be done first, without the lock: the conn may hold one of its own.
func (t *goTransport) decide() (goOn bool, first func()) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.waiting, t.watching = false, false
	switch set := t.setting; {
	case t.broken != nil:
		t.interrupt()
		return true, nil
	case !t.want && !t.mayWatch() || t.gone || t.recalled:
		t.want, t.reading = false, false
		t.outOfRead()
		return false, nil
	case set != nil:
		return true, func() { <-set }
	case t.interrupted:
		if t.interrupted = false; t.raw == nil {
			return true, t.setDeadline(time.Time{}, nil)
		}
		_ = t.conn.SetReadDeadline(time.Time{})
	}
	t.watching = !t.want
	return true, nil
}

// setDeadline returns what sets the read deadline; until that has returned nobody else sets it. failed,
// which may be nil, is called with s.mu held. s.mu is held.
func (t *goTransport) setDeadline(d time.Time, failed func(error)) func() {
	set := make(chan struct{})
	t.setting = set
	return func() {
		contain(t.s, func() error { return t.conn.SetReadDeadline(d) }, func(err error) {
			t.s.mu.Lock()
			defer t.s.mu.Unlock()
			t.setting = nil
			close(set)
			if err != nil && failed != nil {
				failed(err)
			}
		})
	}
}

// handOver lets the loop take the chunk up.
func (t *goTransport) handOver() {
	t.s.mu.Lock()
	t.full = true
	t.outOfRead()
	t.s.mu.Unlock()
	t.s.set.Loop.event(t.deliver)
}

// outOfRead tells who waits for that. s.mu is held.
func (t *goTransport) outOfRead() {
	if t.parting != nil {
		close(t.parting)
		t.parting = nil
	}
}

// leave ends the reader for good: the socket has seen the end.
func (t *goTransport) leave() {
	t.s.mu.Lock()
	t.reading = false
	if t.broken == nil || t.s.tr != transport(t) {
		t.s.mu.Unlock()
		return
	}
	e := t.s.destroyLocked(t.broken, false) // nobody else would tell
	t.s.mu.Unlock()
	e.run()
}

// paused reports whether the reader was called back because the socket wants no data.
func (t *goTransport) paused() bool {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.interrupted && t.broken == nil
}

// interrupt makes a Read return. A conn that knows no deadlines brings one chunk more. s.mu is held.
func (t *goTransport) interrupt() {
	t.interrupted = true
	if t.setting != nil {
		return
	}
	if t.raw != nil {
		_ = t.conn.SetReadDeadline(time.Unix(1, 0))
		return
	}
	set := t.setDeadline(time.Unix(1, 0), func(err error) {
		if t.parting != nil && !errors.Is(err, io.ErrClosedPipe) { // of a net.Pipe that brings the end instead
			t.deaf = err
			t.outOfRead()
		}
	})
	t.s.set.Loop.spawn(set) // it may wait for a lock that the conn's Read holds
}

// blame puts a failed write off until the reader has returned, if there is one: a reset by the peer
// is told to whoever comes first, and a writer that comes second hears but EPIPE. Only the system's conns
// say so, under TLS too. s.mu is held.
func (t *goTransport) blame(err error) bool {
	b := beneathOf(t.conn)
	knows := t.raw != nil || b != nil && isKernelConn(b.Conn)
	if !knows || !t.reading || t.broken != nil || !errors.Is(err, syscall.EPIPE) {
		return false
	}
	t.broken, t.writing = err, true
	if !t.waiting {
		t.interrupt()
	}
	return true
}

// deliver runs on the loop.
func (t *goTransport) deliver() {
	defer func() { t.ack <- struct{}{} }()
	t.s.mu.Lock()
	t.waiting, t.full = true, false
	t.s.received(t, t.buf[:t.n], t.err)
}

func (t *goTransport) unread() bool { return t.full }

func (t *goTransport) failure() error { return t.broken }

// timedOut also knows conns older than os.ErrDeadlineExceeded.
func timedOut(err error) bool {
	if err == nil {
		return false // and nothing is allocated
	}
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
