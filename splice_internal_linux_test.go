package evnet

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/netpoll"
)

// Where a tube cannot be sent from any more, what is in it comes back before what is queued behind it.
func TestSpliceTakenBack(t *testing.T) {
	first, behind := strings.Repeat("first", 5_000), strings.Repeat("behind", 5_000)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	there, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	defer here.Close()
	_, err = there.Write([]byte(first))
	require.NoError(t, err)
	require.NoError(t, there.Close())
	raw, err := here.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)

	l := NewLoop()
	tube := l.host().pipes.take()
	require.NotNil(t, tube)
	o := &outbound{outbox: &outbox{tube: tube, tubeFrom: l}}
	for c := netpoll.NewCall(); tube.Len() < len(first); {
		_, err := c.Fill(raw, tube)
		require.NoError(t, err)
	}
	o.queued = len(first) + len(behind)
	o.add([]byte(behind))
	o.pour()
	o.pour() // once is enough
	assert.Nil(t, o.tube)
	assert.Zero(t, l.host().pipes.used)
	got := ""
	for o.queue.Len() > 0 {
		got += string(*o.queue.Pop())
	}
	assert.Equal(t, first+behind, got)
}

// What waits in a tube holds its source back, though it is less than the high-water mark: nothing else is read
// until it has left.
func TestSpliceHoldsOneTube(t *testing.T) {
	onPoll(t)
	const piece = 32 << 10
	l := NewLoop()
	from, fromPeer := unixPair(t)
	to, toPeer := unixPair(t)
	src, dst := onLoop(l, from), onLoop(l, to)
	require.Less(t, piece, dst.HighWaterMark())
	src.Pipe(dst)
	src.polled.bulk = true // as after a first large chunk
	before, filled := spliced.Load(), fill(t, to)
	send := func() {
		_, err := fromPeer.Write(make([]byte, piece))
		require.NoError(t, err)
	}
	send()
	rounds(t, l, 3, func() {
		assert.True(t, src.Paused())
		send()
		rounds(t, l, 3, func() {
			assert.EqualValues(t, piece, src.BytesRead())
			assert.Equal(t, piece, dst.BufferedAmount())
			assert.False(t, dst.NeedDrain())
			_ = fromPeer.Close()
			go func() {
				n, err := io.Copy(io.Discard, toPeer)
				assert.NoError(t, err)
				assert.EqualValues(t, filled+2*piece, n)
				_ = toPeer.Close()
			}()
		})
	})
	dst.Resume()
	runs(t, l)
	assert.EqualValues(t, 2*piece, spliced.Load()-before)
}

// fill writes until the kernel has no room left, behind the back of the conn's socket.
func fill(t testing.TB, conn *net.UnixConn) (n int) {
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
