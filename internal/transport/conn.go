package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
)

// What conns of all kinds support.

var (
	errInvalidRead  = errors.New("evnet: the conn's Read has returned an impossible count")
	errInvalidWrite = errors.New("evnet: the conn's Write has returned an impossible count")
)

type halfCloser interface{ CloseWrite() error }

func halfCloses(conn net.Conn) bool {
	_, ok := conn.(halfCloser)
	return ok
}

// sendEnd ends this side of the conn: by half, or, if it does not support that, whole.
func sendEnd(conn net.Conn) error {
	if a := adapterOf(conn); a != nil {
		return a.sendEnd(conn.(*tls.Conn))
	}
	if c, ok := conn.(halfCloser); ok {
		return closeWrite(c)
	}
	return conn.Close()
}

// closeWrite is c.CloseWrite. That the peer has reset the connection (ENOTCONN) is left to the reader to report.
func closeWrite(c halfCloser) error {
	if err := c.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return nil
}

// IsKernelConn reports whether closing and half-closing the conn cannot block. A type that embeds one of these is not
// one: its methods may be its own.
func IsKernelConn(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// resetOnClose makes closing the conn a reset, if it supports that.
func resetOnClose(conn net.Conn) {
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
}

// readError is what package net would have made of a failed system call; any other error stays.
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

// Lowest returns the conn under all others, which has the options of the kernel. It calls methods of the conns, which
// may block or panic.
func Lowest(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}

// kernelConnOf returns the kernel conn of conn, also one under TLS, nil if there is none that is found without calling
// a method of a type of the program's own: that may block.
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
