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
	minBuffer = 4 << 10 // the buffer of an idle reader; it grows while reads fill it
	maxBatch  = 256 << 10
)

// goroutine is the driver for any conn. One goroutine reads while the owner wants data, and another writes while bytes are
// queued.
//
// If the conn is exactly a *net.TCPConn or *net.UnixConn, the driver also writes directly, as long as the kernel accepts
// bytes without blocking. It does not do so for a type that embeds one, because the type may override Write.
//
// Before the goroutines use the stream, they check with the lock that it is not retired. A retired stream may belong to
// another connection.
type goroutine struct {
	s     *Stream
	owner Owner
	loop  Loop
	conn  net.Conn
	raw   *rawConn // nil for a conn that supports only its Write method

	// Guarded by the owner's lock.
	want        bool          // the owner wants data
	reading     bool          // the reader is running
	full        bool          // the reader has a chunk that the loop has not served yet
	waiting     bool          // the loop has served the chunk, and the reader waits for the loop, not in Read
	watching    bool          // the reader is in untilReset, not in Read
	interrupted bool          // a read deadline in the past is set, so that Read returns
	writing     bool          // the writer is running
	moved       bool          // the writer has sent bytes since the last serve
	ending      chan struct{} // closed when the writer has sent this side's end; nil unless it is sending the end
	awaited     bool          // the reader has waited for that
	closed      bool          // the end is sent by closing the conn, which must not be closed twice
	retired     bool          // the stream was retired
	detached    bool          // Detach has returned the conn
	recalled    bool          // the conn will be detached: no reader starts or continues
	handshaking bool          // a goroutine does the handshake, in Read and Write
	findBelow   bool          // the writer must look for a kernel conn below the conn
	writeFailed bool          // the writer has failed
	failure     error         // the next result of TakeFailure
	silence     silence       // of the conn after a failed write
	last        parting       // the last write
	outOfRead   chan struct{} // closed when the reader is out of Read; nil unless recall waits for that
	setting     chan struct{} // closed when the read deadline is set; nil unless a goroutine is setting it
	stuck       error         // why Read could not be interrupted
	below       net.Conn      // the kernel conn below a user-provided conn, for Progress; nil if there is none

	// Passed from the reader to the loop and back.
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

// mayWatch reports whether a reset can be detected without reading, and may be reported.
func (t *goroutine) mayWatch() bool { return t.raw != nil && t.owner.WatchesReset() }

// read is the reader. It passes one chunk, or the end, to the loop, and waits until the loop has served it.
func (t *goroutine) read() error {
	var retries reads
	for t.mayRead() {
		t.next()
		if timedOut(t.err) && t.isPaused() {
			t.err = nil // interrupted
		} else if !t.watching {
			if t.err = retries.check(t.n, t.err); isNotPollable(t.err) {
				t.err = pollCause(t.conn, t.err)
			}
		}
		if t.n == 0 && t.err == nil {
			continue
		}
		t.awaitEnd()
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

// readerReturned handles a panic or runtime.Goexit of a method of the conn. err is nil if the reader has returned.
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
		if t.raw != nil {
			t.n, t.err = readKernel(t.conn, t.raw, t.buf)
		} else {
			t.n, t.err = readInto(t.conn, t.buf)
		}
		return
	}
	t.n, t.err = 0, t.raw.untilReset()
	t.err = readError(t.conn, t.err)
}

// mayRead reports whether the reader continues.
func (t *goroutine) mayRead() bool {
	for {
		proceed, first := t.decide()
		if first == nil {
			return proceed
		}
		first()
	}
}

// decide returns the result of mayRead, or a function that must run first. The function runs without the lock, because
// the conn may use its own lock.
func (t *goroutine) decide() (proceed bool, first func()) {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	t.waiting, t.watching = false, false
	switch set := t.setting; {
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
	if t.s.stopped {
		t.awaitSilence()
	}
	return true, nil
}

// setDeadline returns a function that sets the read deadline. Until that function has returned, no other goroutine sets
// the deadline. failed, which may be nil, is called with the owner's lock.
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

// handOver passes the chunk to the loop.
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

// leaveRead notifies a goroutine that waits until the reader is out of Read.
func (t *goroutine) leaveRead() {
	if t.outOfRead != nil {
		close(t.outOfRead)
		t.outOfRead = nil
	}
}

// leave ends the reader. The owner has handled the end.
func (t *goroutine) leave() {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	t.reading = false
}

// isPaused reports whether the reader was interrupted because the owner wants no data.
func (t *goroutine) isPaused() bool {
	t.owner.Mutex().Lock()
	defer t.owner.Mutex().Unlock()
	return t.interrupted
}

// interrupt makes Read return. A conn without deadlines returns one more chunk.
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
		if t.outOfRead != nil && !errors.Is(err, io.ErrClosedPipe) { // returned by a net.Pipe, whose Read reports the end
			t.stuck = err
			t.leaveRead()
		}
	})
	t.loop.Go(set) // the conn's Read may hold a lock that SetReadDeadline needs
}

// serve reports either the received data or the progress of the writer, not both. After progress, the owner may run
// callbacks, which may stop the flow.
func (t *goroutine) serve(what netpoll.Events, r *Report) {
	if what&netpoll.Readable == 0 || !t.full {
		if t.moved {
			t.moved = false
			r.Flags = Moved
		}
		if t.silence.is {
			t.silence.is = false
			r.Flags |= Exhausted
		}
		return
	}
	if what&netpoll.Writable != 0 {
		t.loop.Notify(t.owner, netpoll.Writable)
	}
	if t.err != nil && !t.s.stopped && (t.writeFailed || t.failure != nil) && !errors.Is(t.err, syscall.ECONNRESET) {
		return // the writer is about to report its failure, which may be the cause
	}
	t.waiting, t.full = true, false
	r.Data, r.Err, r.ack = t.buf[:t.n], t.err, t.ack
}

func (t *goroutine) unread() (bool, error) { return t.full, nil }

func (t *goroutine) retire() {
	t.retired, t.want = true, false
	t.silence.stop()
	if t.full { // the loop will not serve it
		t.full = false
		t.ack <- struct{}{}
	}
}

// timedOut reports whether err is a timeout. It also recognizes conns that do not use os.ErrDeadlineExceeded.
func timedOut(err error) bool {
	if err == nil {
		return false // without an allocation
	}
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// contain runs fn, then done with the error that fn returned, or with an error for a panic or runtime.Goexit.
func contain(owner Owner, fn func() error, done func(err error, panicked bool)) {
	returned := false
	eventloop.Contain(owner, func() error {
		err := fn()
		returned = true
		return err
	}, func(err error) { done(err, !returned) })
}
