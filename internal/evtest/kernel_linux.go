package evtest

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// SocketPair returns both ends of a socketpair of the kind SOCK_STREAM or SOCK_SEQPACKET. They are closed when the test ends.
func SocketPair(t testing.TB, kind int) (here, there *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return conns[0], conns[1]
}

// FillUp writes to conn until the kernel accepts nothing more, and returns the number of bytes.
func FillUp(t testing.TB, conn *net.UnixConn) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for {
			k, err := syscall.Write(int(fd), make([]byte, 4<<10))
			if err != nil {
				assert.Equal(t, syscall.EAGAIN, err)
				return true
			}
			n += k
		}
	}))
	return n
}
