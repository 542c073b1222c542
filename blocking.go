package evnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// BlockingConn gives a view of a connected socket as a net.Conn, for blocking code on goroutines of its
// own, such as net/http, bufio or crypto/tls. The socket stays what it is: it keeps its loop, limits and
// events, but for Data, and its other methods may be used beside. To give the conn away for good there
// is Detach. Any goroutine may call it; Connect and Connection are good places.
//
// The conn's methods may be called by any number of goroutines at once. Read blocks until something has
// come, copies it, and gives io.EOF at the peer's end; like Chunks it reads nothing ahead, waits while the
// socket is paused or nobody runs the loop, and gives text if an encoding is set. Write blocks while
// NeedDrain is true, or MaxWriteBuffer is reached, and copies; that it has returned does not mean that the
// peer has the bytes. ReadFrom does so for all of a reader, and sends files as that of a Socket does. The
// peer's end does not end this side: AllowHalfOpen is set. A deadline ends what is blocked and what comes
// later, until it is set anew.
//
// Close wakes whoever is blocked and closes the socket: what was written is still sent, which
// SocketOptions.CloseTimeout bounds, and what comes is thrown away. CloseRead throws away what comes,
// and Read gives io.EOF. CloseWrite is End; the conn has it only if the socket's own may be half open.
//
// Errors are *net.OpErrors: net.ErrClosed after Close, os.ErrDeadlineExceeded after a deadline, the
// cause that the socket has failed with, which then counts as heard, ErrDestroyed, which is
// net.ErrClosed too, ErrWriteAfterEnd, and ErrConsumed when Relay has taken the socket. Read, Write and ReadFrom in a
// callback of the socket's loop, where waiting would stop what it waits for, are ErrOnLoop.
//
// BlockingConn fails with ErrConsumed while the socket has another consumer, with ErrSocketClosed before
// it is connected, and with the cause or ErrDestroyed afterwards; then nothing has changed. There is one
// such conn for each connection. Node has none.
func (s *Socket) BlockingConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &blockingConn{
		s: s, epoch: s.epoch, local: s.localAddr(), remote: s.remoteAddr(),
		in: &chunks{ready: make(chan struct{}, 1)},
	}
	switch {
	case s.destroyed:
		return nil, c.failed("blocking", s.readersCause())
	case !s.stream.IsOpen():
		return nil, c.failed("blocking", ErrSocketClosed)
	}
	if err := s.consumed("BlockingConn"); err != nil {
		return nil, err
	}
	s.makeOpt().blocking = c
	s.halfOpen = true
	if s.in.ended {
		c.in.err = io.EOF
	} else {
		s.in.own()
		s.in.chunks = c.in
		s.consumerAdded()
	}
	if s.stream.HalfCloses() {
		return halfBlockingConn{c}, nil
	}
	return c, nil
}

// blockingConn is the view that BlockingConn gives. It holds no goroutine.
type blockingConn struct {
	s             *Socket
	epoch         int32 // of its connection
	local, remote net.Addr

	reading, writing sync.Mutex // one Read and one Write at a time; taken before s.mu

	// Guarded by s.mu.
	in              *chunks
	readBy, writeBy deadline
	closed          bool  // Close was called
	cause           error // the connection is over
}

// halfBlockingConn is the view of a socket whose conn may be half open.
type halfBlockingConn struct{ *blockingConn }

// endBlocking detaches the view from the socket, if there is one. s.mu is held.
func (s *Socket) endBlocking(err error) {
	c := s.opt().blocking
	if c == nil {
		return
	}
	if c.cause = err; !s.destroyed {
		s.optional.blocking = nil
	}
	c.readBy.stop()
	c.writeBy.stop()
	s.roomChanged()
}

func (c *blockingConn) Read(p []byte) (int, error) {
	if c.s.loop().OnLoop() {
		return 0, c.failed("read", ErrOnLoop)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		n, ready, err := c.readSome(p)
		if ready == nil {
			return n, c.failed("read", err)
		}
		<-ready
	}
}

// readSome copies received data to p. If there is none yet, it returns the channel to wait on.
func (c *blockingConn) readSome(p []byte) (n int, ready <-chan struct{}, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case c.closed:
		return 0, nil, net.ErrClosed
	case len(p) == 0:
		return 0, nil, nil
	case c.readBy.past:
		return 0, nil, os.ErrDeadlineExceeded
	case len(c.in.p) > 0:
		n = copy(p, c.in.p)
		if c.in.p = c.in.p[n:]; len(c.in.p) == 0 {
			c.in.p = nil
		}
		return n, nil, nil
	case c.in.err != nil:
		return 0, nil, c.in.err
	}
	return 0, c.s.requestChunkLocked(c.in), nil
}

func (c *blockingConn) Write(p []byte) (n int, err error) {
	if c.s.loop().OnLoop() {
		return 0, c.failed("write", ErrOnLoop)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		wrote, room, err := c.writeSome(p[n:min(len(p), n+maxChunk)])
		if n += wrote; room != nil {
			<-room
		} else if err != nil || n == len(p) {
			return n, c.failed("write", err)
		}
	}
}

// writeSome queues p. If there is no room, it returns the channel to wait on.
func (c *blockingConn) writeSome(p []byte) (n int, room <-chan struct{}, err error) {
	c.s.mu.Lock()
	var e *ending
	if room, err = c.roomLocked(); room == nil && err == nil {
		n, e, err = c.s.writeLocked(p, nil, false)
	}
	c.s.mu.Unlock()
	e.run()
	return n, room, err
}

// roomLocked returns nil if data may be written now, else the channel to wait on, or why nothing may be written.
// s.mu is held.
func (c *blockingConn) roomLocked() (<-chan struct{}, error) {
	if err := c.writeError(); err != nil || !c.s.out.needDrain {
		return nil, err
	}
	return c.s.roomLocked(), nil
}

// writeError is why nothing may be written, or nil. s.mu is held.
func (c *blockingConn) writeError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.cause != nil:
		return c.cause
	case c.writeBy.past:
		return os.ErrDeadlineExceeded
	case c.s.out.ending:
		return ErrWriteAfterEnd
	}
	return nil
}

// ReadFrom lets other goroutines write between two pieces of r.
func (c *blockingConn) ReadFrom(r io.Reader) (n int64, err error) {
	if r == nil {
		return 0, nilArgument("ReadFrom", "reader")
	}
	if c.s.loop().OnLoop() {
		return 0, c.failed("readfrom", ErrOnLoop)
	}
	file := asFile(r)
	var buf []byte
	for {
		if file != nil {
			sent, ok, err := c.sendFile(file)
			n += int64(sent)
			switch {
			case err != nil:
				return n, c.failed("readfrom", err)
			case ok && sent == 0:
				return n, nil
			case ok:
				continue
			}
		}
		if buf == nil {
			buf = make([]byte, maxChunk)
		}
		got, rerr := r.Read(buf)
		wrote, err := c.Write(buf[:got])
		n += int64(wrote)
		switch {
		case err != nil:
			return n, err
		case rerr == io.EOF:
			return n, nil
		case rerr != nil:
			return n, rerr
		}
	}
}

// sendFile is Socket.sendFile, but first it waits for room, as Write does.
func (c *blockingConn) sendFile(f *fileSource) (sent int, ok bool, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		c.s.mu.Lock()
		room, err := c.roomLocked()
		c.s.mu.Unlock()
		switch {
		case err != nil:
			return 0, false, err
		case room == nil:
			sent, ok = c.s.sendFile(f, c.epoch, &c.writeBy)
			return sent, ok, nil
		}
		<-room
	}
}

func (c *blockingConn) Close() error {
	c.s.mu.Lock()
	var e *ending
	closed := c.closed
	c.closed = true
	if !closed && c.cause == nil {
		c.stopReading(net.ErrClosed)
		c.readBy.stop()
		c.writeBy.stop()
		c.s.roomChanged()
		e = c.s.closeLocked()
	}
	c.s.mu.Unlock()
	e.run()
	if closed {
		return c.failed("close", net.ErrClosed)
	}
	return nil
}

func (c *blockingConn) CloseRead() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	if c.cause == nil {
		c.stopReading(io.EOF)
	}
	return nil
}

// stopReading makes the socket discard received data: a peer whose sending stalls might never read what is still to
// be sent. s.mu is held.
func (c *blockingConn) stopReading(err error) {
	s := c.s
	c.in.p = nil
	if s.in.chunks == c.in {
		s.endChunks(err)
	}
	s.in.mode = flowing
	s.scheduleFlow()
}

func (c halfBlockingConn) CloseWrite() error {
	c.s.mu.Lock()
	var e *ending
	err := c.cause
	if c.closed {
		err = net.ErrClosed
	}
	if err == nil {
		e = c.s.endLocked()
	}
	c.s.mu.Unlock()
	e.run()
	return c.failed("close", err)
}

func (c *blockingConn) LocalAddr() net.Addr  { return c.local }
func (c *blockingConn) RemoteAddr() net.Addr { return c.remote }

func (c *blockingConn) SetDeadline(t time.Time) error      { return c.setDeadlines(t, true, true) }
func (c *blockingConn) SetReadDeadline(t time.Time) error  { return c.setDeadlines(t, true, false) }
func (c *blockingConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *blockingConn) setDeadlines(t time.Time, reading, writing bool) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	if c.cause != nil {
		return nil // nothing can block any more, and no timer may remain
	}
	if reading {
		c.readBy.set(c.s, t, func() { c.in.wake(); c.s.updateReading() })
	}
	if writing {
		c.writeBy.set(c.s, t, c.s.roomChanged)
	}
	return nil
}

// failed adds the operation and the addresses to err, unless it has them already.
func (c *blockingConn) failed(op string, err error) error {
	var wrapped *net.OpError
	if err == nil || err == io.EOF || errors.As(err, &wrapped) {
		return err
	}
	return &net.OpError{Op: op, Net: network(c.remote), Source: c.local, Addr: c.remote, Err: err}
}

// deadline is the time until which something may block. The socket's mu guards it.
type deadline struct {
	timer *time.Timer
	round int  // timers of earlier rounds are ignored
	past  bool // it has passed
}

// set calls passed at t, with s.mu held: immediately if t is in the past, never for the zero time. s.mu is held.
func (d *deadline) set(s *Socket, t time.Time, passed func()) {
	d.stop()
	d.past = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.past = true
		passed()
		return
	}
	round := d.round
	d.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.round == round {
			d.past = true
			passed()
		}
	})
}

func (d *deadline) stop() {
	d.round++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// isPast reports whether the deadline has passed; d may be nil.
func (d *deadline) isPast() bool { return d != nil && d.past }
