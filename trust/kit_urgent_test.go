//go:build unix

package trust

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// sendUrgent sends one byte out of band, if there is room.
func sendUrgent(t testing.TB, c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if assert.NoError(t, err) {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil) })
	}
}
