package evnet

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
