package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/netpoll"
)

const (
	minBuffer = 4 << 10 // what an idle reader holds; it grows while reads fill it
	maxBatch  = 256 << 10
)

// goroutine is the driver of any conn: one goroutine reads while the owner wants data, another writes while bytes are
// queued.
//
// A conn that is exactly a *net.TCPConn or *net.UnixConn is also written to directly, as long as the kernel takes bytes
// without blocking. A type that embeds one is not: it may have a Write of its own.
//
// The goroutines look at the stream only while they find, with the lock, that it is not retired: later the stream may
// be that of another connection.
type goroutine struct {
	s     *Stream
	owner Owner
	loop  Loop
	conn  net.Conn
	raw   *rawConn // nil for a conn that can only be written to by its Write

	// Guarded by the owner's lock.
	want        bool          // the owner wants data
	reading     bool          // the reader is running
	full        bool          // the reader has a chunk that the loop has not served yet
	waiting     bool          // the reader waits for the loop, which has served it, not in Read
	watching    bool          // the reader is in untilReset, not in Read
	interrupted bool          // a read deadline in the past is set, to make the reader leave Read
	writing     bool          // the writer is running
	moved       bool          // the writer has sent bytes since the last serve
	ending      bool          // the writer is sending this side's end
	closed      bool          // ... by closing the conn, which is not to be done twice
	retired     bool          // the stream was retired
	kept        bool          // Detach has given the conn away
	recalled    bool          // the conn is to be given away: no other reader is started, and none goes on
	handshaking bool          // a goroutine does the handshake, in Read and Write
	findBelow   bool          // the writer is to look for a kernel conn below the conn
	writeFailed bool          // the writer has failed
	deferred    error         // a failed write, while the reader is asked for the cause
	failure     error         // what TakeFailure returns next
	outOfRead   chan struct{} // closed when the reader is out of Read; nil unless recall waits for that
	setting     chan struct{} // closed when the read deadline is set; nil while nobody is setting it
	stuck       error         // why the reader could not be made to leave Read
	below       net.Conn      // the kernel conn under one of the program's own, for Progress; nil if there is none

	// Handed from the reader to the loop and back.
	buf []byte
	n   int
	err error
	ack chan struct{}
}

func newGoroutine(s *Stream) *goroutine {
	return &goroutine{s: s, owner: s.owner, loop: s.owner.Loop(), conn: s.conn, raw: newRawConn(s.conn), ack: make(chan struct{}, 1)}
}

func (t *goroutine) setReading(want bool) {
	if t.retired || t.recalled {
		return
	}
	t.want = want
	switch {
	case !t.reading:
		if want || t.mayWatch() {
			t.reading = true
			t.loop.Go(func() { contain(t.owner, t.read, t.readerReturned) })
		}
	case t.waiting || t.interrupted:
	case t.watching && (want || !t.mayWatch()), !t.watching && !want:
		t.interrupt()
	}
}

// mayWatch reports whether a reset can be seen without reading, and may be reported.
func (t *goroutine) mayWatch() bool { return t.raw != nil && t.owner.WatchesReset() }

// read is the reader: it hands over one chunk, or the end, and waits until the loop has served it.
func (t *goroutine) read() error {
	var retries reads
	for t.mayRead() {
		t.next()
		if timedOut(t.err) && t.isPaused() {
			t.err = nil // interrupted
		} else if !t.watching {
			t.err = retries.check(t.n, t.err)
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

// readerReturned handles a method of the conn that has not returned, for which err is not nil.
func (t *goroutine) readerReturned(err error, _ bool) {
	if err != nil {
		t.n, t.err = 0, err
		t.handOver()
	}
}

// next reads one chunk, or waits without reading until there is a reset to report.
func (t *goroutine) next() {
	if !t.watching { // only this goroutine changes it
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
func (t *goroutine) mayRead() bool {
	for {
		goOn, first := t.decide()
		if first == nil {
			return goOn
		}
		first()
	}
}

// decide is mayRead, or what is to be done first, without the lock: the conn may hold one of its own.
func (t *goroutine) decide() (goOn bool, first func()) {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	t.waiting, t.watching = false, false
	switch set := t.setting; {
	case t.deferred != nil:
		t.interrupt()
		return true, nil
	case t.retired || t.recalled || !t.want && !t.mayWatch():
		t.want, t.reading = false, false
		t.leaveRead()
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

// setDeadline returns what sets the read deadline; until that has returned nobody else sets it. failed, which may be
// nil, is called with the owner's lock.
func (t *goroutine) setDeadline(d time.Time, failed func(err error, panicked bool)) func() {
	set := make(chan struct{})
	t.setting = set
	return func() {
		contain(t.owner, func() error { return t.conn.SetReadDeadline(d) }, func(err error, panicked bool) {
			t.owner.Mutex().Lock()
			defer t.owner.Mutex().Unlock()
			t.setting = nil
			close(set)
			if err != nil && failed != nil {
				failed(err, panicked)
			}
		})
	}
}

// handOver has the loop serve the chunk.
func (t *goroutine) handOver() {
	t.owner.Mutex().Lock()
	retired := t.retired
	t.full = !retired
	t.leaveRead()
	if retired {
		t.ack <- struct{}{}
	}
	t.owner.Mutex().Unlock()
	if !retired {
		t.loop.Notify(t.owner, netpoll.Readable)
	}
}

// leaveRead notifies who waits for the reader to be out of Read.
func (t *goroutine) leaveRead() {
	if t.outOfRead != nil {
		close(t.outOfRead)
		t.outOfRead = nil
	}
}

// leave ends the reader for good: the owner has seen the end.
func (t *goroutine) leave() {
	t.owner.Mutex().Lock()
	t.reading = false
	failed := t.deferred != nil && !t.retired
	if failed {
		t.failure = t.deferred // nobody else would report it
	}
	t.owner.Mutex().Unlock()
	if failed {
		t.owner.Failed()
	}
}

// isPaused reports whether the reader was interrupted because the owner wants no data.
func (t *goroutine) isPaused() bool {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	return t.interrupted && t.deferred == nil
}

// interrupt makes a Read return. A conn without deadlines brings one chunk more.
func (t *goroutine) interrupt() {
	t.interrupted = true
	if t.setting != nil {
		return
	}
	if t.raw != nil {
		_ = t.conn.SetReadDeadline(time.Unix(1, 0))
		return
	}
	set := t.setDeadline(time.Unix(1, 0), func(err error, _ bool) {
		if t.outOfRead != nil && !errors.Is(err, io.ErrClosedPipe) { // of a net.Pipe that brings the end instead
			t.stuck = err
			t.leaveRead()
		}
	})
	t.loop.Go(set) // it may wait for a lock that the conn's Read holds
}

// serve reports either what the reader has received or that the writer has sent bytes: the owner may call back after
// the latter, which may stop the flow.
func (t *goroutine) serve(what netpoll.Events, r *Report) {
	if what&netpoll.Readable == 0 || !t.full {
		if t.moved {
			t.moved = false
			r.Flags = Moved
		}
		return
	}
	if what&netpoll.Writable != 0 {
		t.loop.Notify(t.owner, netpoll.Writable)
	}
	t.waiting, t.full = true, false
	r.Data, r.Err, r.ack = t.buf[:t.n], t.err, t.ack
	isReset := errors.Is(r.Err, syscall.ECONNRESET)
	switch {
	case r.Err == nil:
	case t.deferred != nil && isReset:
		r.Flags |= Reset
	case t.deferred != nil:
		r.Err = t.deferred
		r.Flags |= WriteFailed
	case (t.writeFailed || t.failure != nil) && !isReset:
		r.Data, r.Err = nil, nil // the writer is about to report the cause
	}
}

func (t *goroutine) unread() (bool, error) { return t.full, nil }

func (t *goroutine) retire() {
	t.retired, t.want = true, false
	if t.full { // nobody will serve it
		t.full = false
		t.ack <- struct{}{}
	}
}

// timedOut also knows conns older than os.ErrDeadlineExceeded.
func timedOut(err error) bool {
	if err == nil {
		return false // and nothing is allocated
	}
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// contain runs fn, then done with its error or with that of a panic or runtime.Goexit.
func contain(owner Owner, fn func() error, done func(err error, panicked bool)) {
	returned := false
	eventloop.Contain(owner, func() error {
		err := fn()
		returned = true
		return err
	}, func(err error) { done(err, !returned) })
}
