//go:build unix

package connect_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// shrinkBacklog makes the listener's backlog so small that it holds few conns.
func shrinkBacklog(t testing.TB, ln *net.TCPListener) {
	raw, err := ln.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }))
	require.NoError(t, err)
}
