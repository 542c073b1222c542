//go:build unix

package trust

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// readUrgent makes the kernel deliver out-of-band bytes in the stream.
func readUrgent(c *net.TCPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_OOBINLINE, 1) })
	}
}

// sendUrgent sends one byte out of band, if there is room.
func sendUrgent(t testing.TB, c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if assert.NoError(t, err) {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil) })
	}
}
