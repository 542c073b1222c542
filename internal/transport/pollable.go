package transport

import (
	"errors"
	"net"

	"evnet/internal/nodecode"
)

// Go's poller refuses to wait for data, with the error "not pollable", after an event that reports nothing but an error. The
// kernel reports such an event while a reset arrives, and if the error does not concern reading, such as a timestamp that
// the program does not fetch. Reading directly returns the data or the true cause.

// isNotPollable reports whether err is internal/poll.ErrNotPollable.
func isNotPollable(err error) bool {
	if err == nil {
		return false // without an allocation
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Err != nil && op.Err.Error() == "not pollable"
}

// readKernel is Read of a kernel conn. raw is of the conn, where it exists.
func readKernel(conn net.Conn, raw *rawConn, p []byte) (n int, err error) {
	if raw == nil {
		return conn.Read(p)
	}
	n, err = raw.Read(p)
	if !isNotPollable(err) || len(p) == 0 {
		return n, err
	}
	var retries retry
	for isNotPollable(err) {
		if n, err = raw.readNow(conn, p); err != errWouldBlock {
			return n, err
		}
		retries.again(noLimit)
		n, err = raw.Read(p) // also reports a deadline, and that the conn was closed
	}
	return n, err
}

// errNoCause replaces "not pollable" if the conn repeats it, and the kernel does not report the cause.
func errNoCause(err error) error {
	return &nodecode.Error{Text: "the kernel reports an error of the connection, but not its cause", Code: "EIO", Cause: err}
}

// pollCause returns the cause of a "not pollable" that a conn of the program, such as a *tls.Conn, has returned repeatedly.
func pollCause(conn net.Conn, err error) error {
	var op *net.OpError
	errors.As(err, &op)
	cause := *op
	cause.Err = errNoCause(op.Err)
	if c := kernelConnOf(conn); c != nil {
		if raw := newRawConn(c); raw != nil {
			if _, failed := raw.peek(); failed != nil {
				return readError(c, failed)
			}
		}
	}
	return &cause
}
