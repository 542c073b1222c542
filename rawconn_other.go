//go:build !unix

package evnet

import "net"

// rawConn does not exist where writing to a descriptor may block: every conn is written to by the
// writer goroutine.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) tryWrite([]byte) (int, error) { return 0, nil }

func (*rawConn) whenWritable(func(func([]byte) (int, error)) bool) error { return nil }

func (*rawConn) untilReset() error { return nil }
