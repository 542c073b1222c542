package evnet

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket that is never connected is removed from the loop's table when its timer is off or has expired: nothing else
// would remove it while the loop runs.
func TestTimeoutOfUnconnectedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLoop()
		off, expired := NewSocket(&SocketOptions{Loop: l}), NewSocket(&SocketOptions{Loop: l})
		require.NoError(t, off.SetTimeout(time.Hour))
		require.NoError(t, off.SetTimeout(0))
		require.NoError(t, expired.SetTimeout(time.Second))
		expired.On.Timeout(func() {
			l.Post(func() {
				assert.Zero(t, off.optional.timerMember.Slot())
				assert.Zero(t, expired.optional.timerMember.Slot())
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
