package evnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWriteCork(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	conn := &recorder{Conn: here}
	s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
	s.Uncork() // a surplus Uncork has no effect
	s.Cork()
	s.Cork()
	_, _ = s.WriteString("a")
	l.AfterFunc(0, func() {
		_, _ = s.WriteString("b")
		s.Uncork()
		_, _ = s.WriteString("c")
		l.AfterFunc(0, func() {
			assert.Equal(t, 3, s.BufferedAmount(), "held")
			s.Uncork()
			_, _ = s.WriteString("d")
			s.Cork()
			_, _ = s.WriteString("e")
			s.End() // uncorks too
		})
	})
	var got []byte
	kit.Aside(l, func() { got, _ = io.ReadAll(there) })
	kit.Run(t, l)
	assert.Equal(t, "abcde", string(got))
	assert.True(t, strings.HasPrefix(conn.writes[0], "abc"))
}

// Data written under a cork is held back, even while earlier data is still being sent.
func TestWriteCorkBehindQueuedData(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, &evnet.SocketOptions{MaxWriteBuffer: -1}, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		_, _ = c.Write(make([]byte, 16*evtest.Megabyte)) // more than the kernel accepts
		l.AfterFunc(0, func() {
			assert.Positive(t, c.BufferedAmount())
			c.Cork()
			_, _ = c.WriteString("held")
			total := 0
			a.On.Data(func(p []byte) {
				if total += len(p); total >= 16*evtest.Megabyte && p != nil {
					a.End() // an answer
				}
			})
			a.Resume()
		})
		c.SetAllowHalfOpen(true)
		c.On.End(func() {
			assert.Equal(t, 4, c.BufferedAmount(), "sent in spite of the cork")
			c.End()
		})
		c.Resume()
	})
	kit.Run(t, l)
}

// Close first sends all queued data, however slow the reader is.
func TestWriteCloseFlushes(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		_, _ = c.Write(want)
		require.NoError(t, c.Close())
		assert.False(t, c.Destroyed())
		_, err := c.WriteString("late")
		assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
		a.OnRead(func(p []byte) bool {
			_, _ = got.Write(p)
			l.AfterFunc(0, a.Resume) // reads slowly
			return false
		})
		a.Resume()
		c.On.Close(func(hadError bool) { assert.False(t, hadError) })
	})
	kit.Run(t, l)
	got.Check(t, want)
}

// After End data is still received.
func TestWriteEndThenDataStillComes(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{AllowHalfOpen: true}, func(c, a *evnet.Socket) {
		c.On.Data(func(p []byte) { _, _ = got.Write(p) })
		c.End()
		assert.Equal(t, evnet.StateReadOnly, c.ReadyState())
		a.Resume()
		a.On.End(func() {
			assert.Equal(t, evnet.StateWriteOnly, a.ReadyState())
			_, _ = a.Write(want)
			a.End()
		})
	})
	kit.Run(t, l)
	got.Check(t, want)
}

// An end directly after a lot of data is sent after all of it, whether the reader is fast, slow or paused.
func TestWriteEndBehindMuchData(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	for name, read := range map[string]func(l *evnet.Loop, a *evnet.Socket){
		"fast": func(*evnet.Loop, *evnet.Socket) {},
		"slow": func(l *evnet.Loop, a *evnet.Socket) {
			a.On.Data(func([]byte) {
				a.Pause()
				l.AfterFunc(0, a.Resume)
			})
		},
		"paused until the writer has nothing left to do but wait": func(l *evnet.Loop, a *evnet.Socket) {
			a.Pause()
			l.AfterFunc(0, func() { l.AfterFunc(0, a.Resume) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := evtest.NewSum()
			l := evnet.NewLoop()
			kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
				a.On.Data(func(p []byte) { _, _ = got.Write(p) })
				read(l, a)
				a.On.End(func() { assert.Equal(t, len(want), got.N) })
				_, _ = c.Write(want)
				c.End()
				c.On.Finish(func() { assert.Zero(t, c.BufferedAmount()) })
			})
			kit.Run(t, l)
			got.Check(t, want)
		})
	}
}

// End on a connection that the peer has reset reports the reset, as a read does, and not the error of the
// shutdown.
func TestWriteEndAfterReset(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		kit.Consume(c)
		c.On.Error(func(err error) { assert.Equal(t, "ECONNRESET", evnet.Code(err)) })
		c.On.Close(func(hadError bool) { assert.True(t, hadError) })
		a.Reset() // a is not read: the reset arrives immediately
		c.End()
	})
	kit.Run(t, l)
}

// io.Copy to a socket runs at the pace of the peer.
func TestWriteReadFrom(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, &evnet.SocketOptions{HighWaterMark: 100 << 10}, nil, func(c, a *evnet.Socket) {
		most := 0
		a.On.Data(func(p []byte) {
			_, _ = got.Write(p)
			most = max(most, c.BufferedAmount())
		})
		_, err := c.ReadFrom(strings.NewReader("on the loop"))
		assert.ErrorIs(t, err, evnet.ErrOnLoop)
		kit.Aside(l, func() {
			n, err := io.Copy(c, struct{ io.Reader }{bytes.NewReader(want)}) // a Reader without WriteTo
			assert.NoError(t, err)
			assert.EqualValues(t, len(want), n)
			c.End()
		})
		c.On.Close(func(bool) { assert.LessOrEqual(t, most, 200<<10, "the high-water mark and one chunk") })
	})
	kit.Run(t, l)
	got.Check(t, want)
}

type failingReader struct{ err error }

func (r failingReader) Read(p []byte) (int, error) { return copy(p, "some"), r.err }

func TestWriteReadFromReaderFails(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	cause := errors.New("a cause")
	var got []byte
	kit.Aside(l, func() {
		n, err := s.ReadFrom(failingReader{cause})
		assert.Equal(t, cause, err)
		assert.EqualValues(t, 4, n)
		s.End()
	})
	kit.Aside(l, func() { got, _ = io.ReadAll(peer) })
	kit.Run(t, l)
	assert.Equal(t, "some", string(got))
}

// failingWriter is a conn whose Write fails.
type failingWriter struct {
	net.Conn
	err error
}

func (c failingWriter) Write([]byte) (int, error) { return 0, c.err }

// As in Node, except that the reader reports a reset, if there is one.
func TestWrite_FailureCallsItsCallbackFirst(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		paused bool
		want   []string
	}{
		"refused":       {syscall.EPIPE, false, []string{"a", "b", "error", "close"}},
		"any error":     {errors.New("a cause"), false, []string{"a", "b", "error", "close"}},
		"reset, unread": {syscall.ECONNRESET, true, []string{"a", "b", "error", "close"}},
		"reset":         {syscall.ECONNRESET, false, []string{"error", "a", "b", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := net.Pipe()
			defer there.Close()
			s := evnet.Wrap(failingWriter{here, c.err}, &evnet.SocketOptions{Loop: l})
			var emitted []string
			record := func(what string) func(error) {
				return func(err error) {
					assert.ErrorIs(t, err, c.err)
					emitted = append(emitted, what)
				}
			}
			s.On.Error(record("error"))
			s.On.Close(func(bool) { emitted = append(emitted, "close") })
			if c.paused {
				s.Pause()
			}
			s.Cork()
			s.WriteThen([]byte("a"), record("a"))
			s.WriteThen([]byte("b"), record("b"))
			kit.Aside(l, s.Uncork)
			kit.Run(t, l)
			assert.Equal(t, c.want, emitted)
		})
	}
}

// If the socket closes while ReadFrom waits, ReadFrom returns the cause.
func TestWriteReadFromSocketCloses(t *testing.T) {
	cause := errors.New("a cause")
	for name, c := range map[string]struct {
		chunks int // the number of chunks to read; the first one fills the queue
		end    func(s *evnet.Socket)
		want   error
	}{
		"destroyed with a cause": {9, func(s *evnet.Socket) { s.Destroy(cause) }, cause},
		"destroyed":              {9, func(s *evnet.Socket) { s.Destroy(nil) }, evnet.ErrDestroyed},
		"destroyed when all was read, but not written": {1, func(s *evnet.Socket) { s.Destroy(cause) }, cause},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
			s.On.Error(func(error) {})
			kit.Aside(l, func() {
				_, err := s.ReadFrom(strings.NewReader(strings.Repeat("x", c.chunks*64<<10)))
				assert.ErrorIs(t, err, c.want)
			})
			kit.Aside(l, func() {
				_, _ = io.ReadFull(peer, make([]byte, 10)) // ReadFrom has written, and waits
				c.end(s)
			})
			kit.Run(t, l)
		})
	}
}

// End on another goroutine also ends ReadFrom immediately.
func TestWriteReadFromEnded(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
	returned := make(chan struct{})
	kit.Aside(l, func() {
		defer close(returned)
		_, err := s.ReadFrom(strings.NewReader(strings.Repeat("x", 640<<10)))
		assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
	})
	kit.Aside(l, func() {
		_, _ = io.ReadFull(peer, make([]byte, 10))
		s.End()
		<-returned // before the peer has read the rest
		_, _ = io.Copy(io.Discard, peer)
	})
	kit.Run(t, l)
}

// gate is a conn that records its writes and blocks each until the test releases it.
type gate struct {
	net.Conn
	open   chan struct{}
	writes chan string
}

func (g *gate) Write(p []byte) (int, error) {
	g.writes <- string(p)
	<-g.open
	return len(p), nil
}

// The writes of one callback are sent together, even if an earlier one is still being written.
func TestWriteTogetherBehindOneUnderWay(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	g := &gate{Conn: here, open: make(chan struct{}), writes: make(chan string, 10)}
	s := evnet.Wrap(g, &evnet.SocketOptions{Loop: l})
	_, _ = s.WriteString("first")
	kit.Aside(l, func() {
		assert.Equal(t, "first", <-g.writes)
		l.Do(func() {
			close(g.open)
			for _, text := range []string{"a", "b", "c"} {
				_, _ = s.WriteString(text)
				for range 100 {
					runtime.Gosched() // gives the writer every chance to return meanwhile
				}
			}
		})
		assert.Equal(t, "abc", <-g.writes)
		s.Destroy(nil)
	})
	kit.Run(t, l)
	_ = there.Close()
}

// A Write above MaxWriteBuffer is refused as a whole, and the socket stays open. If the program ignores the error, later
// writes succeed once there is room: the peer gets a stream without some of the messages, but never a part of one.
func TestWrite_RefusedAsAWhole(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{MaxWriteBuffer: 13})
	for i, accepted := range []bool{true, true, true, false, false} { // the third begins below the limit
		n, err := s.WriteString(fmt.Sprint("<msg", i, ">"))
		if accepted {
			require.NoError(t, err)
			assert.Equal(t, 6, n)
		} else {
			assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
			assert.Zero(t, n)
		}
	}
	s.On.Drain(func() {
		_, err := s.WriteString("<later>")
		assert.NoError(t, err)
		s.End()
	})
	var got []byte
	kit.Aside(l, func() { got, _ = io.ReadAll(peer); _ = peer.Close() })
	kit.Run(t, l)
	assert.NoError(t, s.Err())
	assert.Equal(t, "<msg0><msg1><msg2><later>", string(got))
}
