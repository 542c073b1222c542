package evnet

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket made while the loop is in epoll_wait does not get the events of the socket whose slot it reuses. It
// would treat them as its own, and stop watching for a reset.
func TestNewSocketGetsNoOldEvents(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	oldConn, oldPeer := tcpPair(t)
	conn, peer := tcpPair(t)
	old := onLoop(l, oldConn)
	old.Pause()
	var s *Socket
	l.Post(func() {
		l.Post(func() { // old is watched by now
			_ = oldPeer.SetLinger(0)
			_ = oldPeer.Close()
			old.Destroy(nil) // as another goroutine may do while the loop is in epoll_wait
			s = onLoop(l, conn)
			s.On.Error(func(error) {})
			s.Pause()
			s.begin()
			assert.NotZero(t, old.member.Slot(), "until Close")
			assert.NotEqual(t, old.member.Slot(), s.member.Slot())
			rounds(t, l, few, func() {
				_ = peer.SetLinger(0)
				_ = peer.Close()
			})
		})
	})
	runs(t, l)
	assert.ErrorIs(t, s.Err(), syscall.ECONNRESET)
}

// The slots of closed sockets are reused.
func TestPlacesAreUsedAgain(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	stay, _ := unixPair(t)
	kept := onLoop(l, stay)
	left, most := 100, 0
	var next func()
	next = func() {
		if left--; left > 0 {
			s := rounds(t, l, 1, next)
			most = max(most, s.member.Slot())
			return
		}
		assert.LessOrEqual(t, most, few)
		kept.Destroy(nil)
	}
	next()
	runs(t, l)
}

// Other goroutines create and destroy sockets while the loop sleeps, reads and writes.
func TestDestroyFromElsewhere(t *testing.T) {
	onEach(t, func(t *testing.T) {
		goroutines, each := 4, evtest.Pick(150, 500)
		if race.Enabled { // ten times slower
			each = 100
		}
		before := pollers(t)
		l := NewLoop()
		var busy sync.WaitGroup
		for range goroutines {
			l.Ref()
			busy.Go(func() {
				defer l.Unref()
				for i := range each {
					here, there := unixPair(t)
					s := onLoop(l, here)
					s.On.Error(func(error) {})
					s.Pipe(s)
					_, _ = s.WriteString("x")
					switch i % 4 {
					case 0: // immediately
					case 1:
						_, _ = there.Write(make([]byte, 100))
					case 2: // during the transfer
						_, _ = there.Write(make([]byte, 1000))
						_, _ = io.ReadFull(there, make([]byte, 1+i))
					case 3:
						_, _ = s.Write(make([]byte, 1<<20))
					}
					s.Destroy(nil)
					_ = there.Close()
				}
			})
		}
		runs(t, l)
		busy.Wait()
		assert.Equal(t, before, pollers(t))
	})
}

// A loop that sleeps without a kernel socket serves one that another goroutine makes.
func TestSocketForASleepingLoop(t *testing.T) {
	onEach(t, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			for range 50 {
				l := NewLoop()
				l.Ref()
				go func() {
					defer l.Unref()
					synctest.Wait() // until the loop sleeps
					here, there := unixPair(t)
					s := onLoop(l, here)
					s.Pipe(s)
					_, err := there.Write([]byte("echo"))
					assert.NoError(t, err)
					_, err = io.ReadFull(there, make([]byte, 4))
					assert.NoError(t, err)
					_ = there.Close()
				}()
				runs(t, l)
			}
		})
	})
}

// Two loops forward a client's data to each other, until it is back complete.
func TestTwoLoopsPipe(t *testing.T) {
	onEach(t, func(t *testing.T) {
		one, two := NewLoop(), NewLoop()
		inConn, in := tcpPair(t)
		outConn, out := unixPair(t)
		a := Wrap(inConn, &SocketOptions{Loop: one, AllowHalfOpen: true})
		b := Wrap(outConn, &SocketOptions{Loop: two, AllowHalfOpen: true})
		one.Do(func() { a.Pipe(b) })
		two.Do(func() { b.Pipe(a) })
		want := make([]byte, 8<<20)
		for i := range want {
			want[i] = byte(i * 7 / 3)
		}
		var got []byte
		var busy sync.WaitGroup
		busy.Go(func() { _, _ = in.Write(want); _ = in.CloseWrite() })
		busy.Go(func() { _, _ = io.Copy(out, out); _ = out.CloseWrite() })
		busy.Go(func() { got, _ = io.ReadAll(in) })
		busy.Go(func() { runs(t, two) })
		runs(t, one)
		busy.Wait()
		assert.True(t, bytes.Equal(want, got))
	})
}

// Large amounts of data pass from a socket on the epoll transport to one on the goroutine transport, on the same
// loop or another.
func TestBulkToAnotherTransport(t *testing.T) {
	onPoll(t)
	for _, name := range []string{"same loop", "another loop"} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			to := l
			if name == "another loop" {
				to = NewLoop()
			}
			inConn, in := unixPair(t)
			outConn, out := net.Pipe()
			src, dst := onLoop(l, inConn), onLoop(to, outConn)
			require.True(t, usesEpoll(src))
			require.False(t, usesEpoll(dst))
			src.Pipe(dst)
			want := make([]byte, 4<<20)
			for i := range want {
				want[i] = byte(i * 7 / 3)
			}
			var got []byte
			var busy sync.WaitGroup
			busy.Go(func() { _, _ = in.Write(want); _ = in.CloseWrite() })
			busy.Go(func() { got, _ = io.ReadAll(out); _ = out.Close() })
			if to != l {
				busy.Go(func() { runs(t, to) })
			}
			runs(t, l)
			busy.Wait()
			assert.True(t, bytes.Equal(want, got))
		})
	}
}

// A loop that a panic has stopped continues with the remaining work when it is run again.
func TestRunAgainAfterAPanic(t *testing.T) {
	onEach(t, func(t *testing.T) {
		before := pollers(t)
		l := NewLoop()
		var echoes []*net.UnixConn
		for range 10 {
			here, there := unixPair(t)
			s := onLoop(l, here)
			s.Pipe(s)
			_, err := there.Write([]byte("left"))
			require.NoError(t, err)
			echoes = append(echoes, there)
		}
		for round := range 3 {
			l.Post(func() { rounds(t, l, 2, func() { panic(round) }) })
			assert.PanicsWithValue(t, round, func() { runs(t, l) })
			for _, there := range echoes {
				_, err := there.Write([]byte("more"))
				require.NoError(t, err)
			}
		}
		for _, there := range echoes {
			require.NoError(t, there.CloseWrite())
		}
		runs(t, l)
		for _, there := range echoes {
			got, err := io.ReadAll(there)
			require.NoError(t, err)
			assert.Equal(t, "leftmoremoremore", string(got))
		}
		assert.Equal(t, before, pollers(t))
	})
}

// Do may use kernel sockets of a loop that does not run.
func TestDoWithoutRun(t *testing.T) {
	onEach(t, func(t *testing.T) {
		before := pollers(t)
		l := NewLoop()
		here, there := unixPair(t)
		var s *Socket
		l.Do(func() {
			s = onLoop(l, here)
			_, _ = s.WriteString("one ")
			_, _ = s.WriteString("two")
		})
		got := make([]byte, 7)
		_, err := io.ReadFull(there, got)
		require.NoError(t, err)
		assert.Equal(t, "one two", string(got))
		l.Do(func() { s.Destroy(nil) })
		_, err = there.Read(got)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, before, pollers(t))
		runs(t, l)
	})
}

// A detached conn works like any other, and Detach returns the undelivered data. The conn may be wrapped again, on
// another loop.
func TestDetachOfAPolledConn(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := tcpPair(t)
		s := onLoop(l, here)
		var conn net.Conn
		var rest []byte
		_, err := there.Write([]byte("held "))
		require.NoError(t, err)
		var look func()
		look = func() {
			if s.ReadableLength() == 0 {
				rounds(t, l, 1, look)
				return
			}
			_, err := there.Write([]byte("not read"))
			assert.NoError(t, err)
			conn, rest, err = s.Detach()
			assert.NoError(t, err)
		}
		look()
		runs(t, l)
		require.Same(t, net.Conn(here), conn)
		require.Equal(t, "held ", string(rest))
		got := make([]byte, 8)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		assert.Equal(t, "not read", string(got))

		answered := make(chan error, 1)
		go func() { // a Read and a Write that block
			_, err := io.ReadFull(there, make([]byte, 32<<20))
			_, _ = there.Write([]byte("late"))
			answered <- err
		}()
		_, err = conn.Write(make([]byte, 32<<20))
		require.NoError(t, err)
		require.NoError(t, <-answered)
		_, err = io.ReadFull(conn, got[:4])
		require.NoError(t, err)
		assert.Equal(t, "late", string(got[:4]))
		require.NoError(t, conn.SetReadDeadline(time.Unix(1, 0)))
		_, err = conn.Read(got)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, conn.SetReadDeadline(time.Time{}))

		other := NewLoop()
		again := onLoop(other, conn)
		again.Pipe(again)
		_, err = there.Write([]byte("again"))
		require.NoError(t, err)
		require.NoError(t, there.CloseWrite())
		runs(t, other)
		echo, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.Equal(t, "again", string(echo))
	})
}

// A duplicate of the descriptor that stays open does not cause further events for the destroyed socket.
func TestDuplicateOutlivesSocket(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	stay, _ := unixPair(t)
	here, there := unixPair(t)
	kept, s := onLoop(l, stay), onLoop(l, here)
	for _, s := range []*Socket{kept, s} {
		s.On.Data(func([]byte) {})
	}
	dup, err := here.File()
	require.NoError(t, err)
	defer dup.Close()
	l.Post(func() {
		l.Post(func() { // both are watched by now
			watched := watchers(t, dup)
			s.Destroy(nil)
			_, err := there.Write([]byte("x"))
			assert.NoError(t, err)
			assert.Equal(t, watched-2, watchers(t, dup), "neither the loop's nor Go's own epoll set has the descriptor")
			kept.Destroy(nil)
		})
	})
	runs(t, l)
}

// watchers counts the epoll sets of the process that have a descriptor of the same file as f.
func watchers(t testing.TB, f *os.File) (n int) {
	info, err := f.Stat()
	require.NoError(t, err)
	inode := fmt.Sprintf(" ino:%x ", info.Sys().(*syscall.Stat_t).Ino)
	entries, err := os.ReadDir("/proc/self/fdinfo")
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err == nil {
			n += strings.Count(string(text), inode)
		}
	}
	return n
}

// pollers returns the number of epoll descriptors of the process, including Go's own.
func pollers(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, "eventpoll") {
			n++
		}
	}
	return n
}
