package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"

	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The loop serves kernel streams itself, but not a conn that may override the methods.
func TestOpen_ChoosesTheDriver(t *testing.T) {
	type embedsTCP struct{ *net.TCPConn }
	type embedsUnix struct{ *net.UnixConn }
	for name, c := range map[string]struct {
		conn  func(t *testing.T) net.Conn
		epoll bool
	}{
		"tcp":         {func(t *testing.T) net.Conn { c, _ := tcpPair(t); return c }, true},
		"unix":        {func(t *testing.T) net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_STREAM); return c }, true},
		"embeds tcp":  {func(t *testing.T) net.Conn { c, _ := tcpPair(t); return embedsTCP{c} }, false},
		"embeds unix": {func(t *testing.T) net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_STREAM); return &embedsUnix{c} }, false},
		"unixgram":    {func(t *testing.T) net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_DGRAM); return c }, false},
		"unixpacket":  {func(t *testing.T) net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_SEQPACKET); return c }, false},
		"pipe":        {func(t *testing.T) net.Conn { c, _ := pipePair(t); return c }, false},
		"tls":         {func(t *testing.T) net.Conn { c, _ := tcpPair(t); return tls.Client(c, &tls.Config{ServerName: "x"}) }, false},
		"zero tcp":    {func(*testing.T) net.Conn { return &net.TCPConn{} }, false},
		"zero unix":   {func(*testing.T) net.Conn { return &net.UnixConn{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.UseEpoll(t, true)
			l := newLoop(t)
			o := own(l, c.conn(t))
			assert.Equal(t, c.epoll, o.stream.TakesPipes())
			if c.epoll {
				assert.Equal(t, 1, l.streams)
			}
			o.retire(false)
			assert.Zero(t, l.streams)
		})
	}
	t.Run("no poller", func(t *testing.T) {
		evtest.UseEpoll(t, true)
		l := newLoop(t)
		l.refuse = true
		here, _ := tcpPair(t)
		assert.False(t, own(l, here).stream.TakesPipes())
	})
	t.Run("disabled", func(t *testing.T) {
		evtest.UseEpoll(t, true)
		netpoll.Enabled = false
		here, _ := tcpPair(t)
		assert.False(t, own(newLoop(t), here).stream.TakesPipes())
	})
}

// refuse makes the kernel refuse to watch the descriptor, which is already in the epoll set for another slot.
func refuse(t testing.TB, o *testOwner) {
	require.False(t, o.stream.registered)
	require.NoError(t, o.loop.Watch(o.stream.raw, &o.member, false, netpoll.EdgeTriggered))
}

// If the kernel refuses to watch a descriptor, the goroutine driver takes over all pending work.
func TestWatch_Refused(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	for name, begin := range map[string]func(t *testing.T, o *testOwner){
		"at the beginning": func(t *testing.T, o *testOwner) { refuse(t, o) },
		"after a hang-up": func(t *testing.T, o *testOwner) {
			o.do(func(s *Stream) {
				s.SetReading(false) // the stream watches for a reset
				(*epollDriver)(s).unregister()
			})
			refuse(t, o)
		},
		"with a queue": func(t *testing.T, o *testOwner) {
			o.do(func(s *Stream) { s.Append([]byte("0")) })
			refuse(t, o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.UseEpoll(t, true)
			l := newLoop(t)
			here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
			o := own(l, here)
			o.noted = true
			begin(t, o)
			rest := want[o.stream.Queued():]
			o.send(t, rest)
			o.do(func(s *Stream) {
				assert.False(t, s.TakesPipes())
				assert.Positive(t, s.Queued())
				assert.False(t, s.MayWrite())
			})
			assert.Zero(t, l.streams)
			got := make(chan []byte)
			go func() {
				_, _ = there.Write(want[:1000])
				_ = there.CloseWrite()
				p, _ := io.ReadAll(there)
				got <- p
			}()
			o.end(t)
			o.do(func(s *Stream) { s.SetReading(true) })
			l.until(t, o.hasEnded)
			assert.True(t, bytes.Equal(want, <-got))
			assert.True(t, bytes.Equal(want[:1000], o.got.Bytes()))
			l.until(t, func() bool { return o.ended > 0 })
		})
	}
}

// While the stream does not read, a reset is reported if the owner allows that, and is not reported forever.
func TestReset_WhileNotReading(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, allowed := range []bool{true, false} {
			l := newLoop(t)
			here, there := tcpPair(t)
			o := own(l, here)
			o.noted = true
			o.do(func(s *Stream) { s.SetReading(false) })
			o.do(func(*Stream) { o.noted = allowed })
			require.NoError(t, there.SetLinger(0))
			require.NoError(t, there.Close())
			if allowed {
				l.until(t, func() bool { return len(o.errs) > 0 })
				assert.ErrorIs(t, o.errs[0], syscall.ECONNRESET)
			} else if netpoll.Enabled {
				l.until(t, func() bool { return o.served > 0 })
				assert.False(t, o.stream.registered)
				l.drain()
				assert.Equal(t, 1, o.served)
				assert.Empty(t, o.errs)
			}
			o.retire(false)
		}
	})
}

// Unread reports bytes, the end and a reset that were not served yet. It returns the reset, because the kernel reports it
// only once.
func TestUnread(t *testing.T) {
	evtest.UseEpoll(t, true)
	for name, act := range map[string]func(there *net.TCPConn){
		"bytes": func(there *net.TCPConn) { _, _ = there.Write([]byte("x")) },
		"end":   func(there *net.TCPConn) { _ = there.Close() },
		"reset": func(there *net.TCPConn) { _, _ = there.SetLinger(0), there.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			here, there := tcpPair(t)
			o := own(newLoop(t), here)
			check := func() (unread bool, err error) {
				o.do(func(s *Stream) { unread, err = s.Unread() })
				return unread, err
			}
			o.do(func(s *Stream) { s.SetReading(true) })
			unread, err := check()
			assert.False(t, unread)
			assert.NoError(t, err)
			act(there)
			o.loop.until(t, func() bool {
				unread, err = check()
				o.loop.mu.Lock()
				defer o.loop.mu.Unlock()
				return unread
			})
			assert.Equal(t, name == "reset", err != nil)
			if err != nil {
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				unread, err = check()
				assert.True(t, unread, "the end remains")
				assert.NoError(t, err)
			}
			o.do(func(s *Stream) { s.SetReading(false) })
			unread, _ = check()
			assert.False(t, unread, "there is no data")
		})
	}
}

// After a failed write, the received bytes are read, and then the end of the connection. Without bytes, nothing is unread.
func TestStopWriting_LeavesReceivedBytes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, text := range []string{"", "the answer"} {
			l := newLoop(t)
			here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
			o := own(l, here)
			_, err := there.Write([]byte(text))
			require.NoError(t, err)
			require.NoError(t, there.Close())
			o.do(func(s *Stream) {
				_, err := s.Send(make([]byte, 10))
				assert.ErrorIs(t, err, syscall.EPIPE)
				unread, err := s.StopWriting()
				assert.Equal(t, text != "", unread)
				assert.NoError(t, err)
				assert.False(t, s.MayWrite())
				s.SetReading(true)
			})
			l.until(t, o.hasEnded)
			assert.Equal(t, text, o.got.String())
			o.retire(false)
		}
	})
}

// After a failed write on a connection that remains open, received bytes are read until there are no more.
func TestStopWriting_ReportsThatNothingIsReceived(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := newLoop(t)
		here, there := evtest.SocketPair(t, syscall.SOCK_STREAM)
		o := own(l, here)
		require.NoError(t, there.CloseRead())
		_, err := there.Write(make([]byte, 3*maxChunk))
		require.NoError(t, err)
		o.do(func(s *Stream) {
			_, err := s.Send(make([]byte, 10))
			assert.ErrorIs(t, err, syscall.EPIPE)
			unread, err := s.StopWriting()
			assert.True(t, unread)
			assert.NoError(t, err)
			s.SetReading(true)
		})
		l.until(t, func() bool { return len(o.flags) > 0 })
		assert.Equal(t, []Flags{Exhausted}, o.flags)
		assert.Equal(t, 3*maxChunk, o.got.Len())
		assert.Empty(t, o.errs)
		o.retire(false)
	})
}

// The kernel may report a reset to a writer. If the reader's goroutine has got it before, the writer gets EPIPE, and the
// reader reports the reset afterwards.
func TestSend_AfterAReset(t *testing.T) {
	onEach(t, func(t *testing.T) {
		l := newLoop(t)
		here, there := tcpPair(t)
		o := own(l, here)
		o.do(func(s *Stream) { s.SetReading(true) })
		require.NoError(t, there.SetLinger(0))
		require.NoError(t, there.Close())
		if !netpoll.Enabled { // the reader detects it first, and waits for the loop
			for unread := false; !unread; {
				o.do(func(s *Stream) { unread, _ = s.Unread() })
			}
		}
		o.do(func(s *Stream) {
			_, err := s.Send(make([]byte, 10))
			if netpoll.Enabled {
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				return
			}
			assert.ErrorIs(t, err, syscall.EPIPE)
			unread, err := s.StopWriting()
			assert.True(t, unread)
			assert.NoError(t, err)
		})
		if netpoll.Enabled {
			return
		}
		l.until(t, func() bool { return len(o.errs) > 0 })
		assert.ErrorIs(t, o.errs[0], syscall.ECONNRESET)
		assert.Empty(t, o.flags)
		o.retire(false)
		l.running.Wait()
		assert.Empty(t, o.failures)
	})
}
