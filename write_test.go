package evnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder is a conn that records each Write.
type recorder struct {
	net.Conn
	mu     sync.Mutex
	writes []string
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, string(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func TestWriteTogether(t *testing.T) {
	for _, n := range []int{1, 3, 100} {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		conn := &recorder{Conn: here}
		s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
		s.On.Data(func([]byte) {
			for range n {
				_, _ = s.WriteString("ping")
				runtime.Gosched() // a writer that did not wait for the rest would write now
			}
		})
		kit.Aside(l, func() {
			_, _ = there.Write([]byte("x"))
			_, _ = io.ReadFull(there, make([]byte, 4*n)) // the data is sent even if no callback follows
			_ = there.Close()
		})
		kit.Run(t, l)
		assert.Equal(t, []string{strings.Repeat("ping", n)}, conn.writes)
	}
}

func TestWriteCopies(t *testing.T) {
	for _, size := range []int{10, 100 << 10} {
		l := evnet.NewLoop()
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		p := bytes.Repeat([]byte("a"), size)
		n, err := s.Write(p)
		assert.NoError(t, err)
		assert.Equal(t, size, n)
		clear(p)
		s.WriteThen(p[:1], nil)
		p[0] = 'x'
		s.End()
		var got []byte
		kit.Aside(l, func() { got, _ = io.ReadAll(peer) })
		kit.Run(t, l)
		assert.Equal(t, strings.Repeat("a", size)+"\x00", string(got))
	}
}

// fates records the result of each WriteThen.
type fates struct {
	t      *testing.T
	order  []int
	errs   []error
	closed bool
}

func (f *fates) then(i int) func(error) {
	return func(err error) {
		assert.False(f.t, f.closed, "reported after Close")
		f.order = append(f.order, i)
		f.errs = append(f.errs, err)
	}
}

// Whenever the socket is destroyed, each write reports once, in order, and nil only if it was sent.
func TestWriteThenAcrossDestroy(t *testing.T) {
	const writes = 10
	cause := errors.New("a cause")
	for at := range writes + 1 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			f := &fates{t: t}
			s.On.Error(func(err error) { assert.Equal(t, cause, err) })
			s.On.Close(func(bool) { f.closed = true })
			for i := range writes {
				s.WriteThen(bytes.Repeat([]byte{byte(i)}, 20<<10), f.then(i))
			}
			kit.Aside(l, func() {
				_, _ = io.ReadFull(peer, make([]byte, at*20<<10))
				s.Destroy(cause)
				s.WriteThen([]byte("late"), func(err error) { assert.ErrorIs(t, err, evnet.ErrDestroyed) }) // Close may already be emitted
			})
			kit.Run(t, l)
			require.Len(t, f.order, writes)
			for i, err := range f.errs {
				assert.Equal(t, i, f.order[i])
				switch {
				case i > at: // the peer cannot have read it
					assert.Equal(t, cause, err)
				case err != nil:
					assert.Equal(t, cause, err)
				}
			}
		})
	}
}

// A reset by the peer is an error for the writes that were not sent.
func TestWriteThenAcrossReset(t *testing.T) {
	l := evnet.NewLoop()
	f := &fates{t: t}
	kit.ConnectPair(t, l, &evnet.SocketOptions{MaxWriteBuffer: -1}, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		c.On.Error(func(error) {})
		c.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			f.closed = true
		})
		for i := range 32 {
			c.WriteThen(make([]byte, evtest.Megabyte), f.then(i))
		}
		a.Reset()
	})
	kit.Run(t, l)
	require.Len(t, f.order, 32)
	for i, err := range f.errs {
		assert.Equal(t, i, f.order[i])
		if i > 0 && f.errs[i-1] != nil {
			assert.Error(t, err, "no write succeeds after a lost one")
		}
	}
	assert.Error(t, f.errs[31])
}

// Many posted functions do not make Close run before earlier callbacks.
func TestWriteThenBeforeCloseThoughMuchIsPosted(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	var events []string
	s.On.Error(func(error) { events = append(events, "error") })
	s.On.Close(func(bool) { events = append(events, "close") })
	l.AfterFunc(0, func() {
		for range 10000 {
			l.Post(func() {})
		}
		s.WriteThen([]byte("x"), func(err error) {
			assert.Error(t, err)
			events = append(events, "written")
		})
		s.Destroy(evtest.Boom("boom"))
	})
	kit.Run(t, l)
	assert.ElementsMatch(t, []string{"written", "error", "close"}, events)
	assert.Equal(t, "close", events[2])
}

// A write that the previous connection refused reports immediately, not when the next one has sent as much.
func TestWriteThenRefusedThenConnectedAgain(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { s.Resume() })
	c := kit.NewClient(l)
	var events []string
	c.Once.Ready(func() {
		_, _ = c.Write(make([]byte, 100))
		c.End()
	})
	c.Once.Close(func(bool) {
		c.WriteThen([]byte("refused"), func(err error) {
			assert.ErrorIs(t, err, evnet.ErrDestroyed)
			events = append(events, "refused")
		})
		c.Once.Ready(func() {
			c.WriteThen([]byte("hello"), func(err error) {
				assert.NoError(t, err)
				events = append(events, "hello")
			})
			c.End()
		})
		c.Once.Finish(func() { events = append(events, "finish") })
		c.Once.Close(func(bool) { _ = server.Close(nil) })
		c.Connect("tcp", addr)
	})
	c.Resume()
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, []string{"refused", "hello", "finish"}, events)
}

// stuck is a conn whose first Write returns only when the test releases it, long after Close.
type stuck struct {
	net.Conn
	began, end chan struct{}
}

func (c *stuck) Write(p []byte) (int, error) {
	close(c.began)
	<-c.end
	return len(p), nil
}

// A slow write of an old conn does not affect the next connection.
func TestWriteOfAnOldConnDoesNotCount(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	old := &stuck{Conn: here, began: make(chan struct{}), end: make(chan struct{})}
	server, addr := kit.Serve(t, l, nil, nil)
	s := evnet.Wrap(old, &evnet.SocketOptions{Loop: l, IdleTimeout: evtest.Patience / 6}) // only ends the test if it hangs
	_, _ = s.Write(make([]byte, 1000))
	s.Once.Close(func(bool) {
		s.Connect("tcp", addr)
		_, _ = s.WriteString("hello")
		close(old.end)
	})
	kit.Aside(l, func() {
		<-old.began
		s.Destroy(nil)
	})
	got := ""
	server.On.Connection(func(a *evnet.Socket) {
		_ = server.Close(nil)
		a.On.Data(func(p []byte) {
			if got += string(p); got == "hello" {
				assert.Zero(t, s.BufferedAmount())
				s.End()
			}
		})
	})
	kit.Run(t, l)
	assert.Equal(t, "hello", got)
	assert.NoError(t, s.Err())
	assert.Zero(t, s.BufferedAmount())
	_ = there.Close()
}

func TestWriteDrain(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T, l *evnet.Loop, of evnet.SocketOptions, ready func(s *evnet.Socket, drainPeer func())){
		"pipe": func(t *testing.T, l *evnet.Loop, of evnet.SocketOptions, ready func(*evnet.Socket, func())) {
			s, peer := kit.WrapPipe(l, of)
			l.Post(func() { ready(s, func() { kit.Aside(l, func() { _, _ = io.Copy(io.Discard, peer) }) }) })
		},
		"tcp": func(t *testing.T, l *evnet.Loop, of evnet.SocketOptions, ready func(*evnet.Socket, func())) {
			kit.ConnectPair(t, l, &of, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) { ready(c, a.Resume) })
		},
	} {
		for _, mark := range []int{-1, 1000, 0} {
			t.Run(fmt.Sprint(name, mark), func(t *testing.T) {
				l := evnet.NewLoop()
				connect(t, l, evnet.SocketOptions{HighWaterMark: mark}, func(s *evnet.Socket, drainPeer func()) {
					kit.Consume(s)
					drains := 0
					for !s.NeedDrain() { // the kernel accepts some
						_, err := s.Write(make([]byte, 1000))
						require.NoError(t, err)
					}
					assert.GreaterOrEqual(t, s.BufferedAmount(), mark)
					s.On.Drain(func() {
						assert.False(t, s.NeedDrain())
						assert.Zero(t, s.BufferedAmount())
						drains++
						s.End()
					})
					s.On.Finish(func() { assert.Equal(t, 1, drains) })
					drainPeer()
				})
				kit.Run(t, l)
			})
		}
	}
}

// After End, Drain is not emitted.
func TestWriteNoDrainAfterEnd(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 10})
	finished := false
	s.On.Drain(func() { t.Error("Drain after End") })
	s.On.Finish(func() { finished = true })
	_, _ = s.Write(make([]byte, 100))
	assert.True(t, s.NeedDrain())
	s.End()
	assert.False(t, s.NeedDrain())
	kit.Aside(l, func() { _, _ = io.Copy(io.Discard, peer) })
	kit.Run(t, l)
	assert.True(t, finished)
}

func TestWriteMaxWriteBuffer(t *testing.T) {
	for name, c := range map[string]struct{ max, taken int }{
		"default":  {0, evtest.Megabyte},
		"custom":   {3 * evtest.Megabyte, 3 * evtest.Megabyte},
		"no limit": {-1, 80 * evtest.Megabyte},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{MaxWriteBuffer: c.max})
			chunk := make([]byte, evtest.Megabyte)
			taken := 0
			var err error
			for err == nil && taken < 80*evtest.Megabyte {
				var n int
				n, err = s.Write(chunk)
				taken += n
			}
			assert.Equal(t, c.taken, taken)
			assert.Equal(t, taken, s.BufferedAmount())
			if c.max >= 0 {
				assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
				var result error
				s.WriteThen(chunk, func(err error) { result = err })
				defer func() { assert.ErrorIs(t, result, evnet.ErrWriteBufferFull) }()
			}
			s.Once.Drain(func() { // the socket stays open
				_, err := s.WriteString("more")
				assert.NoError(t, err)
				s.End()
			})
			var got int64
			kit.Aside(l, func() { got, _ = io.Copy(io.Discard, peer) })
			kit.Run(t, l)
			assert.EqualValues(t, c.taken+4, got)
			assert.NoError(t, s.Err())
		})
	}
}

func TestWriteCounters(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		kit.Consume(c)
		a.Pipe(a)
		a.Pause()
		n, err := c.Write(make([]byte, 16*evtest.Megabyte))
		assert.NoError(t, err)
		assert.Equal(t, 16*evtest.Megabyte, n)
		assert.EqualValues(t, 16*evtest.Megabyte, c.BytesWritten(), "accepted bytes count, sent or not")
		assert.Positive(t, c.BufferedAmount())
		assert.LessOrEqual(t, c.BufferedAmount(), 16*evtest.Megabyte)
		c.End()
		a.Resume()
		c.On.Close(func(bool) {
			assert.EqualValues(t, 16*evtest.Megabyte, c.BytesRead())
			assert.EqualValues(t, 16*evtest.Megabyte, a.BytesRead())
			assert.EqualValues(t, 16*evtest.Megabyte, a.BytesWritten())
			assert.Zero(t, c.BufferedAmount())
		})
	})
	kit.Run(t, l)
}

// Concurrent writers on many goroutines never split each other's lines.
func TestWriteFromManyGoroutines(t *testing.T) {
	const writers, each = 8, 500
	l := evnet.NewLoop()
	var got bytes.Buffer
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.On.Data(func(p []byte) { got.Write(p) })
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					_, _ = fmt.Fprintf(c, "%d %d %s\n", w, i, strings.Repeat("x", i))
				}
			})
		}
		kit.Aside(l, func() { all.Wait(); c.End() })
	})
	kit.Run(t, l)
	next := [writers]int{}
	lines := strings.Split(strings.TrimSuffix(got.String(), "\n"), "\n")
	require.Len(t, lines, writers*each)
	for _, line := range lines {
		var w, i int
		var x string
		_, _ = fmt.Sscanf(line, "%d %d %s", &w, &i, &x)
		require.Equal(t, next[w], i, "the lines of one writer keep their order")
		require.Equal(t, strings.Repeat("x", i), x)
		next[w]++
	}
}
