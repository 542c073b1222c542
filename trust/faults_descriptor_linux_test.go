package trust

import (
	"net"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket notices that its conn was closed directly when the peer sends something. A copy of the descriptor that
// stays open does not keep the loop busy.
func TestFaultsConnClosedBehindItsBack(t *testing.T) {
	alternately(t, 0, func(t *testing.T) {
		here, there := pair(t)
		l := evnet.NewLoop()
		s := wrap(l, here)
		consume(s)
		copied, err := here.File()
		require.NoError(t, err)
		closes := 0
		s.On.Close(func(bool) { closes++ })
		var used time.Duration
		const watched = 500 * time.Millisecond
		l.AfterFunc(time.Millisecond, func() { // after the socket was added to the epoll set
			_ = s.Conn().Close()
			_, _ = there.Write([]byte("x"))
			before := ownTime(t)
			l.AfterFunc(watched, func() { used = ownTime(t) - before })
		})
		run(t, l)
		_, _ = copied.Close(), there.Close()
		assert.ErrorIs(t, s.Err(), net.ErrClosed)
		assert.Equal(t, 1, closes)
		assert.Less(t, used, watched/2, "of processor time")
	})
}

// ownTime returns the processor time that this process has used.
func ownTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
