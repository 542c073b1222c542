package evnet_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// between is two sockets, one piped to the other, and the blocking peers at both ends.
type between struct {
	src, dst *evnet.Socket
	in, out  net.Conn
}

func newBetween(t testing.TB, la, lb *evnet.Loop, pair func(testing.TB) (net.Conn, net.Conn)) *between {
	a, in := pair(t)
	b, out := pair(t)
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	return &between{in: in, out: out,
		src: evnet.Wrap(a, &evnet.SocketOptions{Loop: la, AllowHalfOpen: true}),
		dst: evnet.Wrap(b, &evnet.SocketOptions{Loop: lb, AllowHalfOpen: true})}
}

// feed writes p to the source and ends it.
func (b *between) feed(t testing.TB, p []byte) {
	_, err := b.in.Write(p)
	assert.NoError(t, err)
	assert.NoError(t, evtest.CloseWrite(b.in))
}

// stuck reports whether bytes are queued for the destination and the source is paused. Bytes in a kernel pipe pause
// it even below the high-water mark.
func (b *between) stuck() bool { return b.dst.BufferedAmount() > 0 && b.src.Paused() }

// spliced checks whether bytes were spliced since before.
func spliced(t testing.TB, before int64, used bool) {
	t.Helper()
	if !used || !evnet.Splices {
		assert.Equal(t, before, evnet.Spliced(), "nothing is spliced")
	} else {
		assert.Greater(t, evnet.Spliced(), before, "something is spliced")
	}
}

// Streams of many sizes pass completely, in both directions at the same time, on one loop and on two, with Relay and
// with Pipe.
func TestSpliceIntact(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		for _, loops := range []int{1, 2} {
			for _, size := range []int{0, 1, 16 << 10, 64 << 10, 64<<10 + 1, 200_003, 5 * evtest.Megabyte} {
				for _, relay := range []bool{true, false} {
					t.Run(fmt.Sprint(kind, loops, " ", size, " ", relay), func(t *testing.T) {
						la := evnet.NewLoop()
						lb := la
						if loops == 2 {
							lb = evnet.NewLoop()
						}
						before := evnet.Spliced()
						b := newBetween(t, la, lb, evtest.ConnKinds[kind])
						there, back := evtest.RandomBytes(size), evtest.RandomBytes(size+7)
						if relay {
							evnet.Relay(b.src, b.dst, func(err error) { assert.NoError(t, err) })
						} else {
							b.src.Pipe(b.dst)
							b.dst.Pipe(b.src)
						}
						var work sync.WaitGroup
						work.Go(func() { b.feed(t, there) })
						work.Go(func() {
							_, err := b.out.Write(back)
							assert.NoError(t, err)
							assert.NoError(t, evtest.CloseWrite(b.out))
						})
						check := func(c net.Conn, want []byte) {
							got, err := io.ReadAll(c)
							assert.NoError(t, err)
							assert.Equal(t, sha256.Sum256(want), sha256.Sum256(got))
							assert.Len(t, got, len(want))
						}
						work.Go(func() { check(b.out, there) })
						work.Go(func() { check(b.in, back) })
						if loops == 2 {
							work.Go(func() { kit.Run(t, lb) })
						}
						kit.Run(t, la)
						work.Wait()
						for _, n := range []int64{b.src.BytesRead(), b.dst.BytesWritten()} {
							assert.EqualValues(t, len(there), n)
						}
						for _, n := range []int64{b.dst.BytesRead(), b.src.BytesWritten()} {
							assert.EqualValues(t, len(back), n)
						}
						if size > 4*evtest.Megabyte {
							spliced(t, before, true)
						} else if size < 64<<10-7 {
							spliced(t, before, false)
						}
					})
				}
			}
		}
	}
}

// A reader that is slow, or starts late, gets everything. Meanwhile no more bytes are queued than with Write, the
// source is paused, and Drain follows NeedDrain.
func TestSpliceSlowReader(t *testing.T) {
	const size = 24 * evtest.Megabyte
	want := evtest.RandomBytes(size)
	for _, kind := range []string{"tcp", "unix"} {
		for _, chunk := range []int{1 << 20, 3000} {
			t.Run(fmt.Sprint(kind, chunk), func(t *testing.T) {
				l := evnet.NewLoop()
				fds, before := evtest.Descriptors(), evnet.Spliced()
				b := newBetween(t, l, l, evtest.ConnKinds[kind])
				drains, most, owed := 0, 0, false
				var once sync.Once
				full := make(chan struct{})
				b.dst.On.Drain(func() { drains++ })
				b.src.Pipe(b.dst)
				var look func()
				look = func() { // the reader starts once the source is paused
					most = max(most, b.dst.BufferedAmount())
					owed = owed || b.dst.NeedDrain()
					if b.stuck() {
						once.Do(func() { close(full) })
					}
					if !b.dst.WritableEnded() {
						l.AfterFunc(0, look)
					}
				}
				look()
				var work sync.WaitGroup
				work.Go(func() { b.feed(t, want) })
				got := evtest.NewSum()
				work.Go(func() {
					<-full
					p := make([]byte, chunk)
					for {
						n, err := b.out.Read(p)
						_, _ = got.Write(p[:n])
						if err != nil {
							break
						}
					}
					_ = b.out.Close()
					_ = b.in.Close()
				})
				b.dst.On.Finish(func() { b.src.End() })
				b.dst.Resume()
				kit.Run(t, l)
				work.Wait()
				got.Check(t, want)
				assert.True(t, drains > 0 || !owed, "Drain follows NeedDrain")
				assert.LessOrEqual(t, most, b.dst.HighWaterMark()+64<<10)
				assert.False(t, b.dst.NeedDrain())
				spliced(t, before, true)
				assert.LessOrEqual(t, evtest.Descriptors(), fds+4, "in addition to the peers")
			})
		}
	}
}

// A consumer of the bytes gets all of them: nothing is spliced then. Nothing is lost or duplicated when a listener,
// a second destination or a decoder is added or removed meanwhile.
func TestSpliceSwitches(t *testing.T) {
	const size = 16 * evtest.Megabyte
	want := evtest.RandomBytes(size)
	for name, join := range map[string]func(l *evnet.Loop, src *evnet.Socket, seen *evtest.Sum){
		"data": func(_ *evnet.Loop, src *evnet.Socket, seen *evtest.Sum) {
			src.On.Data(func(p []byte) { _, _ = seen.Write(p) })
		},
		"pipe": func(_ *evnet.Loop, src *evnet.Socket, seen *evtest.Sum) { src.Pipe(seen) },
		"encoding": func(_ *evnet.Loop, src *evnet.Socket, seen *evtest.Sum) {
			assert.NoError(t, src.SetEncoding("latin1"))
		},
	} {
		for _, midway := range []bool{false, true} {
			t.Run(fmt.Sprint(name, midway), func(t *testing.T) {
				l := evnet.NewLoop()
				before := evnet.Spliced()
				b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
				seen := evtest.NewSum()
				at, joined := int64(0), make(chan struct{})
				if midway {
					var look func()
					look = func() {
						if b.src.BytesRead() < 4*evtest.Megabyte {
							l.AfterFunc(0, look)
							return
						}
						spliced(t, before, true)
						join(l, b.src, seen)
						before, at = evnet.Spliced(), b.src.BytesRead()
						close(joined)
					}
					look()
				} else {
					join(l, b.src, seen)
					close(joined)
				}
				evnet.Relay(b.src, b.dst, nil)
				var work sync.WaitGroup
				work.Go(func() {
					half := size / 2
					_, err := b.in.Write(want[:half])
					assert.NoError(t, err)
					<-joined // before all data is received
					b.feed(t, want[half:])
				})
				var got []byte
				work.Go(func() {
					var err error
					got, err = io.ReadAll(b.out)
					assert.NoError(t, err)
					_ = evtest.CloseWrite(b.out)
				})
				kit.Run(t, l)
				work.Wait()
				if name == "encoding" {
					assert.Greater(t, len(got), size, "decoded to UTF-8")
				} else {
					evtest.AssertEqualBytes(t, want, got)
					assert.EqualValues(t, size-at, seen.N)
					seen.Check(t, want[at:])
				}
				spliced(t, before, false)
			})
		}
	}
}

// If a destination closes, the bytes in its kernel pipe are lost. Those bytes count as written, the source gets the
// same events as for queued bytes, and no descriptor stays open.
func TestSplice_DestinationCloses(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(b *between)
		relay bool
	}{
		"destroyed":        {leave: func(b *between) { b.dst.Destroy(nil) }},
		"failed":           {leave: func(b *between) { b.dst.Destroy(evtest.Boom("x")) }, relay: true},
		"reset":            {leave: func(b *between) { b.dst.Reset() }},
		"reset by peer":    {leave: func(b *between) { _ = b.out.(*net.TCPConn).SetLinger(0); _ = b.out.Close() }, relay: true},
		"source destroyed": {leave: func(b *between) { b.src.Destroy(nil); b.dst.Destroy(nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			fds := evtest.Descriptors()
			b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
			b.src.On.Error(func(error) {})
			b.dst.On.Error(func(error) {})
			calls := 0
			if c.relay {
				evnet.Relay(b.src, b.dst, func(err error) { calls++; assert.Error(t, err) })
			} else {
				b.src.Pipe(b.dst)
			}
			var work sync.WaitGroup
			work.Go(func() { _, _ = io.Copy(b.in, evtest.EndlessReader{}) })
			var look func()
			look = func() {
				if !b.stuck() {
					l.AfterFunc(0, look)
					return
				}
				_, _, err := b.dst.Detach()
				if c.relay {
					assert.ErrorIs(t, err, evnet.ErrRelayed)
				} else {
					assert.ErrorIs(t, err, evnet.ErrWritesQueued)
				}
				if !c.relay {
					b.dst.On.Close(func(bool) { b.src.Destroy(nil) })
				}
				c.leave(b)
			}
			look()
			kit.Run(t, l)
			_ = b.in.Close()
			_ = b.out.Close()
			work.Wait()
			if c.relay {
				assert.Equal(t, 1, calls)
			}
			assert.Zero(t, b.dst.BufferedAmount())
			assert.Equal(t, fds, evtest.Descriptors())
		})
	}
}

// A Write, End or Detach while bytes are in the kernel pipe takes effect after them.
func TestSpliceThenWrite(t *testing.T) {
	l := evnet.NewLoop()
	b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
	want := evtest.RandomBytes(12 * evtest.Megabyte)
	tail := evtest.RandomBytes(100_000)
	b.src.Pipe(b.dst)
	var rest []byte
	var taken net.Conn
	var once sync.Once
	look := func() {}
	full := make(chan struct{})
	look = func() {
		if !b.stuck() {
			l.AfterFunc(0, look)
			return
		}
		once.Do(func() {
			before := b.dst.BufferedAmount()
			_, err := b.dst.Write(tail)
			assert.NoError(t, err)
			assert.Equal(t, before+len(tail), b.dst.BufferedAmount())
			taken, rest, err = b.src.Detach() // the caller owns the source's conn now
			assert.NoError(t, err)
			b.dst.End()
			close(full)
		})
	}
	look()
	var work sync.WaitGroup
	work.Go(func() { b.feed(t, want) })
	var got, behind []byte
	work.Go(func() {
		<-full
		var err error
		got, err = io.ReadAll(b.out)
		assert.NoError(t, err)
		_ = b.out.Close()
	})
	work.Go(func() {
		<-full
		var err error
		behind, err = io.ReadAll(taken)
		assert.NoError(t, err)
	})
	b.dst.Resume()
	kit.Run(t, l)
	work.Wait()
	require.NoError(t, taken.Close())
	passed := len(got) - len(tail)
	require.Positive(t, passed)
	evtest.AssertEqualBytes(t, tail, got[passed:])
	evtest.AssertEqualBytes(t, want, append(append(got[:passed:passed], rest...), behind...))
}

// A socket with little traffic is served besides a flooded one.
func TestSpliceFairness(t *testing.T) {
	l := evnet.NewLoop()
	b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
	here, there := evtest.TCPPair(t)
	echo := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	echo.Pipe(echo)
	b.src.Pipe(b.dst)
	b.src.On.Error(func(error) {})
	b.dst.On.Error(func(error) {})
	var work sync.WaitGroup
	work.Go(func() { _, _ = io.Copy(b.in, evtest.EndlessReader{}) })
	work.Go(func() { _, _ = io.Copy(io.Discard, b.out) })
	work.Go(func() {
		p := make([]byte, 1)
		for range 200 {
			at := b.src.BytesRead()
			_, err := there.Write(p)
			assert.NoError(t, err)
			_, err = io.ReadFull(there, p)
			assert.NoError(t, err)
			assert.Less(t, b.src.BytesRead()-at, int64(64*evtest.Megabyte), "the flood delayed the other socket")
		}
		_ = there.Close()
		l.Do(func() { b.src.Destroy(nil); b.dst.Destroy(nil) })
	})
	kit.Run(t, l)
	_ = b.in.Close()
	work.Wait()
}
