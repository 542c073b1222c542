// Package transport moves the bytes of one connection without blocking. It has the queue of outgoing bytes, the epoll
// driver and the goroutine driver, splice and sendfile, and the adapter below crypto/tls. It knows neither events nor
// sockets.
//
// A Stream is a field of its owner, whose lock guards it. The owner calls its methods with that lock, from any
// goroutine. Methods that must run on the loop, or without the lock, say so. When a descriptor is ready, or a goroutine
// has a result, the loop calls Ready of the owner. The owner then calls Serve of the Stream and acts on the Report after
// unlocking. A Stream never pushes bytes or errors.
package transport

import (
	"io"
	"net"
	"sync"
	"syscall"

	"evnet/internal/eventloop"
	"evnet/internal/netpoll"
)

// maxChunk is the maximum number of bytes that one Serve reads.
const maxChunk = 64 << 10

// Ended is the event of a Stream whose end was sent.
const Ended netpoll.Events = 1 << 24

// Owner is the socket that a Stream is a field of. Its Ready, which may be spurious, calls Serve.
type Owner interface {
	eventloop.Source
	eventloop.PanicWrapper // for the methods of a conn
	// Mutex guards the Stream. Goroutines of the Stream take it.
	Mutex() *sync.Mutex
	// Loop runs the owner.
	Loop() Loop
	// Member returns the membership of the owner in its loop. It is called with the lock.
	Member() *eventloop.Member
	// SplicePipes returns the pipes of the loop.
	SplicePipes() *SplicePipes
	// WatchesReset reports whether a reset may be reported while the Stream does not read. It is called with the lock and
	// calls nothing.
	WatchesReset() bool
	// Progressed is called when a goroutine has sent bytes. The argument reports whether they complete a queued piece. It is
	// called with the lock and runs no callback.
	Progressed(completed bool)
	// Failed is called without the lock on any goroutine when TakeFailure returns an error. It may be spurious.
	Failed()
	// ClosePanicked is called without the lock with the error of a Close that has panicked.
	ClosePanicked(error)
}

// Loop has the methods that a Stream needs of the loop that runs its owner. An eventloop.Loop implements it.
type Loop interface {
	Go(fn func())
	Notify(eventloop.Source, netpoll.Events)
	PostReady(eventloop.Source, netpoll.Events)
	JoinPoll() bool
	LeavePoll()
	Watch(raw syscall.RawConn, m *eventloop.Member, isWatched bool, what netpoll.Events) error
	Unwatch(raw syscall.RawConn)
	AcquireCall() *netpoll.Call
	ReleaseCall(*netpoll.Call)
	Call() *netpoll.Call // on the loop only, like ReadBuffer
	ReadBuffer() []byte
}

// Stream is one connection. The zero value has no connection, but bytes may be queued already. Do not copy a Stream.
type Stream struct {
	owner Owner
	conn  net.Conn // remains after Retire
	queue queue

	workers *goroutine // the goroutine driver; nil when the connection is served by epoll, and after Retire

	// The state of the epoll driver. It needs less memory here.
	raw           syscall.RawConn // of conn
	watched       netpoll.Events  // the watched events
	registered    bool            // the descriptor is in the epoll set
	edgeTriggered bool            // each event is reported only once, because one of them persists
	wanted        bool            // the owner wants data
	writing       bool            // the queue waits until the descriptor is writable
	detached      bool            // Detach has returned the conn
	bulk          bool            // the stream arrives in large pieces: a splice pipe is worth its cost

	open      bool
	ending    bool // End was called
	endSent   bool // the end was sent, or is being sent
	peerEnded bool // the peer's end was delivered
	stopped   bool // a write has failed and StopWriting was called
	draining  bool // an event for the rest of the received bytes is posted
}

// driver is the common interface of the two drivers. Its methods are called with the owner's lock.
type driver interface {
	// setReading starts or stops the flow of data.
	setReading(want bool)
	// unread reports whether received bytes have not been served yet. It runs on the loop.
	unread() (bool, error)

	// awaitWritable sends the queue when the conn is writable, and then the end.
	awaitWritable()
	// stopWriting reports whether received bytes may still have to be read after a failed write, or why reading fails.
	stopWriting() (unread bool, failed error)
	// endBlocks reports whether sending the end may block. If so, awaitWritable must do it.
	endBlocks() bool

	retire()
}

// Report is the result of Serve for one event.
type Report struct {
	Data  []byte              // received: borrowed until Release
	Pipe  *netpoll.SplicePipe // received instead of Data: for SendPipe
	Pipes *SplicePipes        // the owner of Pipe
	Err   error               // io.EOF: the peer's end
	ack   chan<- struct{}     // the reader waits for it
	Flags
}

// Release lets a waiting reader continue.
func (r *Report) Release() {
	if r.ack != nil {
		r.ack <- struct{}{}
	}
}

// IsEmpty reports whether nothing was received.
func (r *Report) IsEmpty() bool { return len(r.Data) == 0 && r.Pipe == nil && r.Err == nil }

// Flags report what else has happened.
type Flags uint8

const (
	Moved       Flags = 1 << iota // bytes were handed to the conn
	Completed                     // they complete a queued piece
	WriteFailed                   // Err is the error of a write
	Exhausted                     // after StopWriting: no more bytes are received
)

// Init sets the owner. It must be called first.
func (s *Stream) Init(owner Owner) { s.owner = owner }

// Open starts to serve a connected conn.
func (s *Stream) Open(conn net.Conn) {
	s.conn, s.open = conn, true
	if !s.openEpoll() {
		s.workers = newGoroutine(s)
	}
}

// driver returns nil unless the stream is open.
func (s *Stream) driver() driver {
	switch {
	case !s.open:
		return nil
	case s.workers != nil:
		return s.workers
	}
	return (*epollDriver)(s)
}

// IsOpen reports whether there is a connection: Open was called and Retire was not.
func (s *Stream) IsOpen() bool { return s.open }

// Conn returns the conn passed to Open, or the TLS conn that StartTLS has created. It remains after Retire.
func (s *Stream) Conn() net.Conn { return s.conn }

// SetReading starts or stops the flow of data. While it is stopped, the stream detects a reset if the owner wants that and
// the conn supports it.
func (s *Stream) SetReading(want bool) { s.driver().setReading(want) }

// Serve handles an event of Ready and sets r, which must be zero, to the result: at most limit received bytes, or the
// progress of the queue. With splice, received bytes may be moved into a kernel pipe. It runs on the loop. The stream must
// be open.
func (s *Stream) Serve(what netpoll.Events, limit int, splice bool, r *Report) {
	if s.workers == nil {
		(*epollDriver)(s).serve(what, limit, splice, r)
		return
	}
	s.workers.serve(what, r)
	if r.Err != nil && r.Err != io.EOF && r.Flags&WriteFailed == 0 && s.endSent && !s.HalfCloses() {
		r.Err = io.EOF // sending the end has closed the conn
	}
}

// Unread reports whether received bytes were not served yet. It returns an error if reading has failed, and reports such a
// failure only once. It runs on the loop.
func (s *Stream) Unread() (bool, error) { return s.driver().unread() }

// HalfCloses reports whether the conn can be half open. If not, sending the end closes it.
func (s *Stream) HalfCloses() bool { return s.workers == nil || halfCloses(s.conn) }

// NotePeerEnd records that the peer's end was delivered. Sending the end is not required then.
func (s *Stream) NotePeerEnd() { s.peerEnded = true }

// Closer closes the conn of a retired stream. The zero value does nothing.
type Closer struct {
	loop     Loop
	conn     net.Conn
	workers  *goroutine
	reset    bool
	detached bool
}

// Retire ends the stream and discards queued bytes. The Closer closes the conn, with a reset if that is requested and
// supported.
func (s *Stream) Retire(reset bool) Closer {
	s.queue.drop()
	if !s.open {
		return Closer{}
	}
	s.driver().retire()
	c := Closer{loop: s.owner.Loop(), conn: s.conn, workers: s.workers, reset: reset, detached: s.detached}
	s.open, s.workers = false, nil // releases the buffer even if the closed connection is still referenced
	return c
}

// Close closes the conn, unless it was detached. It is called once, without the lock.
func (c Closer) Close() {
	switch {
	case c.workers != nil && c.workers.last.active:
		c.workers.closeAfterLastWrite()
		return
	case c.workers != nil:
		c.workers.close(c.reset)
		return
	case c.loop == nil:
		return
	}
	c.loop.LeavePoll()
	if c.detached {
		return
	}
	if c.reset {
		resetOnClose(c.conn)
	}
	_ = c.conn.Close()
}
