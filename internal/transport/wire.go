package transport

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The activity below TLS. One record may take a long time to arrive or to be sent, during which package tls reports nothing.

// wire records the bytes that have passed between package tls and its conn.
type wire struct {
	began    time.Time
	last     atomic.Int64 // the time of the last byte, since began
	received atomic.Int64 // bytes that were read
	sent     atomic.Int64 // bytes that the conn has accepted
	next     atomic.Pointer[func()]
}

// note records activity.
func (w *wire) note() {
	w.last.Store(int64(time.Since(w.began)))
	if fn := w.next.Load(); fn != nil && w.next.CompareAndSwap(fn, nil) {
		(*fn)()
	}
}

func (w *wire) noteReceived(n int) {
	if n > 0 {
		w.received.Add(int64(n))
		w.note()
	}
}

func (w *wire) noteSent(n int) {
	if n > 0 {
		w.sent.Add(int64(n))
		w.note()
	}
}

// WireActive returns when the last byte below TLS was received or sent. It returns the zero time without TLS, and for a TLS conn
// that the stream has not created.
func (s *Stream) WireActive() (t time.Time) {
	if a := adapterOf(s.conn); a != nil {
		if last := a.wire.last.Load(); last > 0 {
			t = a.wire.began.Add(time.Duration(last))
		}
	}
	return t
}

// WireReceived returns the number of bytes received below TLS, in the cases in which WireActive returns a time.
func (s *Stream) WireReceived() int64 {
	if a := adapterOf(s.conn); a != nil {
		return a.wire.received.Load()
	}
	return 0
}

// OnWireActivity calls fn once, on any goroutine, when the next byte below TLS is received or sent.
func (s *Stream) OnWireActivity(fn func()) {
	if a := adapterOf(s.conn); a != nil {
		a.wire.next.Store(&fn)
	}
}

// notingConn records what each Write accepts.
type notingConn struct {
	net.Conn
	wire *wire
}

func (c notingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wire.noteSent(min(n, len(p)))
	return n, err
}

// wireWriter writes to a kernel conn and records each part that the kernel accepts. A Write of package net reports all of them
// together.
type wireWriter struct {
	conn net.Conn
	raw  *rawConn
	wire *wire

	mu sync.Mutex // guards the arguments and results of a Write, like the lock of Go's descriptor

	p   []byte
	n   int
	err error
	fn  func(write func([]byte) (int, error)) (done bool) // made once
}

// newWireWriter returns nil without raw, for a conn that supports only its Write method.
func newWireWriter(conn net.Conn, raw *rawConn, w *wire) *wireWriter {
	if raw == nil {
		return nil
	}
	t := &wireWriter{conn: conn, raw: raw, wire: w}
	t.fn = t.writeSome
	return t
}

func (t *wireWriter) writeSome(write func([]byte) (int, error)) (done bool) {
	for t.n < len(t.p) {
		n, err := write(t.p[t.n:])
		t.n += n
		t.wire.noteSent(n)
		if t.err = err; err != nil || n == 0 {
			return err != nil
		}
	}
	return true
}

// Write has the results of Write of the conn.
func (t *wireWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p, t.n, t.err = p, 0, nil
	err := t.raw.whenWritable(t.fn)
	if t.p = nil; err == nil {
		err = t.err
	}
	switch e := err.(type) {
	case syscall.Errno:
		local, remote := t.conn.LocalAddr(), t.conn.RemoteAddr()
		err = &net.OpError{Op: "write", Net: networkOf(remote), Source: local, Addr: remote, Err: os.NewSyscallError("write", e)}
	case *net.OpError:
		e.Op = "write"
	}
	return t.n, err
}
