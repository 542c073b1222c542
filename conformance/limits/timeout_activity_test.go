package limits_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The list of actions that count as activity for SetTimeout in Node, and of actions that do not.

// A socket with a timeout of 2 s performs an action after 1 s. Timeout is emitted at 3 s if the action is activity,
// otherwise at 2 s.
func TestTimeoutActivity(t *testing.T) {
	const counts, doesNot = 3 * time.Second, 2 * time.Second
	stuck := func(b *kit.Bubble) { _, _ = b.S.Write(make([]byte, 1000)) } // the peer does not read
	for name, c := range map[string]struct {
		want   time.Duration
		before func(b *kit.Bubble)
		act    func(b *kit.Bubble)
	}{
		"bytes received":      {counts, func(b *kit.Bubble) { kit.Consume(b.S) }, func(b *kit.Bubble) { go b.Peer.Write([]byte("x")) }},
		"FIN received":        {counts, func(b *kit.Bubble) { kit.Consume(b.S) }, func(b *kit.Bubble) { _ = b.Peer.Close() }},
		"bytes, no listener":  {counts, nil, func(b *kit.Bubble) { go b.Peer.Write([]byte("x")) }},
		"bytes, while paused": {doesNot, func(b *kit.Bubble) { b.S.Pause() }, func(b *kit.Bubble) { go b.Peer.Write([]byte("x")) }},
		"write accepted": {counts, func(b *kit.Bubble) { go io.Copy(io.Discard, b.Peer) },
			func(b *kit.Bubble) { _, _ = b.S.WriteString("x") }},
		"queued write completed": {counts, stuck, func(b *kit.Bubble) { go io.Copy(io.Discard, b.Peer) }},
		"write not accepted":     {doesNot, nil, stuck},
		"write behind another":   {doesNot, stuck, stuck},
		"corked write": {doesNot, func(b *kit.Bubble) { go io.Copy(io.Discard, b.Peer) },
			func(b *kit.Bubble) { b.S.Cork(); _, _ = b.S.WriteString("x") }},
		"empty write":        {doesNot, nil, func(b *kit.Bubble) { _, _ = b.S.Write(nil) }},
		"refused write":      {doesNot, func(b *kit.Bubble) { b.S.End() }, func(b *kit.Bubble) { _, _ = b.S.WriteString("x") }},
		"End":                {doesNot, nil, func(b *kit.Bubble) { b.S.End() }},
		"End behind a write": {doesNot, stuck, func(b *kit.Bubble) { b.S.End() }},
		"SetTimeout":         {counts, nil, func(b *kit.Bubble) { require.NoError(b, b.S.SetTimeout(2*time.Second)) }},
		"a bad SetTimeout":   {doesNot, nil, func(b *kit.Bubble) { require.Error(b, b.S.SetTimeout(-1)) }},
		"Pause":              {doesNot, func(b *kit.Bubble) { kit.Consume(b.S) }, func(b *kit.Bubble) { b.S.Pause() }},
		"Resume":             {doesNot, func(b *kit.Bubble) { b.S.Pause() }, func(b *kit.Bubble) { b.S.Resume() }},
		"delivery of buffered data": {doesNot, func(b *kit.Bubble) { go b.Peer.Write([]byte("x")) }, func(b *kit.Bubble) {
			require.Equal(b, 1, b.S.ReadableLength())
			kit.Consume(b.S)
		}},
		"SetNoDelay": {doesNot, nil, func(b *kit.Bubble) { _ = b.S.SetNoDelay(true) }},
		"getters": {doesNot, nil, func(b *kit.Bubble) {
			_, _, _ = b.S.BytesRead(), b.S.ReadyState(), b.S.Timeout()
			_, _, _ = b.S.BufferedAmount(), b.S.RemoteAddr(), b.S.NeedDrain()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &kit.Bubble{T: t, L: evnet.NewLoop(), Began: time.Now()}
				here, there := net.Pipe()
				b.Peer = there
				b.S = evnet.Wrap(evtest.HalfCloser{Conn: here}, &evnet.SocketOptions{Loop: b.L, AllowHalfOpen: true})
				b.S.On.Error(func(error) {})
				b.S.Once.Timeout(func() { b.At = append(b.At, b.Now()) })
				if c.before != nil {
					c.before(b)
				}
				b.L.AfterFunc(0, func() { require.NoError(t, b.S.SetTimeout(2*time.Second)) })
				b.When(time.Second, func() { c.act(b) })
				b.DestroyAt(9 * time.Second)
				kit.Run(t, b.L)
				_ = there.Close()
				assert.Equal(t, []time.Duration{c.want}, b.At)
			})
		})
	}
}

// slowly answers after a second.
type slowly []string

func (a slowly) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	time.Sleep(time.Second) // in the bubble: no real time passes
	return evtest.IPs(a...).LookupNetIP(ctx, network, host)
}

// The steps of Connect: the call and the resolver's answer are activity, a further attempt is not.
func TestTimeoutActivityOfConnect(t *testing.T) {
	for name, c := range map[string]struct {
		resolver evnet.Resolver
		want     time.Duration
	}{
		"called, no answer": {evtest.NeverResolves{}, 3 * time.Second},         // called at 1 s
		"answered":          {slowly{"127.0.0.3"}, 4 * time.Second},            // at 2 s
		"a further attempt": {evtest.IPs("127.0.0.3", "::1"), 3 * time.Second}, // at 2 s
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				began := time.Now()
				hang := &net.Dialer{ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
					<-ctx.Done()
					return ctx.Err()
				}}
				s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: c.resolver, Dialer: hang, AttemptDelay: time.Second})
				attempts := 0
				s.On.ConnectionAttempt(func(evnet.Attempt) { attempts++ })
				s.On.Timeout(func() {
					assert.Equal(t, c.want, time.Since(began))
					assert.True(t, s.Connecting(), "Timeout does not end the attempt")
					s.Destroy(nil)
				})
				require.NoError(t, s.SetTimeout(2*time.Second))
				l.AfterFunc(time.Second, func() { s.Connect("tcp", "name.example:1") })
				kit.Run(t, l)
				assert.Equal(t, c.want, time.Since(began))
				if name == "a further attempt" {
					assert.Equal(t, 2, attempts)
				}
			})
		})
	}
}

// The establishment of the connection is activity.
func TestTimeoutActivityOfBeingConnected(t *testing.T) {
	const limit = 150 * time.Millisecond
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, nil)
	made := make(chan struct{})
	l.AfterFunc(limit-50*time.Millisecond, func() { close(made) })
	slow := &net.Dialer{Control: func(string, string, syscall.RawConn) error {
		<-made
		return nil
	}}
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: slow})
	var connected time.Time
	s.On.Connect(func() { connected = time.Now() })
	s.On.Timeout(func() {
		if connected.IsZero() {
			return // on a busy machine; Timeout is emitted again
		}
		assert.Greater(t, time.Since(connected), limit-20*time.Millisecond)
		s.Destroy(nil)
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	require.NoError(t, s.SetTimeout(limit))
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.True(t, s.Destroyed())
}

// Bytes that were sent on an earlier connection do not count for a write that is not accepted on the next one.
func TestTimeoutOfStuckWriteOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		peers := make(chan net.Conn, 2)
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, IdleTimeout: 3 * time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				peers <- there
				return here, nil
			}})
		kit.Consume(s)
		require.NoError(t, s.SetTimeout(2*time.Second))
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		s.On.Ready(func() { _, _ = s.WriteString("taken?") })
		s.Once.Close(func(hadError bool) {
			assert.False(t, hadError)
			s.Connect("unix", "a path")
		})
		var emitted time.Duration
		s.On.Timeout(func() { emitted = time.Since(began) })
		s.Connect("unix", "a path")
		go func() {
			peer := <-peers
			_, _ = io.ReadFull(peer, make([]byte, 6))
			_ = peer.Close()
		}()
		kit.Run(t, l)
		assert.Equal(t, 2*time.Second, emitted)
		assert.Equal(t, 3*time.Second, time.Since(began))
		_ = (<-peers).Close()
	})
}

// IdleTimeout applies from Connect, Wrap or the accept on, in every phase: also while the socket is connecting, during
// the TLS handshake, and while unread bytes wait because the socket is paused, held back by a Pipe, or has no consumer.
func TestTimeoutIdle_InEveryPhase(t *testing.T) {
	const limit = 3 * time.Second
	feed := func(peer net.Conn) { go peer.Write(make([]byte, 1<<20)) }
	for name, c := range map[string]struct {
		op      string
		connect bool
		play    func(s *evnet.Socket, peer net.Conn)
		opts    evnet.SocketOptions
	}{
		"connecting":      {op: "dial", connect: true, opts: evnet.SocketOptions{Resolver: evtest.NeverResolves{}}},
		"TLS handshake":   {op: "idle", opts: evnet.SocketOptions{TLSConfig: evtest.NamedClientConfig()}},
		"nothing happens": {op: "idle", play: func(s *evnet.Socket, _ net.Conn) { kit.Consume(s) }},
		"paused":          {op: "idle", play: func(s *evnet.Socket, peer net.Conn) { s.Pause(); feed(peer) }},
		"no consumer":     {op: "idle", play: func(_ *evnet.Socket, peer net.Conn) { feed(peer) }},
		"held back by a Pipe": {op: "idle", play: func(s *evnet.Socket, peer net.Conn) {
			dst, far := kit.WrapPipe(s.Loop(), evnet.SocketOptions{})
			s.On.Close(func(bool) { dst.Destroy(nil); _ = far.Close() })
			s.Pipe(dst) // whose peer does not read
			feed(peer)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, began := evnet.NewLoop(), time.Now()
				here, there := net.Pipe()
				c.opts.Loop, c.opts.IdleTimeout = l, limit
				var s *evnet.Socket
				if c.connect {
					s = evnet.NewSocket(&c.opts)
					s.Connect("tcp", "name.example:1")
				} else {
					s = evnet.Wrap(here, &c.opts)
				}
				var reported error
				s.On.Error(func(err error) { reported = err })
				if c.play != nil {
					c.play(s, there)
				}
				kit.Run(t, l)
				assert.Equal(t, limit, time.Since(began))
				evtest.AssertOpError(t, reported, os.ErrDeadlineExceeded, c.op)
				_, _ = here.Close(), there.Close()
			})
		})
	}
}
