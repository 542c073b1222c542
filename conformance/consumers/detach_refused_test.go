package consumers_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// After the peer's end Detach returns a conn with nothing to read, whose other direction works.
func TestDetachAfterPeersEnd(t *testing.T) {
	for _, where := range []string{"end", "before"} {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		detach := func() {
			conn, rest, err := s.Detach()
			require.NoError(t, err)
			_, err = conn.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
			_, err = conn.Write(append(rest, '!'))
			assert.NoError(t, err)
			_ = conn.Close()
		}
		_, _ = io.WriteString(there, "x")
		_ = there.CloseWrite()
		want := "!"
		if where == "end" {
			s.Resume()
			s.On.End(detach)
		} else {
			want = "x!" // read and buffered; the end may already be read
			var look func()
			look = func() {
				if s.ReadableLength() == 0 {
					l.AfterFunc(0, look)
					return
				}
				detach()
			}
			l.Post(look)
		}
		kit.Run(t, l)
		got, _ := io.ReadAll(there)
		assert.Equal(t, want, string(got))
		_ = there.Close()
	}
}

// A refused Detach returns an error that names the reason and the socket, and changes nothing.
func TestDetachRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(s *evnet.Socket)
		is      error
	}{
		"end called": {(*evnet.Socket).End, evnet.ErrWriteAfterEnd},
		"destroyed":  {func(s *evnet.Socket) { s.Destroy(nil) }, evnet.ErrDestroyed},
		"corked":     {func(s *evnet.Socket) { s.Cork(); _, _ = s.WriteString("x") }, evnet.ErrWritesQueued},
		"queued":     {func(s *evnet.Socket) { _, _ = s.Write(make([]byte, 32*evtest.Megabyte)) }, evnet.ErrWritesQueued},
		"relayed": {func(s *evnet.Socket) {
			evnet.Relay(s, evnet.NewSocket(&evnet.SocketOptions{Loop: s.Loop()}), nil)
		}, evnet.ErrRelayed},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			kit.ConnectPair(t, l, nil, nil, func(s, a *evnet.Socket) {
				local := s.LocalAddr().String()
				c.prepare(s)
				destroyed := s.Destroyed()
				conn, rest, err := s.Detach()
				assert.Nil(t, conn)
				assert.Empty(t, rest)
				kit.BadInput{Err: err, Is: []error{c.is}, As: []any{kit.OpError()}, Code: evnet.Code(c.is), Says: []string{"detach", local}}.Check(t)
				assert.Equal(t, destroyed, s.Destroyed())
				s.Destroy(nil)
				a.Destroy(nil)
			})
			kit.Run(t, l)
		})
	}
	t.Run("not connected", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.NewClient(l)
		_, _, err := s.Detach()
		assert.ErrorIs(t, err, evnet.ErrSocketClosed)
		s.On.Error(func(error) {})
		s.Connect("tcp", evtest.ClosedPort(t))
		_, _, err = s.Detach()
		assert.ErrorIs(t, err, evnet.ErrSocketClosed)
		kit.Run(t, l)
		_, _, err = s.Detach()
		assert.ErrorIs(t, err, evnet.ErrDestroyed)
	})
	t.Run("handshake", func(t *testing.T) {
		l := evnet.NewLoop()
		c, s := kit.TLSSockets(t, l)
		c.On.Error(func(error) {})
		_, _, err := s.Detach()
		assert.ErrorIs(t, err, evnet.ErrSocketClosed)
		assert.ErrorContains(t, err, "handshake")
		l.AfterFunc(0, func() { s.Destroy(nil) })
		kit.Run(t, l)
	})
	t.Run("reset read", func(t *testing.T) { // not reported yet: the conn would return it only once
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		s.Resume()
		reported := 0
		s.On.Error(func(err error) { reported++; assert.Equal(t, "ECONNRESET", evnet.Code(err)) })
		l.AfterFunc(time.Millisecond, func() {
			_ = there.SetLinger(0)
			_ = there.Close()
			conn, _, err := s.Detach()
			if conn != nil { // the reset arrived later: it is still in the conn
				_ = conn.Close()
				reported++
				return
			}
			assert.Equal(t, "ECONNRESET", evnet.Code(err))
			assert.False(t, s.Destroyed())
		})
		kit.Run(t, l)
		assert.Equal(t, 1, reported)
	})
}

// noDeadline is a conn whose Read ignores its deadline.
type noDeadline struct{ net.Conn }

func (noDeadline) SetReadDeadline(time.Time) error { return nil }

// If the Read of a conn cannot be interrupted, Detach fails, and the socket keeps the conn and loses no data.
func TestDetachWithoutDeadlines(t *testing.T) {
	for name, wrap := range map[string]func(*evtest.NonconformingConn) net.Conn{
		"refused": func(c *evtest.NonconformingConn) net.Conn { c.NoDeadlines = true; return c },
		"ignored": func(c *evtest.NonconformingConn) net.Conn { return noDeadline{c} },
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			here, there := net.Pipe()
			under := &evtest.NonconformingConn{Conn: here}
			s := evnet.Wrap(wrap(under), &evnet.SocketOptions{Loop: l})
			events := kit.NoteLife(s)
			var got bytes.Buffer
			s.On.Data(func(p []byte) { got.Write(p) })
			detach := func() {
				began := time.Now()
				conn, rest, err := s.Detach()
				assert.Nil(t, conn)
				assert.Empty(t, rest)
				assert.ErrorAs(t, err, kit.OpError())
				assert.Less(t, time.Since(began), 10*time.Second)
				assert.False(t, s.Destroyed())
				kit.Aside(l, func() {
					_, _ = there.Write(evtest.PatternBytes(100_000))
					_ = there.Close()
				})
			}
			under.OnRead = func(n int32) {
				if n == 1 { // the reader is about to enter Read, and cannot be stopped
					l.Post(detach)
				}
			}
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, evtest.PatternBytes(100_000), got.Bytes())
			assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
			goleak.VerifyNone(t, before)
		})
	}
}

// Two loops that call Detach on each other's sockets do not deadlock.
func TestDetachAcrossLoops(t *testing.T) {
	t.Parallel()
	first, second := evnet.NewLoop(), evnet.NewLoop()
	a, peerA := kit.WrapPipe(first, evnet.SocketOptions{})
	b, peerB := kit.WrapPipe(second, evnet.SocketOptions{})
	var inside, done sync.WaitGroup
	inside.Add(2)
	cross := func(other *evnet.Socket) func() {
		return func() {
			inside.Done()
			inside.Wait()
			if conn, _, err := other.Detach(); err == nil {
				_ = conn.Close()
			} else {
				other.Destroy(nil)
			}
		}
	}
	first.Post(cross(b))
	second.Post(cross(a))
	done.Go(func() { kit.Run(t, second) })
	kit.Run(t, first)
	done.Wait()
	_ = peerA.Close()
	_ = peerB.Close()
}

// During Detach other goroutines may use the socket. Either the socket keeps the conn, or Detach returns it.
func TestDetachMeanwhile(t *testing.T) {
	for range 200 {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		s.Resume()
		wrote, last := 0, error(nil)
		stop := make(chan struct{})
		kit.Aside(l, func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, err := s.WriteString("x")
				if wrote += n; err != nil {
					last = err
					return
				}
			}
		})
		read := make(chan int)
		go func() {
			got, _ := io.ReadAll(there)
			read <- len(got)
		}()
		kit.Aside(l, func() {
			for {
				conn, _, err := s.Detach()
				if err == nil {
					close(stop)
					_ = conn.Close()
					return
				}
				assert.ErrorIs(t, err, evnet.ErrWritesQueued)
			}
		})
		kit.Run(t, l)
		assert.Equal(t, wrote, <-read)
		if last != nil {
			assert.ErrorIs(t, last, evnet.ErrDestroyed)
		}
		_ = there.Close()
	}
}
