package evnet

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrived reports whether the peer has data to read.
func arrived(t testing.TB, peer interface {
	SyscallConn() (syscall.RawConn, error)
}) bool {
	raw, err := peer.SyscallConn()
	require.NoError(t, err)
	n, _, err := netpoll.NewCall().Peek(raw)
	require.NoError(t, err)
	return n > 0
}

// sentSegments returns the number of data segments that the kernel has sent. Without Nagle's algorithm each system
// call sends one, if the data fits.
func sentSegments(t testing.TB, conn *net.TCPConn) uint32 {
	const tcpDataSegsOut = 156 // in struct tcp_info
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	var info [256]byte
	size := uint32(len(info))
	require.NoError(t, raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(netpoll.SysGetsockopt, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		assert.Zero(t, errno)
	}))
	require.GreaterOrEqual(t, size, uint32(tcpDataSegsOut+4))
	return binary.NativeEndian.Uint32(info[tcpDataSegsOut:])
}

// The writes of one callback are sent together, directly after the callback returns.
func TestOneCallbackOneSystemCall(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 100, 5000} { // the last needs more than one segment of memory
			if n == 5000 && !netpoll.Enabled {
				continue // it writes each piece separately
			}
			l := NewLoop()
			here, there := tcpPair(t)
			s := onLoop(l, here)
			rounds(t, l, 1, func() {
				before := sentSegments(t, here)
				for range n {
					_, _ = s.WriteString("ping")
				}
				assert.False(t, arrived(t, there), "the callback is running")
				l.Post(func() {
					assert.True(t, arrived(t, there), "it has returned")
					assert.EqualValues(t, 1, sentSegments(t, here)-before)
					s.Destroy(nil)
				})
			})
			runs(t, l)
			got, err := io.ReadAll(there)
			require.NoError(t, err)
			assert.Len(t, got, 4*n)
		}
	})
}

// The writes that Scan's function makes for the tokens of one read are sent together, after the last token.
func TestScan_WritesOfOneReadAreSentTogether(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const lines = 7 // so few never use up the socket's share of a turn, however slow the machine is
		l := NewLoop()
		here, there := tcpPair(t)
		s := onLoop(l, here)
		before, n := sentSegments(t, here), 0
		require.NoError(t, s.Scan(nil, 0, func(line []byte) {
			_, _ = s.Write(line)
			if n++; n < lines {
				return
			}
			assert.False(t, arrived(t, there), "the last callback is running")
			l.Post(func() {
				assert.EqualValues(t, 1, sentSegments(t, here)-before)
				s.Destroy(nil)
			})
		}))
		_, err := there.Write(bytes.Repeat([]byte("line\n"), lines))
		require.NoError(t, err)
		runs(t, l)
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.Len(t, got, len("line")*lines)
	})
}

// A queue of many segments is sent completely and in order, as the kernel has room.
func TestQueueOfManyPieces(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := unixPair(t)
		s := Wrap(here, &SocketOptions{Loop: l, MaxWriteBuffer: -1, AllowHalfOpen: true})
		want := make([]byte, 200*immediateSize+777)
		for i := range want {
			want[i] = byte(i >> 8 * 13)
		}
		var got []byte
		l.Ref()
		l.Post(func() {
			for p := want; len(p) > 0; {
				n := min(len(p), 1000)
				_, _ = s.Write(p[:n])
				p = p[n:]
			}
			assert.Greater(t, s.BufferedAmount(), 64*immediateSize) // more segments than one system call accepts
			s.End()
			go func() {
				defer l.Unref()
				got, _ = io.ReadAll(there)
				_ = there.Close()
				s.Resume()
			}()
		})
		runs(t, l)
		assert.True(t, bytes.Equal(want, got))
	})
}

// A write on another goroutine does not wait for a busy callback, and is sent after the callback's earlier
// writes.
func TestWriteBesideABusyCallback(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := tcpPair(t)
		s := onLoop(l, here)
		rounds(t, l, 1, func() {
			_, _ = s.WriteString("before ")
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = s.WriteString("beside ")
				got := make([]byte, 14)
				_, err := io.ReadFull(there, got)
				assert.NoError(t, err)
				assert.Equal(t, "before beside ", string(got))
			}()
			<-done
			_, _ = s.WriteString("behind")
			assert.False(t, arrived(t, there))
			_ = s.Close()
		})
		runs(t, l)
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.Equal(t, "behind", string(got))
	})
}

// A long write is sent immediately, after the short ones before it.
func TestLongWrite_IsSentImmediately(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, size := range []int{immediateSize - 1, immediateSize, 100 << 10} {
			l := NewLoop()
			here, there := tcpPair(t)
			s := onLoop(l, here)
			long := bytes.Repeat([]byte("L"), size)
			rounds(t, l, 1, func() {
				_, _ = s.WriteString("one ")
				_, _ = s.Write(long)
				if size < immediateSize {
					assert.False(t, arrived(t, there))
				} else {
					got := make([]byte, 4+size)
					_, err := io.ReadFull(there, got)
					assert.NoError(t, err)
					assert.Equal(t, "one L", string(got[:5]))
				}
				_, _ = s.WriteString(" two")
				l.Post(func() { s.Destroy(nil) })
			})
			runs(t, l)
			got, err := io.ReadAll(there)
			require.NoError(t, err)
			assert.Equal(t, "L two", "L"+string(got[max(0, len(got)-4):]))
		}
	})
}

// Each of many concurrent writes arrives complete and contiguous, even while the queue waits for room.
func TestWritesFromManyGoroutines(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const goroutines, each = 8, 300
		l := NewLoop()
		here, there := unixPair(t)
		s := Wrap(here, &SocketOptions{Loop: l, MaxWriteBuffer: -1})
		s.On.Data(func([]byte) {})
		l.Ref()
		var busy sync.WaitGroup
		for g := range goroutines {
			busy.Go(func() {
				for i := range each {
					p := bytes.Repeat([]byte{byte(g)}, 8+(i*i*37)%(i%10*3000+100)) // short and long
					binary.BigEndian.PutUint32(p, uint32(len(p)))
					binary.BigEndian.PutUint16(p[4:], uint16(i))
					_, err := s.Write(p)
					assert.NoError(t, err)
				}
			})
		}
		go func() { busy.Wait(); s.End(); l.Unref() }()
		var next [goroutines]int
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer there.Close()
			var head [8]byte
			for {
				if _, err := io.ReadFull(there, head[:]); err != nil {
					assert.Equal(t, io.EOF, err)
					return
				}
				g, i := head[7], int(binary.BigEndian.Uint16(head[4:]))
				rest := make([]byte, binary.BigEndian.Uint32(head[:])-8)
				_, err := io.ReadFull(there, rest)
				if !assert.NoError(t, err) || !assert.Less(t, g, byte(goroutines)) || !assert.Equal(t, next[g], i) ||
					!assert.Equal(t, len(rest), bytes.Count(rest, []byte{g})) {
					return
				}
				next[g]++
			}
		}()
		runs(t, l)
		<-done
		for _, n := range next {
			assert.Equal(t, each, n)
		}
	})
}

// A writer that fails because of a reset before the loop has read does not report EPIPE. The kernel reports a reset
// once, and a Unix socket reports it only to readers.
func TestReset_IsNotReportedAsBrokenPipe(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for name, pair := range map[string]func() (net.Conn, net.Conn){
			"tcp":  func() (net.Conn, net.Conn) { a, b := tcpPair(t); return a, b },
			"unix": func() (net.Conn, net.Conn) { a, b := unixPair(t); return a, b },
		} {
			t.Run(name, func(t *testing.T) {
				l := NewLoop()
				here, peer := pair()
				s := onLoop(l, here)
				s.On.Data(func([]byte) {})
				_, _ = s.WriteString("unread") // unread data makes the close a reset
				reported := ""
				s.On.Error(func(err error) { reported += Code(err) })
				rounds(t, l, 1, func() {
					_ = peer.Close()
					if !usesEpoll(s) {
						awaitReader(s)
					}
					_, _ = s.Write(make([]byte, immediateSize)) // it is sent immediately
				})
				runs(t, l)
				assert.Equal(t, "ECONNRESET", reported)
			})
		}
	})
}

// awaitReader waits, on the loop, until the reader of a socket on the goroutine transport has a result for it.
func awaitReader(s *Socket) {
	for met := false; !met; runtime.Gosched() {
		s.mu.Lock()
		met, _ = s.stream.Unread()
		s.mu.Unlock()
	}
}

// Data written after Uncork in the same callback is sent when the callback returns.
func TestWriteAfterUncork_WaitsForTheCallback(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := tcpPair(t)
		s := onLoop(l, here)
		rounds(t, l, 1, func() {
			_, _ = s.WriteString("a")
			s.Cork()
			_, _ = s.WriteString("b")
			s.Uncork()
			assert.Zero(t, s.BufferedAmount(), "Uncork sends")
			_, _ = s.WriteString("c")
			s.mu.Lock()
			assert.Zero(t, s.stream.Sendable(), "the callback is running")
			s.mu.Unlock()
			_ = s.Close()
		})
		runs(t, l)
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.Equal(t, "abc", string(got))
	})
}

// Destroy reports a failed write whose cause the stream is still determining.
func TestDestroy_ReportsADeferredFailure(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := NewLoop()
		here, there := tcpPair(t)
		s := onLoop(l, here)
		s.On.Data(func([]byte) {})
		s.On.Error(func(error) {})
		rounds(t, l, 1, func() {
			require.NoError(t, there.SetLinger(0))
			require.NoError(t, there.Close())
			if !usesEpoll(s) {
				awaitReader(s) // the reader has got the reset: the write fails with EPIPE
			}
			_, _ = s.WriteString("x")
			s.Destroy(nil)
		})
		runs(t, l)
		assert.Error(t, s.Err())
	})
}

// If the kernel has accepted a part of a segment, but no complete one, the write gets exactly one more period.
func TestTimeoutWhileASegmentProgresses(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const period = time.Hour
		l := NewLoop()
		here, _ := unixPair(t)
		s := Wrap(here, &SocketOptions{Loop: l, IdleTimeout: period, MaxWriteBuffer: -1})
		s.Pause()
		require.NoError(t, s.SetTimeout(period))
		timeouts := 0
		s.On.Timeout(func() { timeouts++ })
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		// expire lets the periods of both timers end without activity.
		expire := func() {
			r, past := s.optional, time.Now().Add(-2*period)
			for _, timer := range []*idleTimer{&r.notify, &r.kill} {
				s.mu.Lock()
				r.active, timer.set = past, past
				round := timer.round
				s.mu.Unlock()
				s.expired(timer, round)
			}
		}
		rounds(t, l, 1, func() {
			_, _ = s.Write(make([]byte, 1<<20)) // one segment, larger than the kernel accepts
			assert.Positive(t, s.BufferedAmount())
			assert.Less(t, s.BufferedAmount(), 1<<20)
			expire()
			assert.Zero(t, timeouts)
			assert.False(t, s.Destroyed())
			expire()
			assert.Equal(t, 1, timeouts)
			assert.True(t, s.Destroyed())
		})
		runs(t, l)
		assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
	})
}
