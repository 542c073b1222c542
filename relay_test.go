package evnet_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func shake(c net.Conn) error {
	if c, ok := c.(*tls.Conn); ok {
		return c.HandshakeContext(context.Background())
	}
	return nil
}

// Megabytes pass in both directions at the same time, over each kind of conn, on one loop and on two. Each
// direction ends separately.
func TestRelayBothWays(t *testing.T) {
	there, back := evtest.RandomBytes(4*evtest.Megabyte), evtest.RandomBytes(3*evtest.Megabyte)
	for kind, pair := range evtest.ConnKinds {
		if kind == "pipe" {
			continue // no half-close
		}
		for _, loops := range []int{1, 2} {
			t.Run(fmt.Sprint(kind, loops), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				la := evnet.NewLoop()
				lb := la
				if loops == 2 {
					lb = evnet.NewLoop()
				}
				r := kit.NewRelayed(t, la, lb, pair)
				r.A.RemoveAllListeners(evnet.EventData, evnet.EventEnd, evnet.EventDrain)
				r.A.Unpipe(nil)
				assert.Zero(t, r.A.ListenerCount(evnet.EventData))
				assert.True(t, r.A.AllowHalfOpen() && r.B.AllowHalfOpen())
				var peers, other sync.WaitGroup
				peers.Go(func() {
					assert.NoError(t, shake(r.PeerA))
					_, err := r.PeerA.Write(there)
					assert.NoError(t, err)
					assert.NoError(t, evtest.CloseWrite(r.PeerA)) // the answer is sent only now
					got, err := io.ReadAll(r.PeerA)
					assert.NoError(t, err)
					evtest.AssertEqualBytes(t, back, got)
					_ = r.PeerA.Close()
				})
				peers.Go(func() {
					assert.NoError(t, shake(r.PeerB))
					got, err := io.ReadAll(r.PeerB)
					assert.NoError(t, err)
					evtest.AssertEqualBytes(t, there, got)
					_, err = r.PeerB.Write(back)
					assert.NoError(t, err)
					_ = r.PeerB.Close()
				})
				if lb != la {
					other.Go(func() { kit.Run(t, lb) })
				}
				kit.Run(t, la)
				other.Wait()
				peers.Wait()
				assert.Equal(t, []error{nil}, r.Done)
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// writeToEnded sends data that can no longer be written, because the end is queued behind earlier data: both
// streams are cut off.
func writeToEnded(r *kit.Relayed) {
	_ = r.PeerB.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = r.B.Conn().(*net.TCPConn).SetWriteBuffer(4 << 10)
	_, _ = r.B.Write(make([]byte, evtest.Megabyte)) // more than the kernel accepts
	r.B.End()
	_, _ = r.PeerA.Write([]byte("x"))
}

// If one side ends early, the other ends too: after an error with a reset.
func TestRelayTornDown(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(r *kit.Relayed)
		cause error
		peer  error // the error that the peer of the other side gets
	}{
		"destroyed":     {func(r *kit.Relayed) { r.A.Destroy(nil) }, evnet.ErrDestroyed, io.EOF},
		"closed":        {func(r *kit.Relayed) { _ = r.A.Close() }, evnet.ErrDestroyed, io.EOF},
		"with an error": {func(r *kit.Relayed) { r.A.Destroy(evtest.Boom("boom")) }, evtest.Boom("boom"), syscall.ECONNRESET},
		"reset":         {func(r *kit.Relayed) { r.A.Reset() }, evnet.ErrDestroyed, syscall.ECONNRESET},
		"reset by peer": {func(r *kit.Relayed) { _ = r.PeerA.(*net.TCPConn).SetLinger(0); _ = r.PeerA.Close() }, syscall.ECONNRESET, syscall.ECONNRESET},
		"other way": {func(r *kit.Relayed) {
			r.A, r.B, r.PeerA, r.PeerB = r.B, r.A, r.PeerB, r.PeerA
			r.A.Destroy(evtest.Boom("boom"))
		}, evtest.Boom("boom"), syscall.ECONNRESET},
		"write to ended": {writeToEnded, evnet.ErrWriteAfterEnd, syscall.ECONNRESET},
	} {
		for _, loops := range []int{1, 2} {
			t.Run(fmt.Sprint(name, loops), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				la := evnet.NewLoop()
				lb := la
				if loops == 2 {
					lb = evnet.NewLoop()
				}
				r := kit.NewRelayed(t, la, lb, evtest.ConnKinds["tcp"])
				closed := 0
				r.B.On.Close(func(hadError bool) { closed++ })
				la.AfterFunc(time.Millisecond, func() { c.end(r) })
				var other sync.WaitGroup
				if lb != la {
					other.Go(func() { kit.Run(t, lb) })
				}
				kit.Run(t, la)
				other.Wait()
				require.Len(t, r.Done, 1)
				assert.ErrorIs(t, r.Done[0], c.cause)
				assert.Equal(t, 2, r.Closes)
				assert.ErrorIs(t, evtest.EndOf(r.PeerB), c.peer)
				if c.cause == evnet.ErrWriteAfterEnd {
					assert.ErrorIs(t, evtest.EndOf(r.PeerA), c.peer)
				}
				_ = r.PeerA.Close()
				_ = r.PeerB.Close()
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// A TLS peer must not mistake a truncated stream for a complete one.
func TestRelayResetsTLS(t *testing.T) {
	l := evnet.NewLoop()
	r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tls"])
	r.B.On.SecureConnect(func() { r.A.Destroy(evtest.Boom("boom")) })
	peer := make(chan error)
	go func() {
		_, err := r.PeerB.Read(make([]byte, 1))
		peer <- err
	}()
	kit.Run(t, l)
	err := <-peer
	assert.Error(t, err)
	assert.NotEqual(t, io.EOF, err)
	_ = r.PeerA.Close()
	_ = r.PeerB.Close()
}

// Data received before a clean end reaches a slow reader on the other side completely.
func TestRelayFlushes(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	l := evnet.NewLoop()
	r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tcp"])
	var peers sync.WaitGroup
	peers.Go(func() {
		_, _ = r.PeerA.Write(want)
		_ = r.PeerA.Close()
	})
	_ = evtest.CloseWrite(r.PeerB)
	peers.Go(func() {
		got := evtest.NewSum()
		buf := make([]byte, 100_000)
		for {
			n, err := r.PeerB.Read(buf)
			_, _ = got.Write(buf[:n])
			if err != nil {
				assert.Equal(t, io.EOF, err)
				break
			}
		}
		got.Check(t, want)
	})
	kit.Run(t, l)
	peers.Wait()
	assert.Equal(t, []error{nil}, r.Done)
	_ = r.PeerB.Close()
}

// Relay with a socket that is still connecting buffers received data, up to a limit. If the connection is refused,
// the accepted side ends.
func TestRelayWhileConnecting(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: slog.New(kit.FailOnLog{T: t})})
		up.Connect("tcp", evtest.ClosedPort(t))
		var done []error
		evnet.Relay(s, up, func(err error) { done = append(done, err) })
		kit.Run(t, l)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], syscall.ECONNREFUSED)
		_, err := there.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_ = there.Close()
	})
	t.Run("slow", func(t *testing.T) {
		want := evtest.RandomBytes(16 * evtest.Megabyte)
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		var server *evnet.Server
		got := evtest.NewSum()
		server, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) {
			_ = server.Close(nil)
			c.On.Data(func(p []byte) { _, _ = got.Write(p) })
		})
		answer := make(chan struct{})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.Hook(func() { <-answer })})
		up.Connect("tcp", "name.example:"+evtest.Port(addr))
		var done []error
		evnet.Relay(s, up, func(err error) { done = append(done, err) })
		go func() {
			_, _ = there.Write(want)
			_ = there.CloseWrite()
		}()
		var look func()
		look = func() {
			if !up.NeedDrain() {
				l.AfterFunc(0, look)
				return
			}
			assert.LessOrEqual(t, up.BufferedAmount(), 128<<10, "the high-water mark and one chunk")
			close(answer)
		}
		look()
		kit.Run(t, l)
		got.Check(t, want)
		assert.Equal(t, []error{nil}, done)
		_ = there.Close()
	})
	t.Run("accepted side goes", func(t *testing.T) {
		l := evnet.NewLoop()
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.NeverResolves{}})
		up.Connect("tcp", "name.example:80")
		var done []error
		evnet.Relay(s, up, func(err error) { done = append(done, err) })
		l.AfterFunc(0, func() { s.Destroy(evtest.Boom("boom")) })
		kit.Run(t, l)
		assert.Equal(t, []error{evtest.Boom("boom")}, done)
		_ = peer.Close()
	})
}

// A relay that begins after one side has ended forwards that end.
func TestRelayAfterEnd(t *testing.T) {
	l := evnet.NewLoop()
	hereA, peerA := evtest.TCPPair(t)
	hereB, peerB := evtest.TCPPair(t)
	a := evnet.Wrap(hereA, &evnet.SocketOptions{Loop: l})
	b := evnet.Wrap(hereB, &evnet.SocketOptions{Loop: l})
	a.Resume()
	done := errors.New("never")
	a.On.End(func() { evnet.Relay(a, b, func(err error) { done = err }) })
	_ = peerA.CloseWrite()
	kit.Aside(l, func() {
		_, err := peerB.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		_, _ = io.WriteString(peerB, "still")
		_ = peerB.Close()
		got, _ := io.ReadAll(peerA)
		assert.Equal(t, "still", string(got))
		_ = peerA.Close()
	})
	kit.Run(t, l)
	assert.NoError(t, done)
}

// A relay that begins while a socket emits Close waits until Close is emitted.
func TestRelayWhileClosing(t *testing.T) {
	la, lb := evnet.NewLoop(), evnet.NewLoop()
	hereA, peerA := evtest.TCPPair(t)
	hereB, peerB := evtest.TCPPair(t)
	a := evnet.Wrap(hereA, &evnet.SocketOptions{Loop: la})
	b := evnet.Wrap(hereB, &evnet.SocketOptions{Loop: lb})
	var emitted atomic.Bool
	done := 0
	b.On.Close(func(bool) {
		closed := make(chan struct{})
		a.On.Close(func(bool) { close(closed) })
		evnet.Relay(a, b, func(err error) {
			done++
			assert.ErrorIs(t, err, evnet.ErrDestroyed)
			assert.True(t, emitted.Load(), "done before Close")
		})
		<-closed
		la.Do(func() {}) // the functions that a's Close has posted have run
		emitted.Store(true)
	})
	b.Destroy(nil)
	var loops sync.WaitGroup
	loops.Go(la.Run)
	loops.Go(lb.Run)
	loops.Wait()
	assert.Equal(t, 1, done)
	_ = peerA.Close()
	_ = peerB.Close()
}

// A socket that was in a relay is free for the next connection.
func TestRelayThenConnect(t *testing.T) {
	l := evnet.NewLoop()
	r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tcp"])
	server, addr := kit.Serve(t, l, nil, kit.Echo)
	got := ""
	r.A.Once.Close(func(bool) {
		r.A.Connect("tcp", addr)
		_, _ = r.A.WriteString("again")
		r.A.On.Data(func(p []byte) { got += string(p); r.A.End() })
		r.A.Resume()
		r.A.Once.Close(func(bool) { r.Closes = 2; _ = server.Close(nil) })
	})
	l.AfterFunc(0, func() { r.B.Destroy(nil) })
	kit.Run(t, l)
	assert.Equal(t, "again", got)
	require.Len(t, r.Done, 1)
	_ = r.PeerA.Close()
	_ = r.PeerB.Close()
}

// It may also be used in its Close, even by the next relay.
func TestRelayAgainInClose(t *testing.T) {
	l := evnet.NewLoop()
	r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tcp"])
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) { _ = server.Close(nil); kit.Echo(c) })
	other, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	var again []error
	r.A.Once.Close(func(bool) {
		r.A.Connect("tcp", addr)
		evnet.Relay(r.A, other, func(err error) { again = append(again, err) })
	})
	l.AfterFunc(0, func() { r.B.Destroy(nil) })
	var answer []byte
	var talk sync.WaitGroup
	talk.Go(func() {
		_, _ = peer.Write([]byte("hello"))
		answer = make([]byte, 5)
		_, err := io.ReadFull(peer, answer)
		assert.NoError(t, err)
		_ = peer.Close()
	})
	kit.Run(t, l)
	talk.Wait()
	assert.Equal(t, "hello", string(answer))
	assert.Len(t, r.Done, 1)
	assert.Len(t, again, 1)
	_ = r.PeerA.Close()
	_ = r.PeerB.Close()
}
