// Package transport moves the bytes of one connection without blocking: the queue of bytes to be sent, the epoll and
// the goroutine driver, splice and sendfile, and the adapter under crypto/tls. It knows no event and no socket.
//
// A Stream is a field of its owner, whose lock guards it. The owner calls its methods with that lock, from any
// goroutine; those that run on the loop, or without the lock, say so. The loop that runs the owner reports that a
// descriptor is ready, or that a goroutine has something, by the owner's Ready. The owner then asks the Stream what has
// happened, by Serve, and acts on it after unlocking: a Stream never pushes bytes or errors.
package transport

import (
	"io"
	"net"
	"sync"
	"syscall"

	"evnet/internal/eventloop"
	"evnet/internal/netpoll"
)

// maxChunk is the most that one Serve reads.
const maxChunk = 64 << 10

// Ended is the event of a Stream whose end is on its way, or was sent.
const Ended netpoll.Events = 1 << 24

// Owner is the socket that a Stream is a field of. Its Ready, which may be spurious, calls Serve.
type Owner interface {
	eventloop.Source
	eventloop.PanicWrapper // for the methods of a conn
	// Mutex guards the Stream. Goroutines of the Stream take it.
	Mutex() *sync.Mutex
	// Loop runs the owner.
	Loop() Loop
	// Member is what the loop knows the owner by. It is called with the lock.
	Member() *eventloop.Member
	// SplicePipes returns the pipes of the loop.
	SplicePipes() *SplicePipes
	// WatchesReset reports whether a reset may be reported although nothing is read. It is called with the lock and
	// calls nothing.
	WatchesReset() bool
	// Progressed notes that a goroutine has sent bytes, and whether they end a piece that was queued. It is called with
	// the lock and runs no callback.
	Progressed(completed bool)
	// Failed is called without the lock on any goroutine when TakeFailure returns an error. It may be spurious.
	Failed()
	// ClosePanicked is called without the lock with the error of a Close that has panicked.
	ClosePanicked(error)
}

// Loop is what a Stream needs of the loop that runs its owner; an eventloop.Loop has it.
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
	Call() *netpoll.Call // on the loop only, as ReadBuffer
	ReadBuffer() []byte
}

// Stream is one connection. The zero value has none; bytes may be queued already. A Stream is not copied.
type Stream struct {
	owner Owner
	conn  net.Conn // stays after Retire
	queue queue

	workers *goroutine // the goroutine driver; nil when the connection is served by epoll, and after Retire

	// The state of the epoll driver: in here it takes less room.
	raw           syscall.RawConn // of conn
	watched       netpoll.Events  // what the descriptor is watched for
	registered    bool            // it is in the poller's set
	edgeTriggered bool            // there are events that do not go away: each is to be reported only once
	wanted        bool            // the owner wants data
	writing       bool            // there was no room: the queue waits for it
	kept          bool            // Detach has given the conn away
	bulk          bool            // much is received at a time: a splice pipe is worth its cost

	open      bool
	ending    bool // End was called
	endSent   bool // the end is on its way
	peerEnded bool // the peer's end was delivered
}

// driver is what the two ways of serving a connection have in common. A method is called with the owner's lock.
type driver interface {
	// setReading starts or stops the flow of data.
	setReading(want bool)
	// unread reports whether received bytes have not been served yet. It runs on the loop.
	unread() (bool, error)

	// awaitWritable has the queue sent when there is room, and then the end.
	awaitWritable()
	// deferFailure reports whether err of a write is put off, because the reader may know the cause.
	deferFailure(err error) bool
	// endBlocks reports whether sending the end may block: awaitWritable is to do it.
	endBlocks() bool

	retire()
}

// Report is what a Stream has to say of one event.
type Report struct {
	Data  []byte              // received: borrowed until Release
	Pipe  *netpoll.SplicePipe // received instead of Data: for SendPipe
	Pipes *SplicePipes        // that Pipe belongs to
	Err   error               // io.EOF: the peer's end
	ack   chan<- struct{}     // the reader waits for it
	Flags
}

// Release lets a waiting reader go on.
func (r *Report) Release() {
	if r.ack != nil {
		r.ack <- struct{}{}
	}
}

// IsEmpty reports whether nothing was received.
func (r *Report) IsEmpty() bool { return len(r.Data) == 0 && r.Pipe == nil && r.Err == nil }

// Flags say what else has happened.
type Flags uint8

const (
	Moved       Flags = 1 << iota // bytes were handed to the conn
	Completed                     // they end a piece that was queued
	WriteFailed                   // Err is of a write
	Reset                         // Err is a reset that has also failed a write: it is reported as the reader's
)

// Init sets what runs the owner. It comes first.
func (s *Stream) Init(owner Owner) { s.owner = owner }

// Open begins to serve a connected conn.
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

// Conn returns the conn that Open was given, or what StartTLS made of it. It stays after Retire.
func (s *Stream) Conn() net.Conn { return s.conn }

// SetReading starts or stops the flow of data. While it is stopped a reset is watched for, if the owner wants that and
// the conn supports it.
func (s *Stream) SetReading(want bool) { s.driver().setReading(want) }

// Serve sets r, which is zero, to what an event of Ready has brought: at most limit received bytes, or what became of the
// queue. With splice, received bytes may be moved into a pipe of the kernel. It runs on the loop. The stream is open.
func (s *Stream) Serve(what netpoll.Events, limit int, splice bool, r *Report) {
	if s.workers == nil {
		(*epollDriver)(s).serve(what, limit, splice, r)
		return
	}
	s.workers.serve(what, r)
	if r.Err != nil && r.Err != io.EOF && r.Flags&(WriteFailed|Reset) == 0 && s.endSent && !s.HalfCloses() {
		r.Err = io.EOF // sending the end has closed the conn
	}
}

// Unread reports whether received bytes have not been served yet, or a failure to read, which is reported only once. It
// runs on the loop.
func (s *Stream) Unread() (bool, error) { return s.driver().unread() }

// HalfCloses reports whether the conn can be half open. If not, sending the end closes it.
func (s *Stream) HalfCloses() bool { return s.workers == nil || halfCloses(s.conn) }

// NotePeerEnd notes that the peer's end was delivered: sending the end is not required then.
func (s *Stream) NotePeerEnd() { s.peerEnded = true }

// Closer closes the conn of a retired stream. The zero value does nothing.
type Closer struct {
	loop    Loop
	conn    net.Conn
	workers *goroutine
	reset   bool
	kept    bool
}

// Retire ends the stream. Queued bytes are dropped. The conn is closed by the Closer, with a reset if that is requested
// and supported.
func (s *Stream) Retire(reset bool) Closer {
	s.queue.drop()
	if !s.open {
		return Closer{}
	}
	s.driver().retire()
	c := Closer{loop: s.owner.Loop(), conn: s.conn, workers: s.workers, reset: reset, kept: s.kept}
	s.open, s.workers = false, nil // a closed connection that is still referenced has no buffer
	return c
}

// Close closes the conn, unless it was detached. It is called once, without the lock.
func (c Closer) Close() {
	switch {
	case c.workers != nil:
		c.workers.close(c.reset)
		return
	case c.loop == nil:
		return
	}
	c.loop.LeavePoll()
	if c.kept {
		return
	}
	if c.reset {
		resetOnClose(c.conn)
	}
	_ = c.conn.Close()
}
