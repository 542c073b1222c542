package evnet_test

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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What counts as activity for SetTimeout, and what does not: Node's list, line by line.

// halves is a conn that knows to end one side, and does nothing about it.
type halves struct{ net.Conn }

func (halves) CloseWrite() error { return nil }

// A socket whose time is 2 s does this after 1 s: Timeout comes at 3 s if that was activity, else at 2.
func TestTimeoutActivity(t *testing.T) {
	const counts, doesNot = 3 * second, 2 * second
	stuck := func(b *bubble) { _, _ = b.s.Write(make([]byte, 1000)) } // the peer does not read
	for name, c := range map[string]struct {
		want   time.Duration
		before func(b *bubble)
		act    func(b *bubble)
	}{
		"bytes received":      {counts, func(b *bubble) { consume(b.s) }, func(b *bubble) { go b.peer.Write([]byte("x")) }},
		"FIN received":        {counts, func(b *bubble) { consume(b.s) }, func(b *bubble) { _ = b.peer.Close() }},
		"unheard bytes":       {counts, nil, func(b *bubble) { go b.peer.Write([]byte("x")) }},
		"bytes, while paused": {doesNot, func(b *bubble) { b.s.Pause() }, func(b *bubble) { go b.peer.Write([]byte("x")) }},
		"write handed over": {counts, func(b *bubble) { go io.Copy(io.Discard, b.peer) },
			func(b *bubble) { _, _ = b.s.WriteString("x") }},
		"queued write completed":  {counts, stuck, func(b *bubble) { go io.Copy(io.Discard, b.peer) }},
		"write that nobody takes": {doesNot, nil, stuck},
		"write behind another":    {doesNot, stuck, stuck},
		"corked write": {doesNot, func(b *bubble) { go io.Copy(io.Discard, b.peer) },
			func(b *bubble) { b.s.Cork(); _, _ = b.s.WriteString("x") }},
		"empty write":        {doesNot, nil, func(b *bubble) { _, _ = b.s.Write(nil) }},
		"refused write":      {doesNot, func(b *bubble) { b.s.End() }, func(b *bubble) { _, _ = b.s.WriteString("x") }},
		"End":                {doesNot, nil, func(b *bubble) { b.s.End() }},
		"End behind a write": {doesNot, stuck, func(b *bubble) { b.s.End() }},
		"SetTimeout":         {counts, nil, func(b *bubble) { require.NoError(b, b.s.SetTimeout(2*second)) }},
		"a bad SetTimeout":   {doesNot, nil, func(b *bubble) { require.Error(b, b.s.SetTimeout(-1)) }},
		"Pause":              {doesNot, func(b *bubble) { consume(b.s) }, func(b *bubble) { b.s.Pause() }},
		"Resume":             {doesNot, func(b *bubble) { b.s.Pause() }, func(b *bubble) { b.s.Resume() }},
		"delivery of what was held": {doesNot, func(b *bubble) { go b.peer.Write([]byte("x")) }, func(b *bubble) {
			require.Equal(b, 1, b.s.ReadableLength())
			consume(b.s)
		}},
		"SetNoDelay": {doesNot, nil, func(b *bubble) { _ = b.s.SetNoDelay(true) }},
		"getters": {doesNot, nil, func(b *bubble) {
			_, _, _ = b.s.BytesRead(), b.s.ReadyState(), b.s.Timeout()
			_, _, _ = b.s.BufferedAmount(), b.s.RemoteAddr(), b.s.NeedDrain()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bubble{T: t, l: evnet.NewLoop(), began: time.Now()}
				here, there := net.Pipe()
				b.peer = there
				b.s = evnet.Wrap(halves{Conn: here}, &evnet.SocketOptions{Loop: b.l, AllowHalfOpen: true})
				b.s.On.Error(func(error) {})
				b.s.Once.Timeout(func() { b.at = append(b.at, b.now()) })
				if c.before != nil {
					c.before(b)
				}
				b.l.AfterFunc(0, func() { require.NoError(t, b.s.SetTimeout(2*second)) })
				b.when(second, func() { c.act(b) })
				b.destroyAt(9 * second)
				run(t, b.l)
				_ = there.Close()
				assert.Equal(t, []time.Duration{c.want}, b.at)
			})
		})
	}
}

// slowly answers after a second.
type slowly []string

func (a slowly) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	time.Sleep(second) // of a bubble: no time passes
	return ips(a...).LookupNetIP(ctx, network, host)
}

// The steps of Connect: to call it and the resolver's answer are activity, a further attempt is not.
func TestTimeoutActivityOfConnect(t *testing.T) {
	for name, c := range map[string]struct {
		resolver evnet.Resolver
		want     time.Duration
	}{
		"called, no answer": {mute{}, 3 * second},                  // called at 1 s
		"answered":          {slowly{"127.0.0.3"}, 4 * second},     // at 2 s
		"a further attempt": {ips("127.0.0.3", "::1"), 3 * second}, // at 2 s
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				began := time.Now()
				hang := &net.Dialer{ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
					<-ctx.Done()
					return ctx.Err()
				}}
				s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: c.resolver, Dialer: hang, AttemptDelay: second})
				attempts := 0
				s.On.ConnectionAttempt(func(evnet.Attempt) { attempts++ })
				s.On.Timeout(func() {
					assert.Equal(t, c.want, time.Since(began))
					assert.True(t, s.Connecting(), "it does not end the attempt")
					s.Destroy(nil)
				})
				require.NoError(t, s.SetTimeout(2*second))
				l.AfterFunc(second, func() { s.Connect("tcp", "name.example:1") })
				run(t, l)
				assert.Equal(t, c.want, time.Since(began))
				if name == "a further attempt" {
					assert.Equal(t, 2, attempts)
				}
			})
		})
	}
}

// To be connected is activity.
func TestTimeoutActivityOfBeingConnected(t *testing.T) {
	const limit = 150 * time.Millisecond
	l := evnet.NewLoop()
	server, addr := serve(t, l, nil, nil)
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
			return // the machine is busy; it comes again
		}
		assert.Greater(t, time.Since(connected), limit-20*time.Millisecond)
		s.Destroy(nil)
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	require.NoError(t, s.SetTimeout(limit))
	s.Connect("tcp", addr)
	run(t, l)
	assert.True(t, s.Destroyed())
}

// What the connection before has sent is nothing to a write that nobody takes on the next one.
func TestTimeoutOfStuckWriteOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		peers := make(chan net.Conn, 2)
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, IdleTimeout: 3 * second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				peers <- there
				return here, nil
			}})
		consume(s)
		require.NoError(t, s.SetTimeout(2*second))
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		s.On.Ready(func() { _, _ = s.WriteString("taken?") })
		s.Once.Close(func(hadError bool) {
			assert.False(t, hadError)
			s.Connect("unix", "a path")
		})
		var told time.Duration
		s.On.Timeout(func() { told = time.Since(began) })
		s.Connect("unix", "a path")
		go func() {
			peer := <-peers
			_, _ = io.ReadFull(peer, make([]byte, 6))
			_ = peer.Close()
		}()
		run(t, l)
		assert.Equal(t, 2*second, told)
		assert.Equal(t, 3*second, time.Since(began))
		_ = (<-peers).Close()
	})
}
