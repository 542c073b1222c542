//go:build unix

package transport

import (
	"io"
	"net"
	"syscall"
)

// rawConn writes to a kernel socket without blocking, under the lock of Go's own descriptor, so that a closed
// descriptor is never touched.
type rawConn struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // made once

	// The arguments and results of try.
	p   []byte
	n   int
	err error
}

func newRawConn(conn net.Conn) *rawConn {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if raw == nil || err != nil {
		return nil
	}
	r := &rawConn{raw: raw}
	r.try = func(fd uintptr) bool {
		r.n, r.err = writeFD(fd, r.p)
		return true
	}
	return r
}

func (r *rawConn) tryWrite(p []byte) (int, error) {
	r.p, r.n, r.err = p, 0, nil
	err := r.raw.Write(r.try)
	r.p = nil
	if err == nil {
		err = r.err
	}
	return r.n, err
}

// writeNow is tryWrite, also while another goroutine is in whenWritable.
func (r *rawConn) writeNow(p []byte) (n int, err error) {
	controlErr := r.raw.Control(func(fd uintptr) { n, err = writeFD(fd, p) })
	if controlErr != nil {
		err = controlErr
	}
	return n, err
}

// whenWritable calls fn whenever the conn is writable, until fn returns true or the conn is closed.
func (r *rawConn) whenWritable(fn func(write func([]byte) (int, error)) bool) error {
	return r.raw.Write(func(fd uintptr) bool {
		return fn(func(p []byte) (int, error) { return writeFD(fd, p) })
	})
}

// untilReset waits, without reading, until the peer has reset the conn, a deadline has passed or the conn is closed. The
// error distinguishes the cases. Unread bytes hide a reset that follows them.
func (r *rawConn) untilReset() error {
	for retries := retry(0); ; retries.again(noLimit) {
		if err := r.waitForReset(); !isNotPollable(err) {
			return err
		}
		if _, err := r.peek(); err != nil {
			return err
		}
	}
}

// waitForReset is untilReset, except that Go's poller may refuse to wait.
func (r *rawConn) waitForReset() error {
	var peeked [1]byte
	var failed error
	err := r.raw.Read(func(fd uintptr) bool {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			_, _, failed = syscall.Recvfrom(int(fd), peeked[:], syscall.MSG_PEEK)
		}
		if failed == syscall.EAGAIN {
			failed = nil
		}
		return failed != nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// readNow is Read without waiting. It returns errWouldBlock if there is nothing to read.
func (r *rawConn) readNow(conn net.Conn, p []byte) (n int, err error) {
	var failed error
	err = r.raw.Control(func(fd uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			n, failed = syscall.Read(int(fd), p)
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed == syscall.EAGAIN:
		return 0, errWouldBlock
	case failed != nil:
		return 0, readError(conn, failed)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// peek reports whether there are bytes to read. If reading would fail, it returns the error of the system call, which the
// kernel reports only once.
func (r *rawConn) peek() (unread bool, failed error) {
	var p [1]byte
	n := 0
	err := r.raw.Control(func(fd uintptr) {
		for failed = syscall.EINTR; failed == syscall.EINTR; {
			n, _, failed = syscall.Recvfrom(int(fd), p[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		}
	})
	switch {
	case err != nil:
		return false, err
	case failed == syscall.EAGAIN:
		return false, nil
	}
	return n > 0, failed
}

// writeFD writes as much as the kernel accepts. It returns 0 and no error if the kernel accepts nothing.
func writeFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		switch err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
