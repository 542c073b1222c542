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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const second = time.Second

// bubble is a socket over net.Pipe and its blocking peer, under a clock of their own.
type bubble struct {
	*testing.T
	l     *evnet.Loop
	s     *evnet.Socket
	peer  net.Conn
	began time.Time
	at    []time.Duration // of each Timeout
	check func()          // at the end
}

func inBubble(t *testing.T, opts evnet.SocketOptions, play func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{T: t, l: evnet.NewLoop(), began: time.Now()}
		var here net.Conn
		here, b.peer = net.Pipe()
		opts.Loop = b.l
		b.s = evnet.Wrap(here, &opts)
		b.s.On.Timeout(func() { b.at = append(b.at, b.now()) })
		b.s.On.Error(func(error) {})
		play(b)
		run(t, b.l)
		_ = b.peer.Close()
		if b.check != nil {
			b.check()
		}
	})
}

func (b *bubble) finally(check func()) { b.check = check }

func (b *bubble) now() time.Duration { return time.Since(b.began) }

// when runs fn on the loop at a time, which keeps Run going until then.
func (b *bubble) when(at time.Duration, fn func()) { b.l.AfterFunc(at-b.now(), fn) }

func (b *bubble) destroyAt(at time.Duration) { b.when(at, func() { b.s.Destroy(nil) }) }

// Timeout comes once for each time of idleness, however long it is.
func TestTimeoutOncePerIdleness(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		require.NoError(t, b.s.SetTimeout(2*second))
		consume(b.s)
		b.when(20*second, func() { go b.peer.Write([]byte("x")) })
		b.destroyAt(50 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{2 * second, 22 * second}, b.at) })
	})
}

func TestTimeoutPostponedByTraffic(t *testing.T) {
	for name, act := range map[string]func(b *bubble){
		"read":  func(b *bubble) { go b.peer.Write([]byte("x")) },
		"write": func(b *bubble) { _, _ = b.s.WriteString("x") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
				require.NoError(t, b.s.SetTimeout(2*second))
				consume(b.s)
				go io.Copy(io.Discard, b.peer)
				for i := range 4 { // at 1.5, 3, 4.5 and 6 seconds
					b.when(time.Duration(i+1)*1500*time.Millisecond, func() { act(b) })
				}
				b.destroyAt(30 * second)
				b.finally(func() { assert.Equal(t, []time.Duration{8 * second}, b.at) })
			})
		})
	}
}

func TestTimeoutSetAgain(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		require.NoError(t, b.s.SetTimeout(5*second))
		b.when(2*second, func() {
			require.NoError(t, b.s.SetTimeout(10*second)) // starts anew: due at 12
			assert.Equal(t, 10*second, b.s.Timeout())
		})
		b.when(20*second, func() {
			assert.Error(t, b.s.SetTimeout(-1))
			assert.ErrorIs(t, b.s.SetTimeout(-second), evnet.ErrInvalidTimeout)
			assert.Equal(t, 10*second, b.s.Timeout())
			require.NoError(t, b.s.SetTimeout(second)) // it has been told, and starts anew all the same
		})
		b.when(30*second, func() { require.NoError(t, b.s.SetTimeout(second)) })
		b.when(30500*time.Millisecond, func() {
			require.NoError(t, b.s.SetTimeout(0))
			assert.Zero(t, b.s.Timeout())
			_, _ = b.s.WriteString("x") // no activity starts what is off
		})
		b.destroyAt(50 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{12 * second, 21 * second}, b.at) })
	})
}

// A negative time changes nothing: what runs goes on.
func TestTimeoutNegativeChangesNothing(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		require.NoError(t, b.s.SetTimeout(5*second))
		b.when(3*second, func() { assert.ErrorIs(t, b.s.SetTimeout(-1), evnet.ErrInvalidTimeout) })
		b.destroyAt(9 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{5 * second}, b.at) })
	})
}

func TestTimeoutWhilePaused(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		b.s.Pause()
		require.NoError(t, b.s.SetTimeout(2*second))
		go b.peer.Write([]byte("unread"))
		b.destroyAt(9 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{2 * second}, b.at) })
	})
}

// A write that nobody takes is idleness.
func TestTimeoutOfStuckWrite(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		require.NoError(t, b.s.SetTimeout(2*second))
		b.when(second, func() { _, _ = b.s.Write(make([]byte, 1<<20)) })
		b.destroyAt(20 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{2 * second}, b.at) })
	})
}

// It is idle from the last byte that was taken, though others had been taken before.
func TestTimeoutOfWriteThatGetsStuck(t *testing.T) {
	inBubble(t, evnet.SocketOptions{}, func(b *bubble) {
		require.NoError(t, b.s.SetTimeout(2*second))
		for range 4 {
			_, _ = b.s.Write(make([]byte, 16<<10))
		}
		b.when(second, func() { go io.ReadFull(b.peer, make([]byte, 32<<10)) })
		b.destroyAt(20 * second)
		b.finally(func() { assert.Equal(t, []time.Duration{3 * second}, b.at) })
	})
}

// A peer that reads slowly keeps a socket that writes to it from being idle, however large the
// writes are.
func TestTimeoutNotWhileWritesProgress(t *testing.T) {
	for name, size := range map[string]int{"small writes": 4 << 10, "one large write": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *bubble) {
				require.NoError(t, b.s.SetTimeout(2*second))
				for range 1 << 20 / size {
					_, _ = b.s.Write(make([]byte, size))
				}
				go func() {
					for range 16 { // done at 16 seconds
						time.Sleep(second) // of the bubble: no time passes
						_, _ = io.ReadFull(b.peer, make([]byte, 64<<10))
					}
				}()
				b.destroyAt(17 * second)
				b.finally(func() {
					assert.Empty(t, b.at)
					assert.NoError(t, b.s.Err())
				})
			})
		})
	}
}

func TestTimeoutIdleDestroys(t *testing.T) {
	inBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *bubble) {
		consume(b.s)
		b.when(2*second, func() { go b.peer.Write([]byte("x")) })
		var told error
		b.s.On.Error(func(err error) { told = err })
		b.s.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			assert.Equal(t, 5*second, b.now())
			assert.ErrorIs(t, told, os.ErrDeadlineExceeded)
			var timeout net.Error
			require.ErrorAs(t, told, &timeout)
			assert.True(t, timeout.Timeout())
			assert.Equal(t, "ETIMEDOUT", evnet.Code(told))
		})
		b.finally(func() { assert.Empty(t, b.at) })
	})
}

// To ask to be told of idleness is no traffic.
func TestTimeoutSetTimeoutDoesNotFeedIdleTimeout(t *testing.T) {
	inBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second}, func(b *bubble) {
		b.when(2*second, func() { require.NoError(t, b.s.SetTimeout(10*second)) })
		b.s.On.Close(func(bool) { assert.Equal(t, 3*second, b.now()) })
	})
}

// The closing phase is bounded, whatever the peer does not do.
func TestTimeoutOfClosing(t *testing.T) {
	for name, act := range map[string]func(*evnet.Socket){
		"end, the peer reads nothing":   func(s *evnet.Socket) { _, _ = s.WriteString("unread"); s.End() },
		"close, the peer reads nothing": func(s *evnet.Socket) { _, _ = s.WriteString("unread"); _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second}, func(b *bubble) {
				b.when(second, func() { act(b.s) })
				b.when(2*second, b.s.End) // does not start it anew
				closed := false
				b.s.On.Close(func(hadError bool) {
					closed = true
					assert.True(t, hadError)
					assert.Equal(t, 4*second, b.now())
					assert.ErrorIs(t, b.s.Err(), os.ErrDeadlineExceeded)
				})
				b.finally(func() { assert.True(t, closed) })
			})
		})
	}
	t.Run("end, the peer never ends", func(t *testing.T) { // a pipe cannot be half open
		l := evnet.NewLoop()
		server, addr := serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, nil)
		server.On.Connection(func(s *evnet.Socket) {
			consume(s)
			_ = server.Close(nil)
		})
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, CloseTimeout: 5 * time.Millisecond})
		finished := false
		c.On.Finish(func() { finished = true })
		c.On.Error(func(error) {})
		c.On.Close(func(bool) { server.CloseAllConnections() })
		c.On.Ready(c.End)
		c.Connect("tcp", addr)
		run(t, l)
		assert.True(t, finished)
		assert.ErrorIs(t, c.Err(), os.ErrDeadlineExceeded)
	})
}

// The peer's end begins the closing phase too, for a side that goes on writing.
func TestTimeoutOfClosingByThePeersEnd(t *testing.T) {
	inBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second, AllowHalfOpen: true}, func(b *bubble) {
		consume(b.s)
		b.when(second, func() { _ = b.peer.Close() })
		b.s.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			assert.Equal(t, 4*second, b.now())
		})
	})
}

// ending is a conn whose peer ends at once, and takes nothing.
type ending struct{ net.Conn }

func (ending) Read([]byte) (int, error) { return 0, io.EOF }

// The closing phase begins once: this side's end does not start it anew.
func TestTimeoutOfClosingByBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		began := time.Now()
		s := evnet.Wrap(ending{here}, &evnet.SocketOptions{Loop: l, CloseTimeout: 3 * second, AllowHalfOpen: true})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		l.AfterFunc(2*second, func() { _, _ = s.WriteString("unread"); s.End() })
		run(t, l)
		assert.True(t, s.Destroyed())
		assert.Equal(t, 3*second, time.Since(began))
		_ = there.Close()
	})
}

// CloseTimeout is nothing to a socket that closes in time.
func TestTimeoutOfClosingInTime(t *testing.T) {
	inBubble(t, evnet.SocketOptions{CloseTimeout: 3 * second}, func(b *bubble) {
		go io.Copy(io.Discard, b.peer)
		b.when(second, func() { _, _ = b.s.WriteString("x"); _ = b.s.Close() })
		b.s.On.Close(func(hadError bool) {
			assert.False(t, hadError)
			assert.Equal(t, second, b.now())
		})
	})
}

// After Destroy no limit counts any more.
func TestTimeoutNoneAfterDestroy(t *testing.T) {
	inBubble(t, evnet.SocketOptions{IdleTimeout: 3 * second, CloseTimeout: 3 * second}, func(b *bubble) {
		cause := errors.New("a cause")
		require.NoError(t, b.s.SetTimeout(2*second))
		errs := 0
		b.s.On.Error(func(error) { errs++ })
		b.when(second, func() {
			_, _ = b.s.WriteString("x")
			b.s.End()
			b.s.Destroy(cause)
			require.NoError(t, b.s.SetTimeout(second)) // does nothing any more
		})
		b.when(10*second, func() { assert.Equal(t, cause, b.s.Err()) })
		b.finally(func() {
			assert.Empty(t, b.at)
			assert.Equal(t, 1, errs)
		})
	})
}

// Timers that are due at the same time run in the order they were made in, as setTimeout's do.
func TestTimeoutTimersRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var got, want []int
		for i := range 20 {
			want = append(want, i)
			l.AfterFunc(second, func() { got = append(got, i) })
		}
		run(t, l)
		assert.Equal(t, want, got)
	})
}

// A loop that was busy finds several timers due: the earlier goes first, and may stop the later.
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
		l.Post(func() { time.Sleep(10 * second) }) // of the bubble: no time passes
		run(t, l)
		assert.Equal(t, []int{1, 2, 4}, got)
	})
}

// The timer of a socket that is never connected does not keep Run going, and ends with it.
func TestTimeoutNeverConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := client(l)
		s.On.Timeout(func() { t.Error("a timer has outlived Run") })
		require.NoError(t, s.SetTimeout(second))
		l.AfterFunc(second/2, func() {})
		run(t, l)
		time.Sleep(2 * second) // of the bubble: no time passes
		run(t, l)
	})
}
