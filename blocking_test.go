package evnet_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestBlockingConnNettest(t *testing.T) {
	before := goleak.IgnoreCurrent()
	makers := map[string]func(t *testing.T) nettest.MakePipe{
		"a view of a view": func(t *testing.T) nettest.MakePipe {
			return func() (net.Conn, net.Conn, func(), error) {
				inner, outer := evnet.NewLoop(), evnet.NewLoop()
				a, b, wait := kit.BlockingPair(t, "tcp", inner)
				c := kit.BlockingConn(t, evnet.Wrap(a, &evnet.SocketOptions{Loop: outer}))
				waitOuter := kit.RunInBackground(t, outer)
				return c, b, func() { _, _ = c.Close(), b.Close(); waitOuter(); wait() }, nil
			}
		},
		"another end": func(t *testing.T) nettest.MakePipe {
			return func() (net.Conn, net.Conn, func(), error) {
				l := evnet.NewLoop()
				here, there := evtest.TCPPair(t)
				c := kit.BlockingConn(t, evnet.Wrap(here, &evnet.SocketOptions{Loop: l}))
				wait := kit.RunInBackground(t, l)
				return c, there, func() { _, _ = c.Close(), there.Close(); wait() }, nil
			}
		},
	}
	for kind := range evtest.ConnKinds {
		if kind == "tls" { // a TLS conn is unusable after a write that has timed out
			continue
		}
		for name, loops := range map[string]int{"one loop": 1, "two loops": 2} {
			makers[kind+", "+name] = func(t *testing.T) nettest.MakePipe {
				return func() (net.Conn, net.Conn, func(), error) {
					a, b, wait := kit.BlockingPair(t, kind, []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}[:loops]...)
					return a, b, func() { _, _ = a.Close(), b.Close(); wait() }, nil
				}
			}
		}
	}
	evtest.OnBothTransportsIfLong(t, func(t *testing.T) {
		for name, maker := range makers {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // the test is idle most of the time
				nettest.TestConn(t, maker(t))
			})
		}
	})
	goleak.VerifyNone(t, before)
}

// Large amounts of data pass in both directions at the same time, in small and large pieces, with a half-close if
// the conn supports it.
func TestBlockingConnBothWays(t *testing.T) {
	want := evtest.RandomBytes(evtest.Pick(2, 8) * evtest.Megabyte)
	sum := sha256.Sum256(want)
	evtest.OnBothTransports(t, func(t *testing.T) {
		for kind := range evtest.ConnKinds {
			t.Run(kind, func(t *testing.T) {
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
				talk := func(c net.Conn, piece int) {
					var writing sync.WaitGroup
					writing.Go(func() {
						for p := want; len(p) > 0; {
							n, err := c.Write(p[:min(piece, len(p))])
							if !assert.NoError(t, err) {
								return
							}
							p = p[n:]
						}
						if half, ok := c.(interface{ CloseWrite() error }); ok {
							assert.NoError(t, half.CloseWrite())
						}
					})
					h := sha256.New()
					_, err := io.CopyN(h, c, int64(len(want)))
					assert.NoError(t, err)
					assert.Equal(t, sum[:], h.Sum(nil))
					writing.Wait()
				}
				var talking sync.WaitGroup
				talking.Go(func() { talk(a, 700) })
				talk(b, 3*evtest.Megabyte)
				talking.Wait()
				assert.NoError(t, a.Close())
				_, err := b.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
				assert.NoError(t, b.Close())
				wait()
			})
		}
	})
}

// The end of one direction leaves the other open, even if the socket does not have AllowHalfOpen.
func TestBlockingConnHalfClose(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for _, kind := range []string{"tcp", "unix", "tls"} {
			t.Run(kind, func(t *testing.T) {
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
				_, _ = io.WriteString(a, "question")
				require.NoError(t, a.(interface{ CloseWrite() error }).CloseWrite())
				_, err := a.Write([]byte("late"))
				evtest.AssertOpError(t, err, evnet.ErrWriteAfterEnd, "write")
				got, err := io.ReadAll(b)
				assert.NoError(t, err)
				assert.Equal(t, "question", string(got))
				_, err = io.WriteString(b, "answer")
				assert.NoError(t, err)
				assert.NoError(t, b.Close())
				got, err = io.ReadAll(a)
				assert.NoError(t, err)
				assert.Equal(t, "answer", string(got))
				assert.NoError(t, a.Close())
				evtest.AssertOpError(t, a.(interface{ CloseWrite() error }).CloseWrite(), net.ErrClosed, "close")
				wait()
			})
		}
	})
	a, b, wait := kit.BlockingPair(t, "pipe", evnet.NewLoop())
	_, half := a.(interface{ CloseWrite() error })
	assert.False(t, half, "a net.Pipe has no half-close, so its view has no CloseWrite")
	assert.NoError(t, a.Close())
	assert.NoError(t, b.Close())
	wait()
}

// After CloseRead received data is discarded, so that the peer does not block, and writing still works.
func TestBlockingConnCloseRead(t *testing.T) {
	for kind := range evtest.ConnKinds {
		t.Run(kind, func(t *testing.T) {
			a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
			closeRead := a.(interface{ CloseRead() error }).CloseRead
			var reading sync.WaitGroup
			reading.Go(func() {
				_, err := a.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
			})
			assert.NoError(t, closeRead())
			reading.Wait()
			n, err := b.Write(make([]byte, 4*evtest.Megabyte)) // more than all buffers hold
			assert.NoError(t, err)
			assert.Equal(t, 4*evtest.Megabyte, n)
			_, err = io.WriteString(a, "still here")
			assert.NoError(t, err)
			got := make([]byte, 10)
			_, err = io.ReadFull(b, got)
			assert.NoError(t, err)
			assert.Equal(t, "still here", string(got))
			assert.NoError(t, a.Close())
			evtest.AssertOpError(t, closeRead(), net.ErrClosed, "close")
			assert.NoError(t, b.Close())
			wait()
		})
	}
}

// Close ends blocked calls immediately, and makes later calls fail.
func TestBlockingConnClose(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		a, b, wait := kit.BlockingPair(t, "tcp", l)
		var blocked sync.WaitGroup
		blocked.Go(func() {
			_, err := a.Read(make([]byte, 1))
			evtest.AssertOpError(t, err, net.ErrClosed, "read")
		})
		started := make(chan struct{})
		blocked.Go(func() {
			n, err := a.Write(make([]byte, evtest.Megabyte))
			for close(started); err == nil; {
				n, err = a.Write(make([]byte, evtest.Megabyte))
			}
			assert.Less(t, n, evtest.Megabyte)
			evtest.AssertOpError(t, err, net.ErrClosed, "write")
		})
		<-started
		assert.NoError(t, a.Close())
		blocked.Wait()
		evtest.AssertOpError(t, a.Close(), net.ErrClosed, "close")
		_, err := a.Read(make([]byte, 1))
		evtest.AssertOpError(t, err, net.ErrClosed, "read")
		_, err = a.Read(nil)
		evtest.AssertOpError(t, err, net.ErrClosed, "read")
		_, err = a.Write(nil)
		evtest.AssertOpError(t, err, net.ErrClosed, "write")
		for _, set := range []func(time.Time) error{a.SetDeadline, a.SetReadDeadline, a.SetWriteDeadline} {
			evtest.AssertOpError(t, set(time.Now()), net.ErrClosed, "set")
		}
		assert.NotNil(t, a.LocalAddr())
		assert.Equal(t, a.LocalAddr(), b.RemoteAddr())
		assert.NoError(t, b.Close(), "both sides discard received data, so that neither waits for the other")
		wait()
	})
}

// Data written before Close arrives, whatever its size.
func TestBlockingConnCloseFlushes(t *testing.T) {
	want := evtest.RandomBytes(2 * evtest.Megabyte)
	for kind := range evtest.ConnKinds {
		t.Run(kind, func(t *testing.T) {
			a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
			go func() {
				_, err := a.Write(want)
				assert.NoError(t, err)
				assert.NoError(t, a.Close())
			}()
			got, err := io.ReadAll(b)
			assert.NoError(t, err)
			evtest.AssertEqualBytes(t, want, got)
			assert.NoError(t, b.Close())
			wait()
		})
	}
}

// failingConn is a conn whose Write waits for failed to be closed, and then fails.
type failingConn struct {
	net.Conn
	failed chan struct{}
	err    error
}

func (c failingConn) Write([]byte) (int, error) {
	<-c.failed
	return 0, c.err
}

// Any other end of the socket is reported by Read and Write: a failure after the received data, Destroy immediately.
func TestBlockingConnEnds(t *testing.T) {
	cause := errors.New("boom")
	for name, c := range map[string]struct {
		destroy func(*evnet.Socket)
		want    error
		rest    string
	}{
		"failed":                 {func(*evnet.Socket) {}, cause, "e"},
		"destroyed with a cause": {func(s *evnet.Socket) { s.Destroy(cause) }, cause, ""},
		"destroyed":              {func(s *evnet.Socket) { s.Destroy(nil) }, evnet.ErrDestroyed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := &evtest.Records{}
			l := evnet.NewLoop()
			pipe, there := net.Pipe()
			here := failingConn{pipe, make(chan struct{}), cause}
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, HighWaterMark: 10, Logger: slog.New(log)})
			a := kit.BlockingConn(t, s)
			wait := kit.RunInBackground(t, l)
			go func() { _, _ = io.WriteString(there, "one") }()
			_, err := io.ReadFull(a, make([]byte, 2))
			require.NoError(t, err)
			var blocked sync.WaitGroup
			started := make(chan struct{})
			blocked.Go(func() {
				_, err := a.Write(make([]byte, 100))
				close(started)
				assert.NoError(t, err)
				_, err = a.Write(make([]byte, 100))
				evtest.AssertOpError(t, err, c.want, "write")
			})
			<-started
			c.destroy(s)
			close(here.failed)
			blocked.Wait()
			wait()
			got, err := io.ReadAll(a)
			assert.Equal(t, c.rest, string(got))
			operation := func(call string) string {
				if name == "failed" {
					return "write"
				}
				return call
			}
			evtest.AssertOpError(t, err, c.want, operation("read"))
			assert.NoError(t, a.SetDeadline(time.Now().Add(time.Hour)))
			assert.NoError(t, a.Close())
			evtest.AssertOpError(t, a.Close(), net.ErrClosed, "close")
			assert.Empty(t, log.List, "the error was returned")
			_, err = s.BlockingConn()
			evtest.AssertOpError(t, err, c.want, operation("blocking"))
		})
	}
}

func TestBlockingConnReset(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		a := kit.BlockingConn(t, s)
		wait := kit.RunInBackground(t, l)
		require.NoError(t, there.SetLinger(0))
		require.NoError(t, there.Close())
		_, err := a.Read(make([]byte, 1))
		evtest.AssertOpError(t, err, syscall.ECONNRESET, "read")
		_, err = a.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		wait()
		assert.NoError(t, a.Close())
	})
}

// A blocked goroutine returns when the loop ends.
func TestBlockingConnEndsWithTheLoop(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	s.Unref()
	a := kit.BlockingConn(t, s)
	var reading sync.WaitGroup
	reading.Go(func() {
		_, err := a.Read(make([]byte, 1))
		evtest.AssertOpError(t, err, evnet.ErrDestroyed, "read")
		assert.ErrorIs(t, err, net.ErrClosed)
	})
	var look func()
	look = func() { // keeps the loop running until a goroutine is blocked
		if !evnet.WaitsForChunk(s) {
			l.AfterFunc(time.Millisecond, look)
		}
	}
	look()
	kit.Run(t, l)
	reading.Wait()
}
