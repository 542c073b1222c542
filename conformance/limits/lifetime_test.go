package limits_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// isLifetime fails unless MaxLifetime has ended a connected socket.
func isLifetime(t testing.TB, err error) {
	t.Helper()
	assert.Equal(t, "ETIMEDOUT", evnet.Code(err))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "lifetime", op.Op)
}

// MaxLifetime ends a socket with any traffic.
func TestMaxLifetime_EndsABusySocket(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{MaxLifetime: 10 * time.Second, IdleTimeout: 3 * time.Second}, func(b *kit.Bubble) {
		b.S.Pipe(b.S)
		b.Finally(func() { time.Sleep(10 * time.Second) }) // in the bubble: the peer detects the end
		go func() {
			for {
				time.Sleep(time.Second) // in the bubble: no real time passes
				if _, err := b.Peer.Write([]byte("x")); err != nil {
					return
				}
				_, _ = b.Peer.Read(make([]byte, 1))
			}
		}()
		b.S.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			isLifetime(t, b.S.Err())
			assert.InDelta(t, 10, b.Now().Seconds(), 0.01)
		})
	})
}

func TestMaxLifetime_DoesNotEndAClosingSocket(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{MaxLifetime: 10 * time.Second}, func(b *kit.Bubble) {
		b.DestroyAt(9 * time.Second)
		b.When(20*time.Second, func() { assert.NoError(t, b.S.Err()) })
	})
}

// MaxLifetime starts with each Connect.
func TestMaxLifetime_BeginsWithConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		var peer net.Conn
		attempt := 0
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, MaxLifetime: 10 * time.Second,
			Dial: func(ctx context.Context, _, _ string) (here net.Conn, _ error) {
				if attempt++; attempt == 1 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				here, peer = net.Pipe()
				return here, nil
			}})
		s.On.Error(func(error) {})
		var ends []time.Duration
		s.On.Close(func(bool) {
			if ends = append(ends, time.Since(began)); len(ends) == 1 {
				assert.Equal(t, "ERR_SOCKET_CONNECTION_TIMEOUT", evnet.Code(s.Err()))
				s.Connect("unix", "a path")
			}
		})
		l.AfterFunc(time.Second, func() { s.Connect("unix", "a path") })
		kit.Run(t, l)
		isLifetime(t, s.Err())
		assert.Equal(t, []time.Duration{11 * time.Second, 21 * time.Second}, ends)
		_ = peer.Close()
	})
}

func TestMaxLifetime_OfAcceptedSockets(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server, addr := kit.Serve(t, l, &evnet.ServerOptions{MaxLifetime: 50 * time.Millisecond}, nil)
		server.On.Connection(func(a *evnet.Socket) {
			_ = server.Close(nil)
			a.On.Error(func(err error) { isLifetime(t, err) })
			a.Pipe(a)
		})
		c := kit.NewClient(l)
		c.On.Data(func(p []byte) { _, _ = c.Write(p) })
		c.On.Error(func(error) {}) // a reset, or EPIPE
		_, _ = c.WriteString("ping")
		c.Connect("tcp", addr)
		kit.Run(t, l)
	})
}

// A peer cannot keep the socket open by keeping it busy, so that data waits for its share of a turn at every check.
func TestLimitsEndAFlood(t *testing.T) {
	cases := map[string]evnet.SocketOptions{
		"MaxLifetime":  {MaxLifetime: 20 * time.Millisecond},
		"CloseTimeout": {CloseTimeout: 20 * time.Millisecond, AllowHalfOpen: true},
	}
	evtest.OnBothTransportsIfLong(t, func(t *testing.T) {
		var all sync.WaitGroup
		for name, opts := range cases {
			all.Go(func() { endAFlood(called{t, name}, opts) })
		}
		all.Wait()
	})
}

func endAFlood(t testing.TB, opts evnet.SocketOptions) {
	l := evnet.NewLoop()
	here, there := evtest.UnixPair(t)
	_ = there.(*net.UnixConn).SetWriteBuffer(4 << 10) // the size of the chunks
	opts.Loop = l
	s := evnet.Wrap(here, &opts)
	s.On.Error(func(error) {})
	tokens := 0
	require.NoError(t, s.Scan(nil, 0, func([]byte) {
		tokens++
		for began := time.Now(); time.Since(began) < time.Microsecond; { // a chunk exceeds the share
		}
	}))
	s.End()
	kit.Aside(l, func() {
		flood := make([]byte, 4<<10)
		for i := range flood {
			flood[i] = '\n'
		}
		for began := time.Now(); time.Since(began) < evtest.Patience/2; {
			if _, err := there.Write(flood); err != nil {
				break
			}
		}
		_ = there.Close()
	})
	kit.Run(t, l)
	assert.Equal(t, "ETIMEDOUT", evnet.Code(s.Err()))
	assert.Less(t, tokens, 2_000_000, "the limit took many seconds")
}
