package dgram

import "net"

// batchSize is how many messages go through one system call, and how many one socket is given in a turn
// of the loop.
const batchSize = 32

// maxMessage is more than the longest datagram there is.
const maxMessage = 64 << 10

// transport moves messages without blocking the loop.
type transport interface {
	// start begins to receive. It reports false where the system has no room for it. s.mu is held.
	start() bool
	// flush sends what is queued, as far as that does not block. s.mu is held.
	flush()
	// closing is told that the socket is closed. It reports whether what is queued still leaves; then
	// Close waits for that. s.mu is held.
	closing() bool
	// close ends it, and closes the conn.
	close()
}

func newTransport(s *Socket, conn net.PacketConn) transport {
	if t := newBatchTransport(s, conn); t != nil {
		return t
	}
	return newPlainTransport(s, conn)
}
