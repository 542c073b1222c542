package evnet_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

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

// MaxLifetime ends a socket whatever happens on it.
func TestMaxLifetime_EndsABusySocket(t *testing.T) {
	inBubble(t, evnet.SocketOptions{MaxLifetime: 10 * second, IdleTimeout: 3 * second}, func(b *bubble) {
		b.s.Pipe(b.s)
		b.finally(func() { time.Sleep(10 * second) }) // of the bubble: the peer notices the end
		go func() {
			for {
				time.Sleep(second) // of the bubble: no time passes
				if _, err := b.peer.Write([]byte("x")); err != nil {
					return
				}
				_, _ = b.peer.Read(make([]byte, 1))
			}
		}()
		b.s.On.Close(func(hadError bool) {
			assert.True(t, hadError)
			isLifetime(t, b.s.Err())
			assert.InDelta(t, 10, b.now().Seconds(), 0.01)
		})
	})
}

func TestMaxLifetime_IsNothingToASocketThatCloses(t *testing.T) {
	inBubble(t, evnet.SocketOptions{MaxLifetime: 10 * second}, func(b *bubble) {
		b.destroyAt(9 * second)
		b.when(20*second, func() { assert.NoError(t, b.s.Err()) })
	})
}

// It begins with Connect, and anew with the next.
func TestMaxLifetime_BeginsWithConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		var peer net.Conn
		attempt := 0
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, MaxLifetime: 10 * second,
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
		l.AfterFunc(second, func() { s.Connect("unix", "a path") })
		run(t, l)
		isLifetime(t, s.Err())
		assert.Equal(t, []time.Duration{11 * second, 21 * second}, ends)
		_ = peer.Close()
	})
}

func TestMaxLifetime_OfAcceptedSockets(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server, addr := serve(t, l, &evnet.ServerOptions{MaxLifetime: 50 * time.Millisecond}, nil)
		server.On.Connection(func(a *evnet.Socket) {
			_ = server.Close(nil)
			a.On.Error(func(err error) { isLifetime(t, err) })
			a.Pipe(a)
		})
		c := client(l)
		c.On.Data(func(p []byte) { _, _ = c.Write(p) })
		c.On.Error(func(error) {}) // a reset, or EPIPE
		_, _ = c.WriteString("ping")
		c.Connect("tcp", addr)
		run(t, l)
	})
}

// A peer that keeps the socket busy, so that something waits for its share of a turn at every look, does not keep it
// open.
func TestLimitsEndAFlood(t *testing.T) {
	for name, opts := range map[string]evnet.SocketOptions{
		"MaxLifetime":  {MaxLifetime: 20 * time.Millisecond},
		"CloseTimeout": {CloseTimeout: 20 * time.Millisecond, AllowHalfOpen: true},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := unixConns(t)
				_ = there.(*net.UnixConn).SetWriteBuffer(4 << 10) // chunks of that size
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
				aside(l, func() {
					flood := make([]byte, 4<<10)
					for i := range flood {
						flood[i] = '\n'
					}
					for began := time.Now(); time.Since(began) < patience/2; {
						if _, err := there.Write(flood); err != nil {
							break
						}
					}
					_ = there.Close()
				})
				run(t, l)
				assert.Equal(t, "ETIMEDOUT", evnet.Code(s.Err()))
				assert.Less(t, tokens, 2_000_000, "a second or two")
			})
		})
	}
}
