//go:build unix && !aix

package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"evnet/internal/race"
)

// rawConn reads from and writes to a kernel socket, under the lock of Go's own descriptor, so that a closed descriptor is
// never touched. A call on the descriptor does not block, even if another holder of it has cleared O_NONBLOCK: closing a
// conn waits for such calls. One goroutine at a time may read, and one may write.
type rawConn struct {
	conn     net.Conn
	raw      syscall.RawConn
	datagram bool // a message may be empty

	receive, try func(fd uintptr) bool // made once

	// The arguments and results of receive and try.
	in, out operation
}

type operation struct {
	p   []byte
	n   int
	err error
}

func newRawConn(conn net.Conn) *rawConn {
	var raw syscall.RawConn
	var err error
	datagram := false
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
		datagram = networkOf(c.LocalAddr()) == "unixgram"
	}
	if raw == nil || err != nil {
		return nil
	}
	r := &rawConn{conn: conn, raw: raw, datagram: datagram}
	r.receive = func(fd uintptr) bool {
		r.in.n, r.in.err = receiveFD(fd, r.in.p, 0)
		return r.in.err != syscall.EAGAIN
	}
	r.try = func(fd uintptr) bool {
		r.out.n, r.out.err = writeFD(fd, r.out.p)
		return true
	}
	return r
}

// Read is Read of the conn. It waits in Go's network poller.
func (r *rawConn) Read(p []byte) (int, error) {
	r.in = operation{p: p}
	err := r.raw.Read(r.receive)
	n, failed := r.in.n, r.in.err
	r.in.p = nil
	switch {
	case err != nil: // closed, or the deadline has passed
		return 0, r.readError(err)
	case failed != nil:
		return 0, r.readError(os.NewSyscallError("read", failed))
	case n == 0 && len(p) > 0 && !r.datagram:
		return 0, io.EOF
	}
	return n, nil
}

// readError returns the error that Read of the conn returns for err.
func (r *rawConn) readError(err error) error {
	var of *net.OpError
	if errors.As(err, &of) {
		err = of.Err
	}
	local, remote := r.conn.LocalAddr(), r.conn.RemoteAddr()
	return &net.OpError{Op: "read", Net: networkOf(local), Source: local, Addr: remote, Err: err}
}

func (r *rawConn) tryWrite(p []byte) (int, error) {
	r.out = operation{p: p}
	err := r.raw.Write(r.try)
	r.out.p = nil
	if err == nil {
		err = r.out.err
	}
	return r.out.n, err
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
		_, failed = receiveFD(fd, peeked[:], syscall.MSG_PEEK)
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
		n, failed = receiveFD(fd, p, 0)
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

// unread reports whether there is received data.
func (r *rawConn) unread() (unread bool) {
	var peeked [1]byte
	_ = r.raw.Control(func(fd uintptr) {
		n, _ := receiveFD(fd, peeked[:], syscall.MSG_PEEK)
		unread = n > 0
	})
	return unread
}

// receiveFD reads received bytes. It returns EAGAIN if there are none.
func receiveFD(fd uintptr, p []byte, flags int) (int, error) {
	for {
		n, _, err := syscall.Recvfrom(int(fd), p, flags|syscall.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		if n = max(n, 0); race.Enabled {
			race.Wrote(p[:n])
			_, _ = syscall.Read(int(fd), nil) // a write happens before it, for the race detector
		}
		return n, err
	}
}

// writeFD writes as much as the kernel accepts. It returns 0 and no error if the kernel accepts nothing.
func writeFD(fd uintptr, p []byte) (int, error) {
	if race.Enabled {
		race.Read(p)
		_, _ = syscall.Write(-1, nil) // happens before the read that receives the bytes, for the race detector
	}
	for {
		n, err := syscall.SendmsgN(int(fd), p, nil, nil, syscall.MSG_DONTWAIT)
		switch err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
