package dgram

import (
	"net"

	"evnet/internal/eventloop"
)

// batchSize is the maximum number of messages in one system call, and of messages that one socket receives in
// a turn of the loop.
const batchSize = 32

// maxMessage is more than the size of the longest datagram.
const maxMessage = 64 << 10

// transport sends and receives messages without blocking the loop. The methods that end in Locked are called with
// the socket's mu held.
type transport interface {
	// startLocked begins to receive. It reports false if the kernel cannot watch another descriptor.
	startLocked() bool
	// ready handles an event of the descriptor that the loop watches for the socket. It runs on the loop. The
	// event may be spurious.
	ready(eventloop.Events)
	// flushLocked sends queued messages, as far as that does not block.
	flushLocked()
	// closingLocked is called once the socket is closed. It reports whether queued messages are still sent;
	// Close waits for that then.
	closingLocked() bool
	// close ends the transport, and closes the conn.
	close()
}

func newTransport(s *Socket, conn net.PacketConn) transport {
	if t := newBatchTransport(s, conn); t != nil {
		return t
	}
	return newPlainTransport(s, conn)
}
