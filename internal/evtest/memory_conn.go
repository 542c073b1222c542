package evtest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// MemoryConn is one end of an in-memory connection that behaves like a kernel connection: it has buffers, half-close
// and resets. net.Pipe has none of these.
type MemoryConn struct {
	net.Conn      // nil: the methods that MemoryConn does not define must not be called
	in, out       *MemoryStream
	local, remote net.Addr
	mu            sync.Mutex
	linger        int
}

// MemoryStream is one direction.
type MemoryStream struct {
	mu         sync.Mutex
	moved      *sync.Cond
	buf        []byte
	ended      bool  // the writer has ended
	readClosed bool  // the reader has closed
	cut        error // the error that both sides get
	deadline   time.Time
	timer      *time.Timer
}

const MemoryBuffer = 1 << 20

func NewMemoryStream() *MemoryStream {
	s := &MemoryStream{}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// MemoryPair is a connection between two addresses.
func MemoryPair(client, server net.Addr) (c, s *MemoryConn) {
	there, back := NewMemoryStream(), NewMemoryStream()
	return &MemoryConn{in: back, out: there, local: client, remote: server, linger: -1},
		&MemoryConn{in: there, out: back, local: server, remote: client, linger: -1}
}

func (c *MemoryConn) LocalAddr() net.Addr { return c.local }

func (c *MemoryConn) RemoteAddr() net.Addr { return c.remote }

func (c *MemoryConn) Read(p []byte) (int, error) {
	s := c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readClosed:
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

func (c *MemoryConn) Write(p []byte) (n int, err error) {
	s := c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.cut != nil:
			return n, c.failed("write", s.cut)
		case s.readClosed:
			return n, c.failed("write", syscall.EPIPE)
		}
		took := min(len(p)-n, max(MemoryBuffer-len(s.buf), 0))
		s.buf = append(s.buf, p[n:n+took]...)
		s.moved.Broadcast()
		if n += took; n == len(p) {
			return n, nil
		}
		s.moved.Wait()
	}
}

func (c *MemoryConn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: os.NewSyscallError(op, err)}
}

func (c *MemoryConn) CloseWrite() error {
	c.out.change(func(s *MemoryStream) { s.ended = true })
	return nil
}

// Close resets the connection if bytes are unread, as the kernel does, or if SetLinger(0) was called.
func (c *MemoryConn) Close() error {
	c.mu.Lock()
	reset := c.linger == 0
	c.mu.Unlock()
	c.in.change(func(s *MemoryStream) {
		reset = reset || len(s.buf) > 0
		s.readClosed, s.buf = true, nil
		if s.timer != nil {
			s.timer.Stop()
		}
	})
	c.out.change(func(s *MemoryStream) {
		if reset {
			s.cut, s.buf = syscall.ECONNRESET, nil
		}
		s.ended = true
	})
	if reset {
		c.in.change(func(s *MemoryStream) { s.cut = syscall.ECONNRESET })
	}
	return nil
}

func (c *MemoryConn) SetLinger(sec int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linger = sec
	return nil
}

// SetDeadline sets the read deadline only. Close wakes a Write.
func (c *MemoryConn) SetDeadline(d time.Time) error { return c.SetReadDeadline(d) }

func (c *MemoryConn) SetReadDeadline(d time.Time) error {
	c.in.change(func(s *MemoryStream) {
		s.deadline = d
		if s.timer != nil {
			s.timer.Stop()
		}
		if wait := time.Until(d); !d.IsZero() && wait > 0 {
			s.timer = time.AfterFunc(wait, func() { s.change(func(*MemoryStream) {}) })
		}
	})
	return nil
}

func (s *MemoryStream) change(fn func(*MemoryStream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
	s.moved.Broadcast()
}
