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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A TCP proxy: each client is joined with a connection of its own to the server behind.
func ExampleRelay() {
	behind := evnet.CreateServer(func(c *evnet.Socket) { c.Pipe(c) })
	if err := behind.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	outcome := errors.New("never relayed")
	proxy := evnet.CreateServer(func(c *evnet.Socket) {
		upstream := evnet.Connect("tcp", behind.Address().String(), nil)
		evnet.Relay(c, upstream, func(err error) {
			outcome = err
			_ = behind.Close(nil)
		})
	})
	if err := proxy.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		fmt.Println(err)
		return
	}
	c := evnet.Connect("tcp", proxy.Address().String(), nil)
	c.WriteString("through the proxy and back")
	c.End()
	c.On.Data(func(chunk []byte) { fmt.Printf("%s\n", chunk) })
	c.On.Close(func(bool) { _ = proxy.Close(nil) })
	evnet.Run()
	fmt.Println("relayed:", outcome)
	// Output:
	// through the proxy and back
	// relayed: <nil>
}

// relayed is a relay between two peers of blocking code, and what became of it.
type relayed struct {
	a, b         *evnet.Socket
	peerA, peerB net.Conn
	done         []error
	closes       int
}

func newRelayed(t testing.TB, la, lb *evnet.Loop, pair func(testing.TB) (net.Conn, net.Conn)) *relayed {
	r := &relayed{}
	var mu sync.Mutex
	wrap := func(l *evnet.Loop) (*evnet.Socket, net.Conn) {
		here, there := pair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: slog.New(failOnLog{t: t})})
		s.On.Close(func(bool) { mu.Lock(); r.closes++; mu.Unlock() })
		return s, there
	}
	r.a, r.peerA = wrap(la)
	r.b, r.peerB = wrap(lb)
	evnet.Relay(r.a, r.b, func(err error) {
		mu.Lock()
		assert.Equal(t, 2, r.closes, "done before Close")
		mu.Unlock()
		r.done = append(r.done, err)
	})
	return r
}

// failOnLog fails the test when a record comes.
type failOnLog struct{ t testing.TB }

func (f failOnLog) Enabled(context.Context, slog.Level) bool { return true }
func (f failOnLog) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f failOnLog) WithGroup(string) slog.Handler            { return f }
func (f failOnLog) Handle(_ context.Context, r slog.Record) error {
	f.t.Errorf("logged: %s", r.Message)
	return nil
}

func closeWrite(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

func shake(c net.Conn) error {
	if c, ok := c.(*tls.Conn); ok {
		return c.HandshakeContext(context.Background())
	}
	return nil
}

// Megabytes both ways at once, over each kind of conn, on one loop and on two, each direction ended
// on its own.
func TestRelayBothWays(t *testing.T) {
	there, back := random(4*megabyte), random(3*megabyte)
	for kind, pair := range connKinds {
		if kind == "pipe" {
			continue // it cannot be half open
		}
		for _, loops := range []int{1, 2} {
			t.Run(fmt.Sprint(kind, loops), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				la := evnet.NewLoop()
				lb := la
				if loops == 2 {
					lb = evnet.NewLoop()
				}
				r := newRelayed(t, la, lb, pair)
				r.a.RemoveAllListeners(evnet.EventData, evnet.EventEnd, evnet.EventDrain)
				r.a.Unpipe(nil)
				assert.Zero(t, r.a.ListenerCount(evnet.EventData))
				assert.True(t, r.a.AllowHalfOpen() && r.b.AllowHalfOpen())
				var peers, other sync.WaitGroup
				peers.Go(func() {
					assert.NoError(t, shake(r.peerA))
					_, err := r.peerA.Write(there)
					assert.NoError(t, err)
					assert.NoError(t, closeWrite(r.peerA)) // the answer comes only now
					got, err := io.ReadAll(r.peerA)
					assert.NoError(t, err)
					equalBytes(t, back, got)
					_ = r.peerA.Close()
				})
				peers.Go(func() {
					assert.NoError(t, shake(r.peerB))
					got, err := io.ReadAll(r.peerB)
					assert.NoError(t, err)
					equalBytes(t, there, got)
					_, err = r.peerB.Write(back)
					assert.NoError(t, err)
					_ = r.peerB.Close()
				})
				if lb != la {
					other.Go(func() { run(t, lb) })
				}
				run(t, la)
				other.Wait()
				peers.Wait()
				assert.Equal(t, []error{nil}, r.done)
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// endOf reads to the end, and says how that came.
func endOf(c net.Conn) error {
	for p := make([]byte, 64<<10); ; {
		if _, err := c.Read(p); err != nil {
			return err
		}
	}
}

// writeToEnded brings what cannot be written any more while the end waits behind what was: both streams are cut off.
func writeToEnded(r *relayed) {
	_ = r.peerB.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = r.b.Conn().(*net.TCPConn).SetWriteBuffer(4 << 10)
	_, _ = r.b.Write(make([]byte, megabyte)) // more than the kernel takes
	r.b.End()
	_, _ = r.peerA.Write([]byte("x"))
}

// What ends one side before its time ends the other: a failure as a reset.
func TestRelayTornDown(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(r *relayed)
		cause error
		peer  error // what the peer of the other side is told
	}{
		"destroyed":      {func(r *relayed) { r.a.Destroy(nil) }, evnet.ErrDestroyed, io.EOF},
		"closed":         {func(r *relayed) { _ = r.a.Close() }, evnet.ErrDestroyed, io.EOF},
		"with an error":  {func(r *relayed) { r.a.Destroy(boom("boom")) }, boom("boom"), syscall.ECONNRESET},
		"reset":          {func(r *relayed) { r.a.Reset() }, evnet.ErrDestroyed, syscall.ECONNRESET},
		"reset by peer":  {func(r *relayed) { _ = r.peerA.(*net.TCPConn).SetLinger(0); _ = r.peerA.Close() }, syscall.ECONNRESET, syscall.ECONNRESET},
		"other way":      {func(r *relayed) { r.a, r.b, r.peerA, r.peerB = r.b, r.a, r.peerB, r.peerA; r.a.Destroy(boom("boom")) }, boom("boom"), syscall.ECONNRESET},
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
				r := newRelayed(t, la, lb, connKinds["tcp"])
				closed := 0
				r.b.On.Close(func(hadError bool) { closed++ })
				la.AfterFunc(time.Millisecond, func() { c.end(r) })
				var other sync.WaitGroup
				if lb != la {
					other.Go(func() { run(t, lb) })
				}
				run(t, la)
				other.Wait()
				require.Len(t, r.done, 1)
				assert.ErrorIs(t, r.done[0], c.cause)
				assert.Equal(t, 2, r.closes)
				assert.ErrorIs(t, endOf(r.peerB), c.peer)
				if c.cause == evnet.ErrWriteAfterEnd {
					assert.ErrorIs(t, endOf(r.peerA), c.peer)
				}
				_ = r.peerA.Close()
				_ = r.peerB.Close()
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// A TLS peer must not take a stream that was cut off for a whole one.
func TestRelayResetsTLS(t *testing.T) {
	l := evnet.NewLoop()
	r := newRelayed(t, l, l, connKinds["tls"])
	r.b.On.SecureConnect(func() { r.a.Destroy(boom("boom")) })
	peer := make(chan error)
	go func() {
		_, err := r.peerB.Read(make([]byte, 1))
		peer <- err
	}()
	run(t, l)
	err := <-peer
	assert.Error(t, err)
	assert.NotEqual(t, io.EOF, err)
	_ = r.peerA.Close()
	_ = r.peerB.Close()
}

// What came before a clean end reaches a slow reader on the other side whole.
func TestRelayFlushes(t *testing.T) {
	want := random(8 * megabyte)
	l := evnet.NewLoop()
	r := newRelayed(t, l, l, connKinds["tcp"])
	var peers sync.WaitGroup
	peers.Go(func() {
		_, _ = r.peerA.Write(want)
		_ = r.peerA.Close()
	})
	_ = closeWrite(r.peerB)
	peers.Go(func() {
		got := newSum()
		buf := make([]byte, 100_000)
		for {
			n, err := r.peerB.Read(buf)
			_, _ = got.Write(buf[:n])
			if err != nil {
				assert.Equal(t, io.EOF, err)
				break
			}
		}
		got.check(t, want)
	})
	run(t, l)
	peers.Wait()
	assert.Equal(t, []error{nil}, r.done)
	_ = r.peerB.Close()
}

// Relay with a socket that is still connecting: what comes waits, within bounds, and a refusal ends
// the accepted side.
func TestRelayWhileConnecting(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := tcpConns(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: slog.New(failOnLog{t: t})})
		up.Connect("tcp", closedPort(t))
		var done []error
		evnet.Relay(s, up, func(err error) { done = append(done, err) })
		run(t, l)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], syscall.ECONNREFUSED)
		_, err := there.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_ = there.Close()
	})
	t.Run("slow", func(t *testing.T) {
		want := random(16 * megabyte)
		l := evnet.NewLoop()
		here, there := tcpConns(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		var server *evnet.Server
		got := newSum()
		server, addr := serve(t, l, nil, func(c *evnet.Socket) {
			_ = server.Close(nil)
			c.On.Data(func(p []byte) { _, _ = got.Write(p) })
		})
		answer := make(chan struct{})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: hook(func() { <-answer })})
		up.Connect("tcp", "name.example:"+port(addr))
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
			assert.LessOrEqual(t, up.BufferedAmount(), 128<<10, "the mark and one chunk")
			close(answer)
		}
		look()
		run(t, l)
		got.check(t, want)
		assert.Equal(t, []error{nil}, done)
		_ = there.Close()
	})
	t.Run("accepted side goes", func(t *testing.T) {
		l := evnet.NewLoop()
		s, peer := wrapped(l, evnet.SocketOptions{})
		up := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: mute{}})
		up.Connect("tcp", "name.example:80")
		var done []error
		evnet.Relay(s, up, func(err error) { done = append(done, err) })
		l.AfterFunc(0, func() { s.Destroy(boom("boom")) })
		run(t, l)
		assert.Equal(t, []error{boom("boom")}, done)
		_ = peer.Close()
	})
}

// Mistakes are told to done, and what is live is torn down.
func TestRelayMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		relay func(s, gone, failed *evnet.Socket, done func(error))
		is    error
	}{
		"nil":     {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(s, nil, done) }, evnet.ErrNilArgument},
		"nil too": {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(nil, s, done) }, evnet.ErrNilArgument},
		"itself":  {func(s, _, _ *evnet.Socket, done func(error)) { evnet.Relay(s, s, done) }, evnet.ErrRelayed},
		"closed":  {func(s, gone, _ *evnet.Socket, done func(error)) { evnet.Relay(s, gone, done) }, evnet.ErrDestroyed},
		"failed":  {func(s, _, failed *evnet.Socket, done func(error)) { evnet.Relay(failed, s, done) }, boom("boom")},
		"from out": {func(s, gone, _ *evnet.Socket, done func(error)) {
			aside(s.Loop(), func() { evnet.Relay(gone, s, done) })
		}, evnet.ErrDestroyed},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			gone, failed := client(l), client(l)
			failed.On.Error(func(error) {})
			gone.Destroy(nil)
			failed.Destroy(boom("boom"))
			run(t, l)
			s, peer := wrapped(l, evnet.SocketOptions{})
			closed := false
			s.On.Close(func(bool) { closed = true })
			var done []error
			c.relay(s, gone, failed, func(err error) { assert.True(t, closed); done = append(done, err) })
			run(t, l)
			require.Len(t, done, 1)
			assert.ErrorIs(t, done[0], c.is)
			_ = peer.Close()
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		var done []error
		evnet.Relay(nil, nil, func(err error) { done = append(done, err) })
		run(t, evnet.DefaultLoop)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], evnet.ErrNilArgument)
	})
	t.Run("a second relay", func(t *testing.T) {
		l := evnet.NewLoop()
		r := newRelayed(t, l, l, connKinds["tcp"])
		s, peer := wrapped(l, evnet.SocketOptions{})
		var done []error
		evnet.Relay(r.a, s, func(err error) { // the first goes on
			done = append(done, err)
			_, _ = r.peerA.Write([]byte("hello"))
			_ = r.peerA.Close()
			_ = closeWrite(r.peerB)
		})
		run(t, l)
		require.Len(t, done, 1)
		assert.ErrorIs(t, done[0], evnet.ErrRelayed)
		assert.Equal(t, []error{nil}, r.done)
		got, _ := io.ReadAll(r.peerB)
		assert.Equal(t, "hello", string(got))
		_ = r.peerB.Close()
		_ = peer.Close()
	})
}

// A relay that begins when one side has ended already passes that on.
func TestRelayAfterEnd(t *testing.T) {
	l := evnet.NewLoop()
	hereA, peerA := tcpConns(t)
	hereB, peerB := tcpConns(t)
	a := evnet.Wrap(hereA, &evnet.SocketOptions{Loop: l})
	b := evnet.Wrap(hereB, &evnet.SocketOptions{Loop: l})
	a.Resume()
	done := errors.New("never")
	a.On.End(func() { evnet.Relay(a, b, func(err error) { done = err }) })
	_ = peerA.CloseWrite()
	aside(l, func() {
		_, err := peerB.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		_, _ = io.WriteString(peerB, "still")
		_ = peerB.Close()
		got, _ := io.ReadAll(peerA)
		assert.Equal(t, "still", string(got))
		_ = peerA.Close()
	})
	run(t, l)
	assert.NoError(t, done)
}

// A relay that begins while a socket emits Close waits until it has.
func TestRelayWhileClosing(t *testing.T) {
	la, lb := evnet.NewLoop(), evnet.NewLoop()
	hereA, peerA := tcpConns(t)
	hereB, peerB := tcpConns(t)
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
		la.Do(func() {}) // what a's Close has posted is done
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
	r := newRelayed(t, l, l, connKinds["tcp"])
	server, addr := serve(t, l, nil, echo)
	got := ""
	r.a.Once.Close(func(bool) {
		r.a.Connect("tcp", addr)
		_, _ = r.a.WriteString("again")
		r.a.On.Data(func(p []byte) { got += string(p); r.a.End() })
		r.a.Resume()
		r.a.Once.Close(func(bool) { r.closes = 2; _ = server.Close(nil) })
	})
	l.AfterFunc(0, func() { r.b.Destroy(nil) })
	run(t, l)
	assert.Equal(t, "again", got)
	require.Len(t, r.done, 1)
	_ = r.peerA.Close()
	_ = r.peerB.Close()
}

// So it is in the midst of its Close already, also for the next relay.
func TestRelayAgainInClose(t *testing.T) {
	l := evnet.NewLoop()
	r := newRelayed(t, l, l, connKinds["tcp"])
	var server *evnet.Server
	server, addr := serve(t, l, nil, func(c *evnet.Socket) { _ = server.Close(nil); echo(c) })
	other, peer := wrapped(l, evnet.SocketOptions{})
	var again []error
	r.a.Once.Close(func(bool) {
		r.a.Connect("tcp", addr)
		evnet.Relay(r.a, other, func(err error) { again = append(again, err) })
	})
	l.AfterFunc(0, func() { r.b.Destroy(nil) })
	var answer []byte
	var talk sync.WaitGroup
	talk.Go(func() {
		_, _ = peer.Write([]byte("hello"))
		answer = make([]byte, 5)
		_, err := io.ReadFull(peer, answer)
		assert.NoError(t, err)
		_ = peer.Close()
	})
	run(t, l)
	talk.Wait()
	assert.Equal(t, "hello", string(answer))
	assert.Len(t, r.done, 1)
	assert.Len(t, again, 1)
	_ = r.peerA.Close()
	_ = r.peerB.Close()
}
