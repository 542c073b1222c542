package evnet

import (
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket that is never connected is removed from the loop's table when its timer is stopped or has expired. Nothing
// else would remove it while the loop runs.
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

// A timeout that was set before an earlier Run still applies to the connection.
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

// A socket whose conn accepts all writes has no write timer. Once a queue is sent, the timer does not run.
func TestWriteTimeout_RestsWhileNothingWaits(t *testing.T) {
	t.Run("kernel conn", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("a goroutine writes here")
		}
		l := NewLoop()
		here, there := net.Conn(nil), net.Conn(nil)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		here, err = net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		there, err = ln.Accept()
		require.NoError(t, err)
		s := Wrap(here, &SocketOptions{Loop: l, WriteTimeout: time.Hour})
		answers := 0
		s.On.Data(func(p []byte) {
			if answers += len(p); answers < 100 {
				_, _ = s.WriteString("x")
				return
			}
			assert.Nil(t, s.opt().writes)
			s.Destroy(nil)
		})
		_, _ = s.WriteString("x")
		go func() { _, _ = io.Copy(there, there); _ = there.Close() }()
		l.Run()
	})
	t.Run("conn in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := NewLoop()
			here, there := net.Pipe()
			s := Wrap(here, &SocketOptions{Loop: l, WriteTimeout: 4 * time.Second})
			_, _ = s.WriteString("x")
			l.AfterFunc(500*time.Millisecond, func() { assert.True(t, s.opt().writes.armed) })
			l.AfterFunc(time.Minute, func() {
				assert.False(t, s.opt().writes.armed)
				s.Destroy(nil)
				assert.Nil(t, s.opt().writes)
			})
			go func() { _, _ = io.Copy(io.Discard, there) }()
			l.Run()
			_ = there.Close()
		})
	})
}
