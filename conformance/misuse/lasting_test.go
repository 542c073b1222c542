package misuse_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests cover the transitions of a socket's life: callbacks that panic at its end, and state that an old
// connection might leave to the next.

func TestLastingPanicAtTheEnd(t *testing.T) {
	for _, where := range []string{"error", "write"} {
		t.Run(where, func(t *testing.T) {
			l := evnet.NewLoop()
			panics := 0
			l.OnPanic(func(*evnet.PanicError) { panics++ })
			s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
			var got []string
			s.Cork()
			s.WriteThen([]byte("x"), func(error) {
				got = append(got, "first")
				if where == "write" {
					panic("x")
				}
			})
			s.WriteThen([]byte("x"), func(error) { got = append(got, "second") })
			s.On.Error(func(error) {
				if where == "error" {
					panic("x")
				}
			})
			s.On.Close(func(bool) { got = append(got, "close") })
			s.Destroy(evtest.Boom("boom"))
			kit.Run(t, l)
			assert.Equal(t, 1, panics)
			assert.Equal(t, []string{"first", "second", "close"}, got)
		})
	}
}

// lagging is a conn that writes slowly, and records the written data.
type lagging struct {
	net.Conn
	once          sync.Once
	began, resume chan struct{}
	got           bytes.Buffer
}

func (c *lagging) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.began) })
	<-c.resume
	return c.got.Write(p)
}

// A buffer that a writer still uses when its socket is destroyed is not reused by another socket meanwhile.
func TestLastingBuffersAreNotShared(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	slow := &lagging{Conn: here, began: make(chan struct{}), resume: make(chan struct{})}
	s := evnet.Wrap(slow, &evnet.SocketOptions{Loop: l})
	other, otherPeer := kit.WrapPipe(l, evnet.SocketOptions{})
	kit.Aside(l, func() {
		l.Do(func() {
			s.Cork()
			_, _ = s.Write(bytes.Repeat([]byte("a"), 200<<10))
			for range 20 { // more than one batch of the writer: it takes a part of one of these
				_, _ = s.Write(bytes.Repeat([]byte("a"), 16000))
			}
			s.Uncork()
		})
		<-slow.began
		s.Destroy(nil)
		l.Do(func() {
			for range 40 {
				_, _ = other.Write(bytes.Repeat([]byte("b"), 16000))
			}
		})
		close(slow.resume)
		other.Destroy(nil)
	})
	kit.Run(t, l)
	assert.Zero(t, bytes.Count(slow.got.Bytes(), []byte("b")))
	_ = there.Close()
	_ = otherPeer.Close()
}

// shaking is a conn whose handshake fails late.
type shaking struct {
	net.Conn
	fail chan struct{}
}

func (c *shaking) HandshakeContext(context.Context) error {
	<-c.fail
	return errors.New("the old handshake")
}

func TestLastingOldHandshake(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, nil)
	here, there := net.Pipe()
	c := &shaking{here, make(chan struct{})}
	s := evnet.Wrap(c, &evnet.SocketOptions{Loop: l})
	s.On.Error(func(err error) { t.Errorf("the new connection reported: %v", err) })
	s.Once.Close(func(bool) {
		s.Connect("tcp", addr)
		s.Once.Close(func(bool) { _ = server.Close(nil) })
	})
	server.On.Connection(func(a *evnet.Socket) { a.Pipe(a) })
	left := 100 // round trips: enough time for the old handshake to interfere
	s.On.Connect(func() {
		close(c.fail)
		_, _ = s.WriteString("x")
	})
	s.On.Data(func(p []byte) {
		if left--; left > 0 {
			_, _ = s.Write(p)
		} else {
			s.End()
		}
	})
	l.Post(func() { s.Destroy(nil) })
	kit.Run(t, l)
	assert.Zero(t, left)
	_ = there.Close()
}

// SetEncoding may be called from any goroutine, even while a chunk is being decoded.
func TestLastingSetEncodingFromElsewhere(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	require.NoError(t, s.SetEncoding(evnet.UTF8))
	s.On.Data(func([]byte) {})
	kit.Aside(l, func() {
		for range 1000 {
			assert.NoError(t, s.SetEncoding(evnet.UTF8))
			runtime.Gosched()
		}
	})
	go func() {
		for range 1000 {
			_, _ = io.WriteString(peer, "caf\xc3")
		}
		_ = peer.Close()
	}()
	kit.Run(t, l)
}

// Destroy cancels a Connect that was waiting for Close.
func TestLastingDestroyConnectDestroy(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	closes := 0
	s.On.Close(func(bool) { closes++ })
	s.On.Connect(func() { t.Error("connected after Destroy"); s.Destroy(nil) })
	addr := evtest.ClosedPort(t)
	s.Connect("tcp", addr)
	s.Destroy(nil)
	s.Connect("tcp", addr)
	s.Destroy(nil)
	kit.Run(t, l)
	assert.Equal(t, 1, closes)
}

// A cork holds back later writes, but not earlier ones, nor an end.
func TestLastingCorkAfterWrite(t *testing.T) {
	for name, act := range map[string]func(s *evnet.Socket){
		"write": func(s *evnet.Socket) { _, _ = s.WriteString("before"); s.Cork(); _, _ = s.WriteString("behind") },
		"end":   func(s *evnet.Socket) { _, _ = s.WriteString("before"); s.End(); s.Cork() },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
				got := ""
				done := func() {
					assert.Equal(t, "before", got)
					c.Destroy(nil)
					a.Destroy(nil)
				}
				a.On.Data(func(p []byte) {
					if got += string(p); name == "write" {
						done()
					}
				})
				a.On.End(done)
				act(c)
			})
			kit.Run(t, l)
		})
	}
}

// overcounting is a conn whose Read returns an impossible count.
type overcounting struct{ net.Conn }

func (overcounting) Read(p []byte) (int, error) { return len(p) + 1, nil }

func TestLastingImpossibleRead(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	s := evnet.Wrap(overcounting{here}, &evnet.SocketOptions{Loop: l})
	s.On.Error(func(error) {})
	kit.Run(t, l)
	assert.ErrorContains(t, s.Err(), "impossible count")
	_ = there.Close()
}

// legacyTimeout is a conn with its own timeout error, from the time before os.ErrDeadlineExceeded.
type legacyTimeout struct{ net.Conn }

type oldTimeout struct{}

func (oldTimeout) Error() string   { return "too late" }
func (oldTimeout) Timeout() bool   { return true }
func (oldTimeout) Temporary() bool { return true }

func (c legacyTimeout) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = oldTimeout{}
	}
	return n, err
}

func TestLastingPauseOfAnOldConn(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	s := evnet.Wrap(legacyTimeout{here}, &evnet.SocketOptions{Loop: l})
	got := ""
	more := make(chan struct{}, 1)
	more <- struct{}{}
	s.On.Data(func(p []byte) {
		got += string(p)
		l.AfterFunc(time.Millisecond, func() { // the reader is usually back in Read by now
			s.Pause()
			l.AfterFunc(0, func() {
				s.Resume()
				more <- struct{}{}
			})
		})
	})
	go func() {
		for range 20 {
			<-more
			_, _ = io.WriteString(there, "x")
		}
		_ = there.Close()
	}()
	kit.Run(t, l)
	assert.NoError(t, s.Err())
	assert.Len(t, got, 20)
}
