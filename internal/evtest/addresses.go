package evtest

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// ClosedPort returns an address of 127.0.0.1 with no listener.
func ClosedPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

func Port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// FreePort returns the port of such an address.
func FreePort(t testing.TB) string { return Port(ClosedPort(t)) }

// SocketDir makes a directory whose path is short enough for a socket. The path of t.TempDir may be too long.
func SocketDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func SocketPath(t testing.TB) string { return filepath.Join(SocketDir(t), "s") }

// LeaveStale leaves behind a socket file to which no socket is bound.
func LeaveStale(t testing.TB, path string) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
}
