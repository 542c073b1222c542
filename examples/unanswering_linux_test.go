package examples_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unansweringAddress returns an address that does not accept connections: the queue of its listener is full.
func unansweringAddress(t *testing.T) string {
	t.Helper()
	const backlog = 1 // Linux keeps one more
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	raw, err := ln.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), backlog) }))
	require.NoError(t, err)
	for range backlog + 1 {
		dial(t, ln.Addr())
	}
	// A connection counts only after the last packet of its handshake.
	require.Eventually(t, func() bool { return queued(t, ln.Addr().(*net.TCPAddr)) > backlog }, patience, time.Millisecond)
	return ln.Addr().String()
}

// queued returns the number of connections that wait to be accepted. It reads the number from the kernel, because a
// timeout cannot distinguish a full queue from a slow test.
func queued(t *testing.T, at *net.TCPAddr) (n int) {
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	listens := fmt.Sprintf(" %08X:%04X 00000000:0000 0A ", binary.NativeEndian.Uint32(at.IP.To4()), at.Port)
	_, queues, found := strings.Cut(string(table), listens)
	require.True(t, found, "no listener at %v: %s", at, table)
	_, err = fmt.Sscanf(queues, "00000000:%X", &n)
	require.NoError(t, err)
	return n
}
