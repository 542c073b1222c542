package evnet

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The kernel says what a peer has acknowledged, or read. The handshake of TCP counts as one byte or none.
func TestKernelProgress(t *testing.T) {
	const n = 1000
	here, there := tcpPair(t)
	before, _ := kernelProgress(here)
	_, err := here.Write(make([]byte, n))
	require.NoError(t, err)
	_, err = io.ReadFull(there, make([]byte, n))
	require.NoError(t, err)
	_, err = there.Write([]byte("x")) // with the acknowledgement, if that has not left yet
	require.NoError(t, err)
	_, err = here.Read(make([]byte, 1))
	require.NoError(t, err)
	acked, waiting := kernelProgress(here)
	assert.EqualValues(t, n, acked-before)
	assert.Zero(t, waiting)

	mine, peer := unixPair(t)
	_, err = mine.Write(make([]byte, n))
	require.NoError(t, err)
	acked, waiting = kernelProgress(mine)
	assert.Zero(t, acked)
	assert.GreaterOrEqual(t, waiting, int32(n))
	_, err = io.ReadFull(peer, make([]byte, n))
	require.NoError(t, err)
	_, waiting = kernelProgress(mine)
	assert.Zero(t, waiting)

	_ = mine.Close()
	for _, conn := range []net.Conn{nil, mine, &net.TCPConn{}} {
		acked, waiting = kernelProgress(conn)
		assert.Zero(t, acked)
		assert.EqualValues(t, -1, waiting)
	}
}
