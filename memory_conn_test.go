package evnet_test

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memoryConn is one end of a connection in memory that behaves as the kernel's do: it has buffers, ends by
// half, and knows resets. net.Pipe has none of this.
type memoryConn struct {
	net.Conn      // none: what is not here must not be called
	in, out       *memoryStream
	local, remote net.Addr
	mu            sync.Mutex
	linger        int
}

// memoryStream is one direction.
type memoryStream struct {
	mu       sync.Mutex
	moved    *sync.Cond
	buf      []byte
	ended    bool  // by the writer
	deaf     bool  // the reader has closed
	cut      error // what both are told
	deadline time.Time
	timer    *time.Timer
}

const memoryBuffer = 1 << 20

func newMemoryStream() *memoryStream {
	s := &memoryStream{}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// memoryPair is a connection between two addresses.
func memoryPair(client, server net.Addr) (c, s *memoryConn) {
	there, back := newMemoryStream(), newMemoryStream()
	return &memoryConn{in: back, out: there, local: client, remote: server, linger: -1},
		&memoryConn{in: there, out: back, local: server, remote: client, linger: -1}
}

func (c *memoryConn) LocalAddr() net.Addr  { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr { return c.remote }

func (c *memoryConn) Read(p []byte) (int, error) {
	s := c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.deaf:
			return 0, net.ErrClosed
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		case s.cut != nil:
			return 0, c.failed("read", s.cut)
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			s.moved.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.moved.Wait()
	}
}

func (c *memoryConn) Write(p []byte) (n int, err error) {
	s := c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.cut != nil:
			return n, c.failed("write", s.cut)
		case s.deaf:
			return n, c.failed("write", syscall.EPIPE)
		}
		took := min(len(p)-n, max(memoryBuffer-len(s.buf), 0))
		s.buf = append(s.buf, p[n:n+took]...)
		s.moved.Broadcast()
		if n += took; n == len(p) {
			return n, nil
		}
		s.moved.Wait()
	}
}

func (c *memoryConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: os.NewSyscallError(op, err)}
}

func (c *memoryConn) CloseWrite() error {
	c.out.change(func(s *memoryStream) { s.ended = true })
	return nil
}

// Close resets the connection where bytes were left unread, as the kernel does, or was told to.
func (c *memoryConn) Close() error {
	c.mu.Lock()
	reset := c.linger == 0
	c.mu.Unlock()
	c.in.change(func(s *memoryStream) {
		reset = reset || len(s.buf) > 0
		s.deaf, s.buf = true, nil
		if s.timer != nil {
			s.timer.Stop()
		}
	})
	c.out.change(func(s *memoryStream) {
		if reset {
			s.cut, s.buf = syscall.ECONNRESET, nil
		}
		s.ended = true
	})
	if reset {
		c.in.change(func(s *memoryStream) { s.cut = syscall.ECONNRESET })
	}
	return nil
}

func (c *memoryConn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = sec
	return nil
}

// SetDeadline is that of reading: a Write is woken by Close.
func (c *memoryConn) SetDeadline(d time.Time) error { return c.SetReadDeadline(d) }

func (c *memoryConn) SetReadDeadline(d time.Time) error {
	c.in.change(func(s *memoryStream) {
		s.deadline = d
		if s.timer != nil {
			s.timer.Stop()
		}
		if wait := time.Until(d); !d.IsZero() && wait > 0 {
			s.timer = time.AfterFunc(wait, func() { s.change(func(*memoryStream) {}) })
		}
	})
	return nil
}

func (s *memoryStream) change(fn func(*memoryStream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
	s.moved.Broadcast()
}
