package trust

import (
	"bytes"
	"net"
	"runtime"
	"syscall"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Linux keeps the data that the kernel received before a reset. The socket delivers it, and reports the reset after
// it.
func TestFaultsResetBehindUnreadBytes(t *testing.T) {
	text := pattern(incoming, 0, 100_000)
	onEach(t, func(t *testing.T) {
		here, there := pair(t)
		require.NoError(t, here.SetReadBuffer(1<<20))
		l := evnet.NewLoop()
		s := wrap(l, here)
		var c collect
		s.On.Data(c.add)
		s.Pause()
		events := ""
		s.On.End(func() { events += "end " })
		s.On.Error(func(error) { events += "error " })
		s.On.Close(func(bool) { events += "close" })
		aside(l, func() {
			_, err := there.Write(text)
			assert.NoError(t, err)
			defer bound(t, "the bytes and the reset do not arrive").Stop()
			// The reset would discard what has not arrived yet.
			await(t, here, func(fd int) bool {
				n, _, _ := syscall.Recvfrom(fd, make([]byte, 2*len(text)), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
				return n == len(text)
			})
			_ = there.SetLinger(0)
			_ = there.Close()
			await(t, here, func(fd int) bool {
				const closed = 7 // the first byte of struct tcp_info
				state, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO)
				return err != nil || state&0xff == closed
			})
			l.Do(func() {})
			l.Post(func() { assert.Empty(t, events); s.Resume() })
		})
		run(t, l)
		assert.True(t, bytes.Equal(text, c.got.Bytes()), "%d bytes of %d", c.got.Len(), len(text))
		assert.Equal(t, "error close", events)
		assert.ErrorIs(t, s.Err(), syscall.ECONNRESET)
	})
}

// await polls the descriptor until ready reports true.
func await(t testing.TB, c *net.TCPConn, ready func(fd int) bool) {
	raw, err := c.SyscallConn()
	if !assert.NoError(t, err) {
		return
	}
	for done := false; !done && err == nil; runtime.Gosched() {
		err = raw.Control(func(fd uintptr) { done = ready(int(fd)) })
	}
	assert.NoError(t, err)
}
