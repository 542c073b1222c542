package conformance_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A source that has already ended ends its destination too, after the data written in the same
// callback.
func TestTrapPipeAfterTheEnd(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{AllowHalfOpen: true}, func(c, a *evnet.Socket) {
		c.End()
		c.Resume()
		a.Resume()
		a.On.End(func() {
			l.AfterFunc(0, func() {
				kit.ConnectPair(t, l, nil, nil, func(dst, far *evnet.Socket) {
					far.On.Data(got.Chunk(""))
					far.On.End(got.Say("end"))
					a.Pipe(dst)
					_, err := dst.WriteString("last words")
					assert.NoError(t, err)
					dst.Resume()
					dst.On.Finish(a.End)
				})
			})
		})
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"last words", "end"}, got)
}

// A Pipe that Unpipe undoes immediately ends nothing. A Pipe of a closed socket waits for its next
// connection.
func TestTrapPipeAfterTheEndUndone(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, nil, func(dst, far *evnet.Socket) {
		kit.ConnectPair(t, l, nil, &evnet.ServerOptions{AllowHalfOpen: true}, func(c, a *evnet.Socket) {
			c.End()
			c.Resume()
			a.Resume()
			a.On.End(func() {
				a.Pipe(dst)
				a.Unpipe(dst)
				a.End()
			})
			a.On.Close(func(bool) {
				a.Pipe(dst)
				l.AfterFunc(0, func() {
					assert.True(t, dst.Writable())
					a.Unpipe(dst)
					dst.Destroy(nil)
					far.Resume()
				})
			})
		})
	})
	kit.Run(t, l)
}

// A destination that drains does not undo Pause.
func TestTrapPauseBehindAPipe(t *testing.T) {
	l := evnet.NewLoop()
	s, source := kit.WrapPipe(l, evnet.SocketOptions{})
	dst, far := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
	s.Pipe(dst)
	drained := false
	dst.On.Drain(func() {
		drained = true
		l.AfterFunc(time.Millisecond, func() {
			assert.True(t, s.Paused())
			assert.False(t, s.Flowing())
			s.Destroy(nil)
			dst.Destroy(nil)
		})
	})
	kit.Aside(l, func() { _, _ = io.WriteString(source, "much") })
	var look func()
	look = func() {
		if !dst.NeedDrain() {
			l.Post(look)
			return
		}
		s.Pause()
		kit.Aside(l, func() { _, _ = io.ReadFull(far, make([]byte, 4)) })
	}
	l.Post(look)
	kit.Run(t, l)
	assert.True(t, drained)
}

// CloseTimeout does not apply before there is a connection: End on a new socket starts no timer. The time
// counts from Connect.
func TestTrapCloseTimeoutOfANewSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, CloseTimeout: 3 * time.Second, Resolver: evtest.NeverResolves{}})
		s.End()
		kit.Run(t, l)
		time.Sleep(9 * time.Second) // in the bubble: no real time passes
		assert.False(t, s.Destroyed())
		assert.Equal(t, evnet.StateReadOnly, s.ReadyState())

		began := time.Now()
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		s.Connect("tcp", "name.example:1")
		kit.Run(t, l)
		require.True(t, s.Destroyed())
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

// A destination that was added twice must be removed twice.
func TestPipeTwiceToOne(t *testing.T) {
	var got bytes.Buffer
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	s.Pipe(&got)
	s.Pipe(&got)
	s.Unpipe(&got)
	s.Once.Data(func([]byte) { s.Unpipe(&got); assert.True(t, s.Paused()); s.Destroy(nil) })
	kit.Aside(l, func() { _, _ = peer.Write([]byte("once")) })
	kit.Run(t, l)
	assert.Equal(t, "once", got.String())
}

// Pipe and Relay resume a socket that was paused by Pause or PauseOnConnect. No other consumer does.
func TestPipe_ResumesAPausedSocket(t *testing.T) {
	for name, forward := range map[string]func(a, b *evnet.Socket){
		"Pipe":  func(a, b *evnet.Socket) { a.Pipe(b) },
		"Relay": func(a, b *evnet.Socket) { evnet.Relay(a, b, nil) },
	} {
		for _, onConnect := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", PauseOnConnect ", onConnect), func(t *testing.T) {
				l := evnet.NewLoop()
				var got bytes.Buffer
				b, far := kit.WrapPipe(l, evnet.SocketOptions{})
				kit.Aside(l, func() { _, _ = io.Copy(&got, far); _ = far.Close() })
				kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: onConnect}, func(c, a *evnet.Socket) {
					if !onConnect {
						a.Pause()
					}
					c.Resume()
					c.WriteString("through")
					c.End()
					assert.True(t, a.Paused())
					forward(a, b)
					assert.False(t, a.Paused())
				})
				kit.Run(t, l)
				assert.Equal(t, "through", got.String())
			})
		}
	}
	for name, consume := range map[string]func(s *evnet.Socket){
		"Data":         func(s *evnet.Socket) { kit.Consume(s) },
		"OnRead":       func(s *evnet.Socket) { _ = s.OnRead(func([]byte) bool { return true }) },
		"Scan":         func(s *evnet.Socket) { _ = s.Scan(nil, 0, func([]byte) {}) },
		"BlockingConn": func(s *evnet.Socket) { _, _ = s.BlockingConn() },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
			s.Pause()
			consume(s)
			assert.True(t, s.Paused())
			s.Destroy(nil)
			kit.Run(t, l)
		})
	}
}

// keepOpen is Pipe without the end: Node's pipe with { end: false }. Data and Drain hold src to the pace of dst.
func keepOpen(src, dst *evnet.Socket) {
	src.On.Data(func(chunk []byte) {
		if _, err := dst.Write(chunk); err != nil {
			src.Destroy(err)
		} else if dst.NeedDrain() {
			src.Pause()
		}
	})
	drain := dst.On.Drain(src.Resume)
	closed := dst.On.Close(func(bool) { src.Destroy(nil) })
	src.On.Close(func(bool) { drain.Off(); closed.Off() })
}

// Node's pipe with { end: false }: the destination gets all data of one source after the other, at its own pace, and
// stays open.
func TestPipe_WithoutEnd(t *testing.T) {
	const size = 4 * evtest.Megabyte // more than MaxWriteBuffer
	first, second := evtest.RandomBytes(size), evtest.PatternBytes(size)
	for name, forward := range map[string]func(src, dst *evnet.Socket){
		"Data and Drain": keepOpen,
		"ReadFrom": func(src, dst *evnet.Socket) {
			c, err := src.BlockingConn()
			if !assert.NoError(t, err) {
				return
			}
			kit.Aside(dst.Loop(), func() {
				n, err := dst.ReadFrom(c)
				assert.NoError(t, err)
				assert.EqualValues(t, size, n)
				_ = c.Close()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			var got bytes.Buffer
			dst, far := kit.WrapPipe(l, evnet.SocketOptions{})
			kit.Aside(l, func() { _, _ = io.Copy(&got, far); _ = far.Close() })
			sources := [][]byte{first, second}
			var next func()
			next = func() {
				if len(sources) == 0 {
					_, err := dst.WriteString("end")
					assert.NoError(t, err)
					dst.End()
					return
				}
				kit.ConnectPair(t, l, &evnet.SocketOptions{MaxWriteBuffer: -1}, nil, func(c, a *evnet.Socket) {
					forward(a, dst)
					a.On.Close(func(bool) { assert.True(t, dst.Writable()); next() })
					c.Resume()
					_, _ = c.Write(sources[0])
					c.End()
					sources = sources[1:]
				})
			}
			next()
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, slices.Concat(first, second, []byte("end")), got.Bytes())
		})
	}
}
