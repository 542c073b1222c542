package evnet_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const second = time.Second

// Timeout is emitted once for each idle period, however long it is.
func TestTimeoutOncePerIdleness(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		require.NoError(t, b.S.SetTimeout(2*second))
		kit.Consume(b.S)
		b.When(20*second, func() { go b.Peer.Write([]byte("x")) })
		b.DestroyAt(50 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{2 * second, 22 * second}, b.At) })
	})
}

func TestTimeoutPostponedByTraffic(t *testing.T) {
	for name, act := range map[string]func(b *kit.Bubble){
		"read":  func(b *kit.Bubble) { go b.Peer.Write([]byte("x")) },
		"write": func(b *kit.Bubble) { _, _ = b.S.WriteString("x") },
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
				require.NoError(t, b.S.SetTimeout(2*second))
				kit.Consume(b.S)
				go io.Copy(io.Discard, b.Peer)
				for i := range 4 { // at 1.5, 3, 4.5 and 6 seconds
					b.When(time.Duration(i+1)*1500*time.Millisecond, func() { act(b) })
				}
				b.DestroyAt(30 * second)
				b.Finally(func() { assert.Equal(t, []time.Duration{8 * second}, b.At) })
			})
		})
	}
}

func TestTimeoutSetAgain(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		require.NoError(t, b.S.SetTimeout(5*second))
		b.When(2*second, func() {
			require.NoError(t, b.S.SetTimeout(10*second)) // restarts: due at 12
			assert.Equal(t, 10*second, b.S.Timeout())
		})
		b.When(20*second, func() {
			assert.Error(t, b.S.SetTimeout(-1))
			assert.ErrorIs(t, b.S.SetTimeout(-second), evnet.ErrInvalidTimeout)
			assert.Equal(t, 10*second, b.S.Timeout())
			require.NoError(t, b.S.SetTimeout(second)) // Timeout was emitted; SetTimeout restarts the time anyway
		})
		b.When(30*second, func() { require.NoError(t, b.S.SetTimeout(second)) })
		b.When(30500*time.Millisecond, func() {
			require.NoError(t, b.S.SetTimeout(0))
			assert.Zero(t, b.S.Timeout())
			_, _ = b.S.WriteString("x") // activity does not start a timer that is off
		})
		b.DestroyAt(50 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{12 * second, 21 * second}, b.At) })
	})
}

// A negative duration changes nothing: a running timer continues.
func TestTimeoutNegativeChangesNothing(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		require.NoError(t, b.S.SetTimeout(5*second))
		b.When(3*second, func() { assert.ErrorIs(t, b.S.SetTimeout(-1), evnet.ErrInvalidTimeout) })
		b.DestroyAt(9 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{5 * second}, b.At) })
	})
}

func TestTimeoutWhilePaused(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		b.S.Pause()
		require.NoError(t, b.S.SetTimeout(2*second))
		go b.Peer.Write([]byte("unread"))
		b.DestroyAt(9 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{2 * second}, b.At) })
	})
}

// A socket whose write makes no progress is idle.
func TestTimeoutOfStuckWrite(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		require.NoError(t, b.S.SetTimeout(2*second))
		b.When(second, func() { _, _ = b.S.Write(make([]byte, 1<<20)) })
		b.DestroyAt(20 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{2 * second}, b.At) })
	})
}

// The idle time counts from the last byte that the peer accepted, even if it had accepted others before.
func TestTimeoutOfWriteThatGetsStuck(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		require.NoError(t, b.S.SetTimeout(2*second))
		for range 4 {
			_, _ = b.S.Write(make([]byte, 16<<10))
		}
		b.When(second, func() { go io.ReadFull(b.Peer, make([]byte, 32<<10)) })
		b.DestroyAt(20 * second)
		b.Finally(func() { assert.Equal(t, []time.Duration{3 * second}, b.At) })
	})
}

// A socket that writes to a slow reader is not idle, however large the writes
// are.
func TestTimeoutNotWhileWritesProgress(t *testing.T) {
	for name, size := range map[string]int{"small writes": 4 << 10, "one large write": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *kit.Bubble) {
				require.NoError(t, b.S.SetTimeout(2*second))
				for range 1 << 20 / size {
					_, _ = b.S.Write(make([]byte, size))
				}
				go func() {
					for range 16 { // done at 16 seconds
						time.Sleep(second) // in the bubble: no real time passes
						_, _ = io.ReadFull(b.Peer, make([]byte, 64<<10))
					}
				}()
				b.DestroyAt(17 * second)
				b.Finally(func() {
					assert.Empty(t, b.At)
					assert.NoError(t, b.S.Err())
				})
			})
		})
	}
}

func TestTimeoutIdleDestroys(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *kit.Bubble) {
		kit.Consume(b.S)
		b.When(2*second, func() { go b.Peer.Write([]byte("x")) })
		var reported error
		b.S.On.Error(func(err error) { reported = err })
		b.S.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			assert.Equal(t, 5*second, b.Now())
			assert.ErrorIs(t, reported, os.ErrDeadlineExceeded)
			var timeout net.Error
			require.ErrorAs(t, reported, &timeout)
			assert.True(t, timeout.Timeout())
			assert.Equal(t, "ETIMEDOUT", evnet.Code(reported))
		})
		b.Finally(func() { assert.Empty(t, b.At) })
	})
}

// SetTimeout itself does not count as traffic.
func TestTimeoutSetTimeoutDoesNotFeedIdleTimeout(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *kit.Bubble) {
		b.When(2*second, func() { require.NoError(t, b.S.SetTimeout(10*second)) })
		b.S.On.Close(func(bool) { assert.Equal(t, 3*second, b.Now()) })
	})
}

// CloseTimeout limits the closing phase, whatever the peer fails to do.
func TestTimeoutOfClosing(t *testing.T) {
	for name, act := range map[string]func(*evnet.Socket){
		"end, the peer reads nothing":   func(s *evnet.Socket) { _, _ = s.WriteString("unread"); s.End() },
		"close, the peer reads nothing": func(s *evnet.Socket) { _, _ = s.WriteString("unread"); _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			kit.InBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second}, func(b *kit.Bubble) {
				b.When(second, func() { act(b.S) })
				b.When(2*second, b.S.End) // does not restart it
				closed := false
				b.S.On.Close(func(hadError bool) {
					closed = true
					assert.True(t, hadError)
					assert.Equal(t, 4*second, b.Now())
					assert.ErrorIs(t, b.S.Err(), os.ErrDeadlineExceeded)
				})
				b.Finally(func() { assert.True(t, closed) })
			})
		})
	}
	t.Run("end, the peer never ends", func(t *testing.T) { // a pipe has no half-close
		l := evnet.NewLoop()
		server, addr := kit.Serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, nil)
		server.On.Connection(func(s *evnet.Socket) {
			kit.Consume(s)
			_ = server.Close(nil)
		})
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, CloseTimeout: 5 * time.Millisecond})
		finished := false
		c.On.Finish(func() { finished = true })
		c.On.Error(func(error) {})
		c.On.Close(func(bool) { server.CloseAllConnections() })
		c.On.Ready(c.End)
		c.Connect("tcp", addr)
		kit.Run(t, l)
		assert.True(t, finished)
		assert.ErrorIs(t, c.Err(), os.ErrDeadlineExceeded)
	})
}

// The peer's end also starts the closing phase, even if this side still writes.
func TestTimeoutOfClosingByThePeersEnd(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second, AllowHalfOpen: true}, func(b *kit.Bubble) {
		kit.Consume(b.S)
		b.When(second, func() { _ = b.Peer.Close() })
		b.S.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			assert.Equal(t, 4*second, b.Now())
		})
	})
}

// ending is a conn whose peer ends immediately, and reads nothing.
type ending struct{ net.Conn }

func (ending) Read([]byte) (int, error) { return 0, io.EOF }

// The closing phase starts once: this side's end does not restart it.
func TestTimeoutOfClosingByBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		began := time.Now()
		s := evnet.Wrap(ending{here}, &evnet.SocketOptions{Loop: l, CloseTimeout: 3 * second, AllowHalfOpen: true})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		l.AfterFunc(2*second, func() { _, _ = s.WriteString("unread"); s.End() })
		kit.Run(t, l)
		assert.True(t, s.Destroyed())
		assert.Equal(t, 3*second, time.Since(began))
		_ = there.Close()
	})
}

// CloseTimeout does not affect a socket that closes before it.
func TestTimeoutOfClosing_ClosedBeforeIt(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second}, func(b *kit.Bubble) {
		go io.Copy(io.Discard, b.Peer)
		b.When(second, func() { _, _ = b.S.WriteString("x"); _ = b.S.Close() })
		b.S.On.Close(func(hadError bool) {
			assert.False(t, hadError)
			assert.Equal(t, second, b.Now())
		})
	})
}

// After Destroy no limit applies any more.
func TestTimeoutNoneAfterDestroy(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second, CloseTimeout: 3 * second}, func(b *kit.Bubble) {
		cause := errors.New("a cause")
		require.NoError(t, b.S.SetTimeout(2*second))
		errs := 0
		b.S.On.Error(func(error) { errs++ })
		b.When(second, func() {
			_, _ = b.S.WriteString("x")
			b.S.End()
			b.S.Destroy(cause)
			require.NoError(t, b.S.SetTimeout(second)) // does nothing any more
		})
		b.When(10*second, func() { assert.Equal(t, cause, b.S.Err()) })
		b.Finally(func() {
			assert.Empty(t, b.At)
			assert.Equal(t, 1, errs)
		})
	})
}

// Timers that are due at the same time run in the order of their creation, as in Node.
func TestTimeoutTimersRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var got, want []int
		for i := range 20 {
			want = append(want, i)
			l.AfterFunc(second, func() { got = append(got, i) })
		}
		kit.Run(t, l)
		assert.Equal(t, want, got)
	})
}

// If several timers are due after a busy turn, the earlier one runs first, and may stop the later one.
func TestTimeoutTimersOfBusyLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var got []int
		var stopped *evnet.Timer
		for i := 4; i > 0; i-- {
			timer := l.AfterFunc(time.Duration(i)*second, func() {
				got = append(got, i)
				if i == 2 {
					assert.True(t, stopped.Stop())
					assert.False(t, stopped.Stop())
				}
			})
			if i == 3 {
				stopped = timer
			}
		}
		l.Post(func() { time.Sleep(10 * second) }) // in the bubble: no real time passes
		kit.Run(t, l)
		assert.Equal(t, []int{1, 2, 4}, got)
	})
}

// The timer of a socket that is never connected does not keep Run going, and ends with it.
func TestTimeoutNeverConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.NewClient(l)
		s.On.Timeout(func() { t.Error("a timer fired after Run") })
		require.NoError(t, s.SetTimeout(second))
		l.AfterFunc(second/2, func() {})
		kit.Run(t, l)
		time.Sleep(2 * second) // in the bubble: no real time passes
		kit.Run(t, l)
	})
}
