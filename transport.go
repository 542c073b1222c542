package evnet

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

const maxChunk = 64 << 10 // the most that one Data event holds, as in Node

var (
	errInvalidRead  = errors.New("evnet: the conn's Read has returned an impossible count")
	errInvalidWrite = errors.New("evnet: the conn's Write has returned an impossible count")
)

// transport moves the bytes of one conn without ever blocking the loop. It knows nothing of events:
// it calls the socket's received, and progressed when the queue has moved. There are two: a
// goTransport serves any conn with goroutines, a pollTransport serves the kernel's sockets by
// readiness, on the loop itself, where there is epoll.
//
// Methods are called with s.mu held, but for halfCloses, sendEnd and close.
type transport interface {
	// setReading starts or stops the flow of data. While the socket is paused a reset is looked out
	// for, where that can be seen.
	setReading(want bool)
	// unread reports whether something has come that the loop has not got round to yet: a limit that is up is
	// not to cut it off. It is called on the loop.
	unread() bool

	// mayWrite reports whether tryWrite and sendEnd may be called: nobody else is writing.
	mayWrite() bool
	// tryWrite hands the conn what it takes of the queue without blocking: nothing, if it cannot tell.
	tryWrite() (moved bool, err error)
	// startWriting lets the queue be emptied when there is room, and the end be sent then.
	startWriting()
	// blame puts a failed write off, if a reader is there that may know better why.
	blame(err error) bool
	// failure is a failed write that is put off.
	failure() error

	// endBlocks reports whether sendEnd may block, so that startWriting is to call it.
	endBlocks() bool
	// endUnderway reports whether it is being called: closing the conn now might cut the end off.
	endUnderway() bool
	// sendEnd ends this side of the conn: by half, or, where that is unknown, whole.
	sendEnd() error
	// halfCloses reports whether the conn may be half open. If not, reading fails once sendEnd was
	// called, and that is the end, not a failure.
	halfCloses() bool

	// retire says that the socket is destroyed: nothing is to be touched any more.
	retire()
	// close closes the conn, with a reset if asked for and known. It follows retire.
	close(reset bool)

	// recall makes the conn free to be given away by detach: nobody is in its Read any more. What it
	// returns is to be awaited, and then it is to be called again; nil says that the conn is free, or
	// why it cannot be.
	recall() (<-chan struct{}, error)
	// keep undoes recall.
	keep()
	// untold is a failure that was read and not told to the socket yet.
	untold() error
	// detach gives the conn away, with what was read and not told; close leaves it alone then.
	detach() (conn net.Conn, rest []byte)
}

// newTransport chooses.
func newTransport(s *Socket, conn net.Conn) transport {
	if t := newPollTransport(s, conn); t != nil {
		return t
	}
	return newGoTransport(s, conn)
}

type halfCloser interface{ CloseWrite() error }

func halfCloses(conn net.Conn) bool {
	_, ok := conn.(halfCloser)
	return ok
}

// sendEnd ends this side of the conn: by half, or, where that is unknown, whole.
func sendEnd(conn net.Conn) error {
	if b := beneathOf(conn); b != nil {
		return b.sendEnd(conn.(*tls.Conn))
	}
	if c, ok := conn.(halfCloser); ok {
		return closeWrite(c)
	}
	return conn.Close()
}

// closeWrite is c.CloseWrite, but that the peer has reset the connection (ENOTCONN) is for the reader to tell.
func closeWrite(c halfCloser) error {
	if err := c.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return nil
}

// isKernelConn reports whether closing and half-closing the conn cannot block. A type that embeds one
// of these is not one: its methods may be its own.
func isKernelConn(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// resetOnClose makes closing the conn a reset, if it knows that.
func resetOnClose(conn net.Conn) {
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
}

// readError is what package net would have made of a failed system call; any other error stays.
func readError(conn net.Conn, err error) error {
	errno, ok := err.(syscall.Errno)
	if !ok {
		return err
	}
	local, remote := conn.LocalAddr(), conn.RemoteAddr()
	return &net.OpError{Op: "read", Net: network(remote), Source: local, Addr: remote, Err: os.NewSyscallError("read", errno)}
}

// ends reports whether err, from reading, is the peer's end.
func ends(s *Socket, t transport, err error) bool {
	return err == io.EOF || err != nil && s.out.endSent && !t.halfCloses()
}
