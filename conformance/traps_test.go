package conformance_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Traps of Node that evnet avoids. differences_test.go in docs lists the test for each.

// Sockets lists an accepted socket without a reader, and IdleTimeout ends it, so that the server can
// close.
func TestTrapUnreadSocketIsBounded(t *testing.T) {
	l := evnet.NewLoop()
	var unread *evnet.Socket
	var server *evnet.Server
	server, addr := kit.Serve(t, l, &evnet.ServerOptions{IdleTimeout: 20 * time.Millisecond}, func(s *evnet.Socket) {
		unread = s
		s.On.Data(func([]byte) { t.Error("it is not read") }).Off()
		require.NoError(t, server.Close(nil))
		assert.Equal(t, []*evnet.Socket{s}, server.Sockets())
		assert.Equal(t, 1, server.Connections())
	})
	closed := false
	server.On.Close(func() { closed = true })
	c := kit.NewClient(l)
	c.On.Ready(func() { _, _ = c.WriteString("x"); _ = c.Close() })
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.True(t, closed)
	assert.ErrorIs(t, unread.Err(), os.ErrDeadlineExceeded)
	assert.Empty(t, server.Sockets())
	assert.Zero(t, server.Connections())
}

// CloseTimeout ends a client that has ended and does not read the answer.
func TestTrapUnreadAnswerIsBounded(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, &evnet.SocketOptions{CloseTimeout: 20 * time.Millisecond}, nil, func(c, a *evnet.Socket) {
		a.On.Data(func([]byte) {})
		a.On.Error(func(error) {}) // a reset, because of unread data
		_, _ = a.WriteString("answer")
		c.End()
		c.On.End(func() { t.Error("it is not read") })
		c.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		c.On.Close(func(hadError bool) { assert.True(t, hadError) })
	})
	kit.Run(t, l)
}

// SetTimeout adds no listener, however often it is called: one idle period emits one Timeout.
func TestTrapSetTimeoutRegistersNothing(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		before := b.S.ListenerCount(evnet.EventTimeout)
		for range 3 {
			require.NoError(t, b.S.SetTimeout(2*time.Second))
		}
		assert.Equal(t, before, b.S.ListenerCount(evnet.EventTimeout))
		b.DestroyAt(9 * time.Second)
		b.Finally(func() { assert.Equal(t, []time.Duration{2 * time.Second}, b.At) })
	})
}

// A socket that connects again has no old bytes, counters at 0, an active timer, and the same listeners as
// before.
func TestTrapConnectingAgainStartsClean(t *testing.T) {
	l := evnet.NewLoop()
	words := []string{"old", "new"}
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		s.On.Error(func(error) {})
		s.Resume()
		_, _ = s.WriteString(words[0])
		words = words[1:]
	})
	c := kit.NewClient(l)
	count := func() (n int) {
		for _, e := range []evnet.Event{evnet.EventConnect, evnet.EventClose, evnet.EventData, evnet.EventEnd, evnet.EventTimeout} {
			n += c.ListenerCount(e)
		}
		return n
	}
	round, timeouts, listeners := 0, 0, 0
	var got kit.Notes
	c.On.Timeout(func() {
		if timeouts++; round == 2 {
			c.End()
		}
	})
	c.On.Ready(func() {
		round++
		if round == 1 {
			require.NoError(t, c.SetTimeout(20*time.Millisecond))
			var look func()
			look = func() { // until the socket has read ahead
				if c.ReadableLength() == 0 {
					l.Post(look)
					return
				}
				c.Destroy(nil)
			}
			look()
			listeners = count()
			return
		}
		assert.Equal(t, listeners, count())
		assert.Zero(t, c.ReadableLength())
		assert.Zero(t, c.BytesRead())
		assert.Zero(t, c.BytesWritten())
		assert.NoError(t, c.Err())
		c.Once.Data(got.Chunk(""))
		c.Resume()
	})
	c.On.Close(func(bool) {
		if round == 1 {
			c.Connect("tcp", addr)
			return
		}
		_ = server.Close(nil)
	})
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"new"}, got)
	assert.Positive(t, timeouts, "the timer is active")
}

// The timer of the first connection is kept for the second.
func TestTrapConnectingAgainKeepsTheTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.NeverResolves{}})
		require.NoError(t, s.SetTimeout(2*time.Second))
		began := time.Now()
		s.Once.Close(func(bool) {
			s.Connect("tcp", "name.example:1")
			assert.Equal(t, 2*time.Second, s.Timeout())
		})
		s.On.Timeout(func() {
			assert.Equal(t, 3*time.Second, time.Since(began))
			s.Destroy(nil)
		})
		s.Connect("tcp", "name.example:1")
		l.AfterFunc(time.Second, func() { s.Destroy(nil) })
		kit.Run(t, l)
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

// Close has a boolean argument for every way to end the socket, and Err returns the cause.
func TestTrapCloseArgument(t *testing.T) {
	cause := evtest.Boom("boom")
	for name, c := range map[string]struct {
		end  func(s *evnet.Socket, l *evnet.Loop)
		want error // nil: Close(false)
	}{
		"destroyed, never connected":             {func(s *evnet.Socket, _ *evnet.Loop) { s.Destroy(nil) }, nil},
		"destroyed for a cause, never connected": {func(s *evnet.Socket, _ *evnet.Loop) { s.Destroy(cause) }, cause},
		"reset, never connected":                 {func(s *evnet.Socket, _ *evnet.Loop) { s.Reset() }, evnet.ErrSocketClosed},
		"closed, never connected":                {func(s *evnet.Socket, _ *evnet.Loop) { _ = s.Close() }, nil},
		"bad address":                            {func(s *evnet.Socket, _ *evnet.Loop) { s.Connect("tcp", "") }, nil},
		"destroyed while connecting": {func(s *evnet.Socket, _ *evnet.Loop) {
			s.Connect("tcp", evtest.ClosedPort(t))
			s.Destroy(nil)
		}, nil},
		"destroyed twice": {func(s *evnet.Socket, _ *evnet.Loop) {
			s.Destroy(nil)
			s.Destroy(cause)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.NewClient(l)
			var args []bool
			var reported error
			s.On.Error(func(err error) { reported = err })
			s.On.Close(func(hadError bool) { args = append(args, hadError) })
			c.end(s, l)
			kit.Run(t, l)
			if name == "bad address" {
				require.Error(t, reported)
				c.want = reported
			}
			assert.Equal(t, []bool{c.want != nil}, args)
			assert.Equal(t, c.want, reported)
			assert.Equal(t, c.want, s.Err())
		})
	}
}

// A write after the end is refused without harm: the answer still arrives.
func TestTrapLateWriteHarmsNothing(t *testing.T) {
	l := evnet.NewLoop()
	var got kit.Notes
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		watch := func(s *evnet.Socket, name string) {
			s.On.Error(func(err error) { t.Error(name, err) })
			s.On.Close(func(hadError bool) { assert.False(t, hadError, name) })
		}
		watch(c, "client")
		watch(a, "server")
		late := func(s *evnet.Socket) {
			_, err := s.WriteString("late")
			assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
			assert.NotErrorIs(t, err, net.ErrClosed)
			s.WriteThen([]byte("late"), func(err error) { assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd) })
			s.End()
		}
		c.On.Data(got.Chunk(""))
		c.End()
		late(c)
		a.Resume()
		a.On.End(func() {
			_, err := a.WriteString("answer")
			assert.NoError(t, err, "this side ends after the End listeners")
			a.On.Finish(func() { late(a) })
		})
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"answer"}, got)
}

// Both addresses stay readable in Error, in Close and afterwards.
func TestTrapAddressesStay(t *testing.T) {
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		local, remote := c.Conn().LocalAddr(), c.Conn().RemoteAddr()
		for s, want := range map[*evnet.Socket][2]net.Addr{c: {local, remote}, a: {remote, local}} {
			check := func() {
				assert.Equal(t, want[0].String(), s.LocalAddr().String())
				assert.Equal(t, want[1].String(), s.RemoteAddr().String())
			}
			s.On.Error(func(error) { check() })
			s.On.Close(func(bool) { check(); l.AfterFunc(0, check) })
		}
		c.Destroy(errors.New("a cause"))
		a.Resume()
	})
	kit.Run(t, l)
}

// Listen returns its error synchronously, and a failed Listen drops its callback.
func TestTrapListenFailsSynchronously(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	l := evnet.NewLoop()
	s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	var got kit.Notes
	s.On.Listening(got.Say("listening"))
	s.On.Error(func(error) { t.Error("reported twice") })
	require.Error(t, s.Listen("tcp", taken.Addr().String(), got.Say("first")))
	assert.False(t, s.Listening())
	require.NoError(t, s.Listen("tcp", "localhost:0", got.Say("second")))
	assert.True(t, s.Listening(), "a host name is resolved synchronously")
	assert.NotNil(t, s.Address())
	require.ErrorIs(t, s.Listen("tcp", "127.0.0.1:0", got.Say("third")), evnet.ErrServerAlreadyListening)
	l.AfterFunc(0, func() { assert.NoError(t, s.Close(got.Say("closed"))) })
	kit.Run(t, l)
	require.NoError(t, s.Listen("tcp", "127.0.0.1:0", nil))
	l.AfterFunc(0, func() { assert.NoError(t, s.Close(nil)) })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"listening", "second", "closed", "listening"}, got)
}

// A producer that waits only for Drain is woken when the socket is destroyed.
func TestTrapProducerIsWoken(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
	defer peer.Close()
	reported := 0
	s.WriteThen([]byte("never taken"), func(err error) {
		assert.ErrorIs(t, err, evnet.ErrDestroyed)
		reported++
	})
	require.True(t, s.NeedDrain())
	s.On.Close(func(bool) {
		assert.Equal(t, 1, reported)
		assert.False(t, s.NeedDrain())
	})
	kit.Aside(l, func() {
		_, err := s.ReadFrom(io.LimitReader(forever{}, 1<<20))
		assert.ErrorIs(t, err, evnet.ErrDestroyed)
	})
	l.AfterFunc(time.Millisecond, func() { s.Destroy(nil) })
	kit.Run(t, l)
}

// forever is a reader that never returns io.EOF.
type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }

// The callback of Connect belongs only to that attempt.
func TestTrapCallbackOfAFailedConnect(t *testing.T) {
	stale := 0
	s := evnet.Connect("tcp", evtest.ClosedPort(t), func() { stale++ })
	s.On.Error(func(error) {})
	kit.Run(t, evnet.DefaultLoop)
	assert.Zero(t, s.ListenerCount(evnet.EventConnect))
	server := evnet.CreateServer(kit.Consume)
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	s.On.Ready(func() { s.Destroy(nil); _ = server.Close(nil) })
	s.Connect("tcp", server.Address().String())
	kit.Run(t, evnet.DefaultLoop)
	assert.Zero(t, stale)
}
