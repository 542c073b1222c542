//go:build !unix || aix

package transport

import "net"

// rawConn does not exist where writing to a descriptor may block: the writer goroutine writes to every conn.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) Read([]byte) (int, error) { return 0, nil }

func (*rawConn) tryWrite([]byte) (int, error) { return 0, nil }

func (*rawConn) writeNow([]byte) (int, error) { return 0, nil }

func (*rawConn) whenWritable(func(func([]byte) (int, error)) bool) error { return nil }

func (*rawConn) unread() bool { return false }

func (*rawConn) untilReset() error { return nil }

func (*rawConn) peek() (bool, error) { return false, nil }

func (*rawConn) readNow(net.Conn, []byte) (int, error) { return 0, errWouldBlock }
