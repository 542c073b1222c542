package evnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// BlockingConn returns a view of a connected socket as a net.Conn, for blocking code on goroutines of
// its own, such as net/http, bufio or crypto/tls. The socket keeps its loop, its limits and its events,
// except Data, and its other methods may still be used. To give the conn away permanently, use Detach.
// There is one such conn for each connection. Any goroutine may call BlockingConn; callbacks of Connect
// and Connection are good places.
//
// The conn uses no goroutine of its own and, while idle, no buffer. Compared with a plain net.Conn, each
// received chunk of at most 64 KiB is copied two more times, and a switch from the loop to the reading
// goroutine is added. Write passes bytes to the kernel directly; only what the kernel does not accept is
// copied.
//
// Any number of goroutines may call the conn's methods concurrently:
//
//   - Read blocks until data has arrived and copies it. At the peer's end it returns io.EOF. Like Chunks,
//     it reads nothing ahead, waits while the socket is paused or the loop is not running, and returns
//     text if an encoding is set.
//   - Write does not keep its argument. It blocks while NeedDrain is true or MaxWriteBuffer is reached.
//     When it returns, the peer does not necessarily have the bytes.
//   - ReadFrom writes all data of a reader in this way. It sends files as Socket.ReadFrom does.
//   - A deadline ends blocked and later calls, until it is set again.
//   - Close wakes blocked calls and closes the socket. Written data is still sent, for at most
//     SocketOptions.CloseTimeout; incoming data is discarded.
//   - CloseRead discards incoming data; Read returns io.EOF.
//   - CloseWrite is End. The conn has it only if the socket's own conn can be half open.
//   - ConnectionState returns the state of TLS, and HandshakeContext waits for the end of the handshake. The conn has
//     these methods of a *tls.Conn only if the socket uses TLS.
//
// The conn of a TLS socket is not a *tls.Conn. From Go 1.26 on, net/http sets Request.TLS from ConnectionState. No version
// serves HTTP/2 on it if the handshake has negotiated "h2". Let net/http do TLS on the conn of a socket without TLS
// instead, or see the guide.
//
// The peer's end does not end this side: AllowHalfOpen is set.
//
// Errors of the conn are *net.OpErrors: net.ErrClosed after Close, os.ErrDeadlineExceeded after a
// deadline, the cause of the socket's failure, which then counts as handled, ErrDestroyed, which is also
// net.ErrClosed, ErrWriteAfterEnd, and ErrConsumed once Relay uses the socket. Read, Write and ReadFrom
// return ErrOnLoop in a callback of the socket's loop, since waiting would block what they wait for.
//
// BlockingConn fails with ErrConsumed while the socket has another consumer, with ErrSocketClosed before
// it is connected, and with the cause or ErrDestroyed afterwards. It changes nothing in these cases.
//
// Node has none.
func (s *Socket) BlockingConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &blockingConn{
		s: s, epoch: s.epoch, local: s.localAddr(), remote: s.remoteAddr(),
		in: &chunks{ready: make(chan struct{}, 1)},
	}
	switch {
	case s.destroyed:
		return nil, c.opError("blocking", s.readersCauseLocked())
	case !s.stream.IsOpen():
		return nil, c.opError("blocking", ErrSocketClosed)
	}
	if err := s.consumedLocked("BlockingConn"); err != nil {
		return nil, err
	}
	s.makeOpt().blocking = c
	s.halfOpen = true
	if s.in.ended {
		c.in.err = io.EOF
	} else {
		s.in.own()
		s.in.chunks = c.in
		s.consumerAddedLocked()
	}
	return c.viewLocked(), nil
}

// blockingConn is the view that BlockingConn returns. It uses no goroutine.
type blockingConn struct {
	s             *Socket
	epoch         int32 // of the connection
	local, remote net.Addr

	reading, writing sync.Mutex // one Read and one Write at a time; taken before s.mu

	// Guarded by s.mu.
	in            *chunks
	readDeadline  deadline
	writeDeadline deadline
	closed        bool  // Close was called
	cause         error // why the connection is over, or the view detached
}

// halfBlockingConn is the view of a socket whose conn can be half open.
type halfBlockingConn struct{ *blockingConn }

// endBlockingLocked detaches the view from the socket, if there is one. s.mu is held.
func (s *Socket) endBlockingLocked(err error) {
	c := s.opt().blocking
	if c == nil {
		return
	}
	if c.cause = err; !s.destroyed {
		s.optional.blocking = nil
	}
	c.readDeadline.stop()
	c.writeDeadline.stop()
	s.roomChangedLocked()
}

func (c *blockingConn) Read(p []byte) (int, error) {
	if c.s.loop().OnLoop() {
		return 0, c.opError("read", ErrOnLoop)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		n, ready, err := c.readSome(p)
		if ready == nil {
			return n, c.opError("read", err)
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
	case c.readDeadline.expired:
		return 0, nil, os.ErrDeadlineExceeded
	case len(c.in.p) > 0:
		n = copy(p, c.in.p)
		if c.in.p = c.in.p[n:]; len(c.in.p) == 0 {
			c.in.p = nil
			c.s.forgetChunkSourceLocked(c.in)
		}
		return n, nil, nil
	case c.in.err != nil:
		return 0, nil, c.in.err
	}
	return 0, c.s.requestChunkLocked(c.in), nil
}

func (c *blockingConn) Write(p []byte) (n int, err error) {
	if c.s.loop().OnLoop() {
		return 0, c.opError("write", ErrOnLoop)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		wrote, room, err := c.writeSome(p[n:min(len(p), n+maxChunk)])
		if n += wrote; room != nil {
			<-room
		} else if err != nil || n == len(p) {
			return n, c.opError("write", err)
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

// roomLocked returns nil if data may be written now, otherwise the channel to wait on, or why nothing may be written.
// s.mu is held.
func (c *blockingConn) roomLocked() (<-chan struct{}, error) {
	if err := c.writeErrorLocked(); err != nil || !c.s.out.needDrain {
		return nil, err
	}
	return c.s.roomLocked(), nil
}

// writeErrorLocked returns why nothing may be written, or nil. s.mu is held.
func (c *blockingConn) writeErrorLocked() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.cause != nil:
		return c.cause
	case c.writeDeadline.expired:
		return os.ErrDeadlineExceeded
	case c.s.out.failed:
		return c.s.failureLocked()
	case c.s.out.ending:
		return ErrWriteAfterEnd
	}
	return nil
}

// ReadFrom writes the data of r. Other goroutines may write between two pieces of it.
func (c *blockingConn) ReadFrom(r io.Reader) (n int64, err error) {
	if r == nil {
		return 0, nilArgument("ReadFrom", "reader")
	}
	if c.s.loop().OnLoop() {
		return 0, c.opError("readfrom", ErrOnLoop)
	}
	file := asFile(r)
	var buf []byte
	for {
		if file != nil {
			sent, ok, err := c.sendFile(file)
			n += int64(sent)
			switch {
			case err != nil:
				return n, c.opError("readfrom", err)
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

// sendFile is Socket.sendFile after waiting for room, as Write does.
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
			sent, ok = c.s.sendFile(f, c.epoch, &c.writeDeadline)
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
		c.stopReadingLocked(net.ErrClosed)
		c.readDeadline.stop()
		c.writeDeadline.stop()
		c.s.roomChangedLocked()
		e = c.s.closeLocked()
	}
	c.s.mu.Unlock()
	e.run()
	if closed {
		return c.opError("close", net.ErrClosed)
	}
	return nil
}

func (c *blockingConn) CloseRead() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	if c.cause == nil {
		c.stopReadingLocked(io.EOF)
	}
	return nil
}

// stopReadingLocked makes the socket discard received data: a peer whose sending stalls might never read what is still
// to be sent. s.mu is held.
func (c *blockingConn) stopReadingLocked(err error) {
	s := c.s
	c.in.p = nil
	if s.in.chunks == c.in {
		s.endChunksLocked(err)
	}
	s.in.mode = flowing
	s.scheduleFlowLocked()
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
	return c.opError("close", err)
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
		return c.opError("set", net.ErrClosed)
	}
	if c.cause != nil {
		return nil // no call can block any more, and no timer may be left
	}
	if reading {
		c.readDeadline.set(c.s, t, func() { c.in.wake(); c.s.updateReadingLocked() })
	}
	if writing {
		c.writeDeadline.set(c.s, t, c.s.roomChangedLocked)
	}
	return nil
}

// opError adds the operation and the addresses to err, unless it has them already.
func (c *blockingConn) opError(op string, err error) error {
	var wrapped *net.OpError
	if err == nil || err == io.EOF || errors.As(err, &wrapped) {
		return err
	}
	return &net.OpError{Op: op, Net: network(c.remote), Source: c.local, Addr: c.remote, Err: err}
}
