package evnet

import (
	"context"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket that is never connected leaves the loop's table once its timer is off, or has told: nobody else
// would let it go while the loop runs.
func TestTimeoutOfUnconnectedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop()
		off, told := NewSocket(&SocketOptions{Loop: l}), NewSocket(&SocketOptions{Loop: l})
		require.NoError(t, off.SetTimeout(time.Hour))
		require.NoError(t, off.SetTimeout(0))
		require.NoError(t, told.SetTimeout(time.Second))
		told.On.Timeout(func() {
			l.Post(func() {
				assert.Zero(t, off.rarity.timerMember.Slot())
				assert.Zero(t, told.rarity.timerMember.Slot())
			})
		})
		l.Ref()
		time.AfterFunc(2*time.Second, l.Unref)
		l.Run()
	})
}

// A time-out that was set before a Run that has ended since is that of the connection all the same.
func TestTimeoutSetBeforeAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop()
		here, there := net.Pipe()
		defer there.Close()
		s := NewSocket(&SocketOptions{Loop: l, Dial: func(context.Context, string, string) (net.Conn, error) {
			return here, nil
		}})
		timeouts := 0
		s.On.Timeout(func() { timeouts++; s.Destroy(nil) })
		require.NoError(t, s.SetTimeout(time.Second))
		l.Run()
		s.Connect("tcp", "127.0.0.1:1")
		l.AfterFunc(time.Minute, func() { s.Destroy(nil) })
		l.Run()
		assert.Equal(t, 1, timeouts)
	})
}

// A write of which the system has taken a part, but no whole segment, is let off one period, and no more.
func TestTimeoutWhileASegmentProgresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := NewLoop(), time.Now()
		here, there := net.Pipe()
		s := Wrap(here, &SocketOptions{Loop: l, IdleTimeout: 3 * time.Second})
		var told, closed time.Duration
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		s.On.Timeout(func() { told = time.Since(began) })
		s.On.Close(func(bool) { closed = time.Since(began) })
		require.NoError(t, s.SetTimeout(2*time.Second))
		_, _ = s.Write(make([]byte, 1000))
		l.AfterFunc(time.Second, func() {
			s.mu.Lock()
			s.out.took(s, 10) // as a kernel socket's writer counts it
			s.mu.Unlock()
		})
		l.Run()
		assert.Equal(t, 4*time.Second, told)
		assert.Equal(t, 6*time.Second, closed)
		_ = there.Close()
	})
}
