package conformance_test

import (
	"bytes"
	"io"
	"os"
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
