package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
)

// Functions for conns of all kinds.

var (
	errInvalidRead  = errors.New("evnet: the conn's Read returned an impossible count")
	errWouldBlock   = errors.New("evnet: the kernel has no bytes, or accepts none")
	errInvalidWrite = errors.New("evnet: the conn's Write returned an impossible count")
)

type halfCloser interface{ CloseWrite() error }

func halfCloses(conn net.Conn) bool {
	_, ok := conn.(halfCloser)
	return ok
}

// sendEnd ends this side of the conn. It closes a conn that does not support half-close.
func sendEnd(conn net.Conn) error {
	if a := adapterOf(conn); a != nil {
		return a.sendEnd(conn.(*tls.Conn))
	}
	if c, ok := conn.(halfCloser); ok {
		return closeWrite(c)
	}
	return conn.Close()
}

// closeWrite calls c.CloseWrite. It ignores ENOTCONN, because the reader reports the reset by the peer.
func closeWrite(c halfCloser) error {
	if err := c.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return nil
}

// IsKernelConn reports whether closing and half-closing the conn cannot block. It returns false for a type that embeds a
// kernel conn, because that type may override the methods.
func IsKernelConn(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// MayBlock reports whether methods of the conn, or of a conn below it, may be the user's code, and so may block.
func MayBlock(conn net.Conn) bool { return kernelConnOf(conn) == nil }

// resetOnClose makes Close of the conn send a reset, if the conn supports that.
func resetOnClose(conn net.Conn) {
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
}

// readError returns the error of package net for a failed system call. It does not change any other error.
func readError(conn net.Conn, err error) error {
	code, ok := err.(syscall.Errno)
	if !ok {
		return err
	}
	return &net.OpError{Op: "read", Net: networkOf(conn.RemoteAddr()), Source: conn.LocalAddr(), Addr: conn.RemoteAddr(), Err: os.NewSyscallError("read", code)}
}

func networkOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	return addr.Network()
}

// Lowest returns the innermost conn, which has the options of the kernel. It calls methods of the conns, which may block
// or panic.
func Lowest(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}

// kernelConnOf returns the kernel conn of conn, also below TLS. It returns nil if it cannot find one without calling
// methods of user-provided types, which may block.
func kernelConnOf(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn, *net.UnixConn:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		case *adapter:
			conn = c.Conn
		default:
			return nil
		}
	}
}
