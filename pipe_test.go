package evnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// If one of several destinations fails, only that one is removed.
func TestPipeOneOfSeveralFails(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	var all bytes.Buffer
	bad := &limited{left: 100, err: errors.New("disk full")}
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.Pipe(bad)
		a.Pipe(&all)
		_, _ = c.Write(want)
		c.End()
	})
	kit.Run(t, l)
	evtest.AssertEqualBytes(t, want, all.Bytes())
	evtest.AssertEqualBytes(t, want[:100], bad.Bytes())
}

// fan pipes the far end of one connection to the near ends of others, and returns their far ends.
func fan(t *testing.T, l *evnet.Loop, n, mark int, ready func(source, middle *evnet.Socket, near, far []*evnet.Socket)) {
	var near, far []*evnet.Socket
	var source, middle *evnet.Socket
	done := func() {
		if len(far) == n && source != nil {
			for _, d := range near {
				middle.Pipe(d)
			}
			ready(source, middle, near, far)
		}
	}
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) { source, middle = c, a; done() })
	for range n {
		kit.ConnectPair(t, l, &evnet.SocketOptions{HighWaterMark: mark, MaxWriteBuffer: -1}, nil, func(c, a *evnet.Socket) {
			near, far = append(near, c), append(far, a)
			done()
		})
	}
}

// The slowest of several destinations sets the pace: the others are ahead by no more than the size of the buffers.
func TestPipeSlowestGoverns(t *testing.T) {
	const size = 48 * evtest.Megabyte
	want := evtest.RandomBytes(size)
	sums := []*evtest.Sum{evtest.NewSum(), evtest.NewSum()}
	l := evnet.NewLoop()
	fan(t, l, 2, 64<<10, func(source, middle *evnet.Socket, near, far []*evnet.Socket) {
		_, _ = source.Write(want)
		source.End()
		far[0].On.Data(func(p []byte) { _, _ = sums[0].Write(p) })
		far[1].Pause() // it does not read yet
		most := 0
		far[1].On.Data(func(p []byte) {
			_, _ = sums[1].Write(p)
			most = max(most, near[1].BufferedAmount())
		})
		var look func()
		look = func() { // until the slow one is full and the fast one has received everything sent to it
			if near[1].NeedDrain() && near[0].BufferedAmount() == 0 {
				assert.True(t, middle.Paused())
				assert.Less(t, sums[0].N, size, "the source continued without the slow one")
				far[1].Resume()
				return
			}
			l.AfterFunc(0, look)
		}
		look()
		far[1].On.Close(func(bool) { assert.LessOrEqual(t, most, 192<<10, "the high-water mark and one chunk") })
	})
	kit.Run(t, l)
	for _, s := range sums {
		s.Check(t, want)
	}
}

// A destination that is destroyed or ends no longer sets the pace.
func TestPipe_DestinationsClose(t *testing.T) {
	want := evtest.RandomBytes(16 * evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	fan(t, l, 3, 64<<10, func(source, middle *evnet.Socket, near, far []*evnet.Socket) {
		_, _ = source.Write(want)
		source.End()
		far[0].On.Data(func(p []byte) { _, _ = got.Write(p) })
		far[1].Pause()
		far[2].Pause()
		var look func()
		look = func() {
			// The first full destination pauses the source, so the other may never become full.
			if !near[1].NeedDrain() && !near[2].NeedDrain() {
				l.AfterFunc(0, look)
				return
			}
			near[1].Destroy(nil)
			near[2].End()
			l.AfterFunc(0, func() {
				far[1].Resume()
				far[2].Resume()
			})
		}
		look()
	})
	kit.Run(t, l)
	got.Check(t, want)
}

// The ends of the pipe are on two loops: nothing is lost and little is buffered.
func TestPipeAcrossLoops(t *testing.T) {
	size := evtest.Pick(16, 64) * evtest.Megabyte
	want := evtest.RandomBytes(size)
	got := evtest.NewSum()
	first, second := evnet.NewLoop(), evnet.NewLoop()
	var out *evnet.Socket
	missing := make(chan struct{})
	kit.ConnectPair(t, second, &evnet.SocketOptions{HighWaterMark: 128 << 10}, nil, func(c, a *evnet.Socket) {
		most := 0
		a.On.Data(func(p []byte) {
			_, _ = got.Write(p)
			most = max(most, c.BufferedAmount())
		})
		a.On.End(func() { assert.LessOrEqual(t, most, 128<<10+64<<10) })
		c.Resume()
		out = c
		close(missing)
	})
	kit.ConnectPair(t, first, &evnet.SocketOptions{MaxWriteBuffer: -1}, nil, func(c, a *evnet.Socket) {
		_, _ = c.Write(want)
		c.End()
		kit.Aside(first, func() {
			<-missing
			first.Do(func() { a.Pipe(out) })
		})
	})
	var other sync.WaitGroup
	other.Go(func() { kit.Run(t, second) })
	kit.Run(t, first)
	other.Wait()
	got.Check(t, want)
}

func TestPipeUnpipeAll(t *testing.T) {
	l := evnet.NewLoop()
	var one, two bytes.Buffer
	var kept []byte
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.Pipe(&one)
		a.Pipe(&two)
		a.Once.Data(func([]byte) {
			l.Post(func() {
				a.Unpipe(&bytes.Buffer{}) // not a destination
				assert.False(t, a.Paused())
				a.Unpipe(&one)
				assert.False(t, a.Paused(), "one destination is left")
				a.Unpipe(nil)
				assert.True(t, a.Paused())
				a.Unpipe(nil)
				c.WriteThen([]byte("later"), func(error) {
					a.On.Data(func(p []byte) { kept = append(kept, p...) })
					a.Resume()
				})
				c.End()
			})
		})
		_, _ = c.WriteString("first")
	})
	kit.Run(t, l)
	assert.Equal(t, "first", one.String())
	assert.Equal(t, "first", two.String())
	assert.Equal(t, "later", string(kept))
}

// A pipe to itself is an echo, at the pace of the reader.
func TestPipeEcho(t *testing.T) {
	want := evtest.RandomBytes(16 * evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		a.Pipe(a)
		most := 0
		c.On.Data(func(p []byte) {
			most = max(most, a.BufferedAmount())
			_, _ = got.Write(p)
			c.Pause()
			l.AfterFunc(0, c.Resume)
		})
		c.On.End(func() { assert.LessOrEqual(t, most, 128<<10) })
		_, _ = c.Write(want)
		c.End()
	})
	kit.Run(t, l)
	got.Check(t, want)
}

// A socket that echoes and then ends its own side still sees the peer's end, as in Node, unless more data has
// arrived that is not consumed.
func TestPipeEchoEnds(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			l := evnet.NewLoop()
			kit.ConnectPair(t, l, &evnet.SocketOptions{Loop: l, AllowHalfOpen: true}, nil, func(c, a *evnet.Socket) {
				events := kit.NoteLife(a)
				a.Pipe(a)
				c.On.Data(func([]byte) { a.End() })
				c.On.End(func() {
					assert.True(t, a.Paused())
					if late {
						c.WriteThen([]byte("late"), func(error) {
							l.AfterFunc(10*time.Millisecond, func() {
								assert.Equal(t, kit.Notes{"finish"}, *events)
								a.Resume()
							})
						})
					}
					c.End()
				})
				a.On.Close(func(bool) { assert.Equal(t, kit.Notes{"finish", "end", "close false"}, *events) })
				_, _ = c.WriteString("x")
			})
			kit.Run(t, l)
		})
	}
}

// If the destination closes, the source is paused, and neither ended nor destroyed.
func TestPipeDestinationCloses(t *testing.T) {
	for name, leave := range map[string]func(*evnet.Socket){
		"destroyed": func(s *evnet.Socket) { s.Destroy(nil) },
		"failed":    func(s *evnet.Socket) { s.On.Error(func(error) {}); s.Destroy(evtest.Boom("boom")) },
		"ended":     (*evnet.Socket).End,
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			fan(t, l, 1, 0, func(source, middle *evnet.Socket, near, far []*evnet.Socket) {
				far[0].Resume()
				near[0].Resume()
				near[0].On.Close(func(bool) {
					assert.True(t, middle.Paused())
					assert.False(t, middle.Destroyed())
					assert.True(t, middle.Writable())
					source.Destroy(nil)
					middle.Destroy(nil)
				})
				near[0].On.Finish(func() { // the peer has not answered yet
					l.Post(func() { assert.True(t, middle.Paused()) })
				})
				leave(near[0])
			})
			kit.Run(t, l)
		})
	}
	t.Run("destroyed before", func(t *testing.T) {
		l := evnet.NewLoop()
		s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
		destroyed := kit.NewClient(l)
		destroyed.Destroy(nil)
		s.Pipe(destroyed)
		l.AfterFunc(0, func() {
			assert.True(t, s.Paused())
			s.Destroy(nil)
		})
		kit.Run(t, l)
	})
}

// An error of the source does not end the destination.
func TestPipeSourceFails(t *testing.T) {
	l := evnet.NewLoop()
	fan(t, l, 1, 0, func(source, middle *evnet.Socket, near, far []*evnet.Socket) {
		middle.On.Error(func(error) {})
		middle.On.Close(func(bool) {
			assert.True(t, near[0].Writable())
			near[0].End()
		})
		near[0].Resume()
		far[0].Resume()
		source.Reset()
	})
	kit.Run(t, l)
}

// Pipe and Unpipe may be called while data flows on two loops.
func TestPipeAndUnpipeMeanwhile(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	got := evtest.NewSum()
	l := evnet.NewLoop()
	var stop atomic.Bool
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		kit.Aside(l, func() {
			for !stop.Load() {
				a.Pipe(io.Discard)
				a.Unpipe(io.Discard)
				a.Resume() // Unpipe has paused it
			}
		})
		a.On.Data(func(p []byte) { _, _ = got.Write(p) })
		a.On.End(func() { stop.Store(true) })
		_, _ = c.Write(want)
		c.End()
	})
	kit.Run(t, l)
	got.Check(t, want)
}
