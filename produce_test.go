package evnet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// producerMedia makes pairs of conns. The socket that produces has the first, a blocking peer the second.
var producerMedia = map[string]func(t testing.TB) (here, there net.Conn){
	"tcp":  func(t testing.TB) (net.Conn, net.Conn) { c, s := evtest.TCPPair(t); return c, s },
	"unix": evtest.UnixPair,
	"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	"tls":  func(t testing.TB) (net.Conn, net.Conn) { c, s := evtest.TLSPair(t); return c, s },
}

// onProducerMedia runs a test on each medium and both transports.
func onProducerMedia(t *testing.T, fn func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn)) {
	for medium, pair := range producerMedia {
		t.Run(medium, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := pair(t)
				t.Cleanup(func() { _ = there.Close() })
				fn(t, l, evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), there)
			})
		})
	}
}

// onceDone returns the done of a producer, which stores the error. It fails the test if it is called twice or after
// Close.
func onceDone(t *testing.T, s *evnet.Socket) (done func(error), result func() error) {
	calls, closed, err := 0, false, error(nil)
	s.On.Close(func(bool) { closed = true })
	return func(e error) {
			assert.False(t, closed, "done is called before Close")
			calls++
			err = e
		}, func() error {
			assert.Equal(t, 1, calls, "done is called once")
			return err
		}
}

// endless is a producer that never ends. Each chunk has the size.
func endless(size int) func() ([]byte, bool) {
	chunk := make([]byte, size)
	return func() ([]byte, bool) { return chunk, true }
}

// Every chunk arrives, in order, although next reuses the memory and returns empty chunks. next is not called while the
// socket needs to drain.
func TestProduce_SendsEveryChunkInOrder(t *testing.T) {
	want := evtest.PatternBytes(2 * evtest.Megabyte)
	onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
		kit.Aside(l, func() {
			got, err := io.ReadAll(peer)
			assert.NoError(t, err)
			evtest.AssertEqualBytes(t, want, got)
			_ = peer.Close()
		})
		s.Resume()
		buf, left, calls := make([]byte, 50_000), want, 0
		done, result := onceDone(t, s)
		s.Produce(func() ([]byte, bool) {
			assert.False(t, s.NeedDrain())
			assert.Less(t, s.BufferedAmount(), s.HighWaterMark())
			if calls++; calls%3 == 0 {
				return nil, true
			}
			n := copy(buf[:calls*997%len(buf)+1], left)
			left = left[n:]
			return buf[:n], len(left) > 0
		}, func(err error) {
			done(err)
			s.End()
		})
		kit.Run(t, l)
		assert.NoError(t, result())
		assert.Empty(t, left)
	})
}

// A producer that never ends stops when the peer closes the connection.
func TestProduce_StopsWhenThePeerCloses(t *testing.T) {
	onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
		kit.Aside(l, func() {
			_, err := io.ReadFull(peer, make([]byte, 300_000))
			assert.NoError(t, err)
			_ = peer.Close()
		})
		s.Resume()
		s.On.Error(func(error) {})
		done, result := onceDone(t, s)
		s.Produce(endless(10_000), done)
		kit.Run(t, l)
		assert.Error(t, result())
	})
}

// A producer that ends the socket itself is not called again, and its chunk is not sent.
func TestProduce_StopsWhenNextEndsTheSocket(t *testing.T) {
	cause := errors.New("on purpose")
	for what, end := range map[string]struct {
		by   func(s *evnet.Socket)
		more bool
		want error
	}{
		"Destroy":          {func(s *evnet.Socket) { s.Destroy(cause) }, true, cause},
		"Destroy, last":    {func(s *evnet.Socket) { s.Destroy(cause) }, false, cause},
		"Reset":            {func(s *evnet.Socket) { s.Reset() }, true, evnet.ErrDestroyed},
		"End":              {func(s *evnet.Socket) { s.End() }, true, evnet.ErrWriteAfterEnd},
		"Close":            {func(s *evnet.Socket) { _ = s.Close() }, true, evnet.ErrWriteAfterEnd},
		"End, empty chunk": {func(s *evnet.Socket) { s.End() }, false, nil},
	} {
		t.Run(what, func(t *testing.T) {
			onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
				kit.Aside(l, func() {
					_, _ = io.Copy(io.Discard, peer)
					_ = peer.Close()
				})
				s.Resume()
				s.On.Error(func(error) {})
				calls := 0
				done, result := onceDone(t, s)
				s.Produce(func() ([]byte, bool) {
					if calls++; calls < 3 {
						return []byte("chunk"), true
					}
					end.by(s)
					if end.want == nil {
						return nil, end.more
					}
					return []byte("late"), end.more
				}, done)
				kit.Run(t, l)
				assert.Equal(t, 3, calls)
				assert.Equal(t, end.want, result())
				if end.want == cause || end.want == evnet.ErrDestroyed {
					return
				}
				assert.EqualValues(t, 10, s.BytesWritten())
			})
		})
	}
}

// Socket methods that end the socket from elsewhere stop a producer that waits for Drain.
func TestProduce_StopsWhileItWaitsForDrain(t *testing.T) {
	cause := errors.New("on purpose")
	for what, end := range map[string]struct {
		by   func(s *evnet.Socket)
		want error
	}{
		"Destroy": {func(s *evnet.Socket) { s.Destroy(cause) }, cause},
		"End":     {func(s *evnet.Socket) { s.End() }, evnet.ErrWriteAfterEnd},
	} {
		t.Run(what, func(t *testing.T) {
			onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
				s.Resume()
				s.On.Error(func(error) {})
				calls := 0
				next := endless(100_000)
				done, result := onceDone(t, s)
				s.Produce(func() ([]byte, bool) { calls++; return next() }, done)
				var whenFull func()
				whenFull = func() {
					if !s.NeedDrain() {
						l.AfterFunc(0, whenFull)
						return
					}
					before := calls
					end.by(s)
					kit.Aside(l, func() {
						_, _ = io.Copy(io.Discard, peer)
						_ = peer.Close()
					})
					s.On.Close(func(bool) { assert.Equal(t, before, calls) })
				}
				whenFull()
				kit.Run(t, l)
				assert.Equal(t, end.want, result())
			})
		})
	}
}

// The automatic end after the peer's is an end too. With AllowHalfOpen the producer continues.
func TestProduce_AfterTheEndOfThePeer(t *testing.T) {
	for _, halfOpen := range []bool{false, true} {
		t.Run(fmt.Sprint(halfOpen), func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, peer := evtest.TCPPair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, AllowHalfOpen: halfOpen})
				kit.Aside(l, func() {
					_ = peer.CloseWrite()
					_, err := io.Copy(io.Discard, peer)
					assert.NoError(t, err)
					_ = peer.Close()
				})
				s.Resume()
				last := false // the producer's last chunk is the one after the peer's end
				s.On.End(func() { last = true })
				done, result := onceDone(t, s)
				s.Produce(func() ([]byte, bool) { return make([]byte, 1000), !last }, func(err error) {
					done(err)
					s.End()
				})
				kit.Run(t, l)
				if halfOpen {
					assert.NoError(t, result())
				} else {
					assert.Equal(t, evnet.ErrWriteAfterEnd, result())
				}
			})
		})
	}
}

// While a producer never ends, another client of the loop is served, and so is a timer.
func TestProduce_LetsOtherSocketsRun(t *testing.T) {
	for _, size := range []int{0, 1, 64 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
				kit.Aside(l, func() { _, _ = io.Copy(io.Discard, peer) })
				s.Resume()
				s.On.Error(func(error) {})
				done, result := onceDone(t, s)
				s.Produce(endless(size), done)
				here, there := evtest.TCPPair(t)
				other := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				kit.Echo(other)
				kit.Aside(l, func() {
					for range 100 {
						_, err := there.Write([]byte("ping"))
						assert.NoError(t, err)
						_, err = io.ReadFull(there, make([]byte, 4))
						assert.NoError(t, err)
					}
					l.Post(func() { l.AfterFunc(1, func() { s.Destroy(nil) }) })
					_ = there.Close()
				})
				kit.Run(t, l)
				assert.Equal(t, evnet.ErrDestroyed, result())
			})
		})
	}
}

// The producer is called up to the high-water mark, then after the Drain listeners. What they write is sent first.
func TestProduce_ContinuesAfterDrain(t *testing.T) {
	l := evnet.NewLoop()
	here, peer := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, HighWaterMark: 10})
	var notes kit.Notes
	chunks := []string{"0123", "4567", "89ab", "cdef", "ghi"}
	s.On.Drain(func() {
		notes = append(notes, "drain")
		_, _ = s.WriteString("+")
	})
	_, _ = s.WriteString("<")
	s.Produce(func() ([]byte, bool) {
		c := chunks[0]
		chunks = chunks[1:]
		notes = append(notes, "next "+c)
		return []byte(c), len(chunks) > 0
	}, func(err error) {
		assert.NoError(t, err)
		notes = append(notes, "done")
		s.End()
	})
	var got []byte
	kit.Aside(l, func() {
		got, _ = io.ReadAll(peer)
		_ = peer.Close()
	})
	s.Resume()
	kit.Run(t, l)
	assert.Equal(t, "<0123456789ab+cdefghi", string(got))
	assert.Equal(t, kit.Notes{"next 0123", "next 4567", "next 89ab", "drain", "next cdef", "next ghi", "done"}, notes)
}

// A producer may start before the connection is made. It fills the queue up to the mark, and continues once connected.
func TestProduce_WhileConnecting(t *testing.T) {
	for name, empty := range map[string]bool{"with chunks": false, "without chunks": true} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				var got bytes.Buffer
				kit.Meet(t, l, func(s *evnet.Socket) { s.Pipe(&got) }, func(c *evnet.Socket) {
					left := 200
					if empty {
						left = 0
					}
					want := left * 1000
					l.Post(func() {
						require.True(t, c.Connecting())
						done, result := onceDone(t, c)
						c.Produce(func() ([]byte, bool) {
							if left--; left < 0 {
								return nil, false
							}
							return make([]byte, 1000), true
						}, func(err error) {
							assert.False(t, c.Connecting())
							done(err)
							c.End()
						})
						c.On.Close(func(bool) {
							assert.NoError(t, result())
							assert.Equal(t, want, got.Len())
						})
					})
				})
				kit.Run(t, l)
			})
		})
	}
}
