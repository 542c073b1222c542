package netpoll_test

import (
	"io"
	"net"
	"testing"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tcpPair returns two connected TCP sockets.
func tcpPair(t testing.TB) (here, there net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	there, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

// Progress reports acknowledged bytes of TCP, and unread ones of Unix sockets. The kernel may count the SYN as a byte.
func TestProgress(t *testing.T) {
	const n = 1000
	here, there := tcpPair(t)
	before, _ := netpoll.Progress(here)
	_, err := here.Write(make([]byte, n))
	require.NoError(t, err)
	_, err = io.ReadFull(there, make([]byte, n))
	require.NoError(t, err)
	_, err = there.Write([]byte("x")) // carries the acknowledgement, if that was not sent yet
	require.NoError(t, err)
	_, err = here.Read(make([]byte, 1))
	require.NoError(t, err)
	acked, waiting := netpoll.Progress(here)
	assert.EqualValues(t, n, acked-before)
	assert.Zero(t, waiting)

	mine, peer := pair(t)
	_, err = mine.Write(make([]byte, n))
	require.NoError(t, err)
	acked, waiting = netpoll.Progress(mine)
	assert.Zero(t, acked)
	assert.GreaterOrEqual(t, waiting, int32(n))
	_, err = io.ReadFull(peer, make([]byte, n))
	require.NoError(t, err)
	_, waiting = netpoll.Progress(mine)
	assert.Zero(t, waiting)

	_ = mine.Close()
	for _, conn := range []net.Conn{nil, mine, &net.TCPConn{}} {
		acked, waiting = netpoll.Progress(conn)
		assert.Zero(t, acked)
		assert.EqualValues(t, -1, waiting)
	}
}
