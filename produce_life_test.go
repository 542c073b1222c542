package evnet_test

import (
	"io"
	"iter"
	"log/slog"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// How a producer is refused, fails and continues, and the loop with Write that it replaces.

// A loop that writes until the socket needs to drain ends at the error of Write when the peer has closed the connection.
// NeedDrain is false then, as in Node.
func TestNeedDrain_IsFalseAfterAFailedWrite(t *testing.T) {
	onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
		kit.Aside(l, func() {
			_, err := io.ReadFull(peer, make([]byte, 300_000))
			assert.NoError(t, err)
			_ = peer.Close()
		})
		s.Resume()
		s.On.Error(func(error) {})
		var stopped error
		send := func() {
			for !s.NeedDrain() {
				if _, stopped = s.Write(make([]byte, 64<<10)); stopped != nil {
					assert.False(t, s.NeedDrain())
					assert.False(t, s.Writable())
					return
				}
			}
		}
		s.On.Drain(send)
		s.On.Close(func(bool) { send() })
		send()
		kit.Run(t, l)
		assert.ErrorIs(t, stopped, evnet.ErrDestroyed)
	})
}

// If no connection is made, done gets the cause.
func TestProduce_WhenConnectFails(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	s.On.Error(func(error) {})
	s.Connect("tcp", evtest.ClosedPort(t))
	done, result := onceDone(t, s)
	s.Produce(endless(10_000), done)
	kit.Run(t, l)
	err := result()
	assert.ErrorIs(t, err, evnet.ErrClosedBeforeConnect)
	assert.ErrorIs(t, err, s.Err())
}

// A panic in next destroys only this socket if the loop contains panics.
func TestProduce_PanicInNext(t *testing.T) {
	onProducerMedia(t, func(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn) {
		kit.Aside(l, func() { _, _ = io.Copy(io.Discard, peer) })
		var contained *evnet.PanicError
		l.OnPanic(func(p *evnet.PanicError) { contained = p })
		s.Resume()
		s.On.Error(func(error) {})
		calls := 0
		done, result := onceDone(t, s)
		s.Produce(func() ([]byte, bool) {
			if calls++; calls == 3 {
				panic("in next")
			}
			return []byte("chunk"), true
		}, done)
		kit.Run(t, l)
		assert.Equal(t, 3, calls)
		require.NotNil(t, contained)
		assert.Same(t, s, contained.Socket)
		assert.ErrorIs(t, result(), contained)
	})
}

// Misuse is reported to done, asynchronously, and the running producer continues.
func TestProduce_RefusesMisuse(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	kit.Aside(l, func() { _, _ = io.Copy(io.Discard, peer); _ = peer.Close() })
	s.Resume()
	inCall := true
	reported := 0
	refused := func(is error) func(error) {
		return func(err error) {
			reported++
			assert.False(t, inCall)
			assert.ErrorIs(t, err, is)
		}
	}
	started := s
	s.Produce(func() ([]byte, bool) { return []byte("last"), false }, func(err error) {
		assert.NoError(t, err)
		started.Produce(func() ([]byte, bool) { return nil, false }, func(err error) { // the first has ended
			assert.NoError(t, err)
			started.End()
			started.Produce(endless(1), refused(evnet.ErrWriteAfterEnd))
		})
	})
	s.Produce(endless(1), refused(evnet.ErrProducing))
	s.Produce(nil, refused(evnet.ErrNilArgument))
	kit.NewClient(l).Produce(endless(1), refused(evnet.ErrSocketClosed))
	inCall = false
	s.On.Close(func(bool) { s.Produce(endless(1), refused(evnet.ErrDestroyed)) })
	kit.Run(t, l)
	assert.Equal(t, 5, reported)
	assert.Equal(t, "ERR_INVALID_STATE", evnet.Code(evnet.ErrProducing))
}

// A refusal that no done would get is logged.
func TestProduce_LogsMisuseWithoutDone(t *testing.T) {
	l := evnet.NewLoop()
	var records evtest.Records
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{Logger: slog.New(&records)})
	defer peer.Close()
	s.Produce(endless(1), nil)
	s.Produce(endless(1), nil)
	s.Produce(nil, nil)
	s.End()
	s.Resume()
	l.AfterFunc(1, func() { s.Destroy(nil) })
	kit.Run(t, l)
	written, suppressed := records.Sum(slog.LevelWarn)
	assert.Equal(t, 3, written+suppressed)

	s, other := kit.WrapPipe(l, evnet.SocketOptions{Logger: slog.New(kit.FailOnLog{T: t})})
	defer other.Close()
	s.Produce(endless(1), nil)
	s.Destroy(nil)
	kit.Run(t, l)
}

// A producer belongs to one connection. The next connection may have another.
func TestProduce_OnTheNextConnection(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var server *evnet.Server
		server, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) {
			c.On.Error(func(error) {})
			c.OnRead(func([]byte) bool { c.Reset(); return false })
		})
		s := kit.NewClient(l)
		s.On.Error(func(error) {})
		var results []error
		connection := 0
		connect := func() {
			connection++
			mine := connection
			s.Connect("tcp", addr)
			s.Produce(func() ([]byte, bool) {
				assert.Equal(t, mine, connection)
				return make([]byte, 10_000), true
			}, func(err error) {
				assert.Equal(t, mine, connection)
				results = append(results, err)
			})
		}
		s.On.Close(func(bool) {
			if connection == 3 {
				_ = server.Close(nil)
				return
			}
			connect()
		})
		connect()
		kit.Run(t, l)
		assert.Len(t, results, 3)
		for _, err := range results {
			assert.Error(t, err)
		}
	})
}

// Any goroutine may call Produce. next runs on the loop.
func TestProduce_OnAnyGoroutine(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	s.Resume()
	var got []byte
	kit.Aside(l, func() {
		shared := 0 // not synchronized: next and done run on the loop
		s.Produce(func() ([]byte, bool) { shared++; return []byte("x"), shared < 100 }, func(err error) {
			assert.NoError(t, err)
			s.End()
		})
		got, _ = io.ReadAll(peer)
		_ = peer.Close()
	})
	kit.Run(t, l)
	assert.Len(t, got, 100)
}

// A function that iter.Pull returns is a producer. done releases it, also if the socket fails in the middle.
func TestProduce_FromAnIterator(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	s.Resume()
	kit.Aside(l, func() {
		_, _ = io.ReadFull(peer, make([]byte, 100))
		_ = peer.Close()
	})
	released := false
	next, stop := iter.Pull(func(yield func([]byte) bool) {
		defer func() { released = true }()
		for yield([]byte("chunk")) {
		}
	})
	s.On.Error(func(error) {})
	s.Produce(next, func(err error) {
		assert.Error(t, err)
		stop()
	})
	kit.Run(t, l)
	assert.True(t, released)
}
