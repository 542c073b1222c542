package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// churn opens and closes connections, some at a time, each in a manner drawn at random.
type churn struct {
	t        *testing.T
	l        *evnet.Loop
	rng      *rand.Rand
	address  string
	secure   string          // that of a server with TLS
	nobody   string          // an address that refuses
	ctx      context.Context // which outlives all connections
	left     int             // connections to begin
	securely *evnet.Server   // that with TLS
	open     int             // of those begun
	over     func()
	closed   int
	oddly    []error
}

const churnAtOnce = 64

// run lets n connections come and go, then calls over.
func (c *churn) run(n int, over func()) {
	c.left, c.over = n, over
	for range min(n, churnAtOnce) {
		c.next()
	}
}

func (c *churn) next() {
	if c.left == 0 {
		if c.open == 0 {
			c.over()
		}
		return
	}
	c.left--
	c.open++
	address, config := c.address, (*tls.Config)(nil)
	if c.rng.IntN(8) == 0 {
		address, config = c.secure, &tls.Config{InsecureSkipVerify: true}
	}
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop: c.l, TLSConfig: config, HandshakeTimeout: time.Hour, Logger: quiet, AllowHalfOpen: c.rng.IntN(2) == 0,
		IdleTimeout: time.Duration(c.rng.IntN(2)) * time.Hour, CloseTimeout: time.Duration(c.rng.IntN(2)) * time.Hour,
		Resolver: loopback(1 + c.rng.IntN(2)),
	})
	s.On.Close(func(bool) {
		c.open--
		c.closed++
		c.next()
	})
	s.On.End(s.End)
	if c.rng.IntN(3) == 0 {
		_ = s.SetTimeout(time.Hour)
	}
	payload := block[:c.rng.IntN(2000)]
	switch c.rng.IntN(4) {
	case 0:
		s.Resume()
	case 1:
		_ = s.OnRead(func([]byte) bool { return true })
	case 2:
		_ = s.Scan(chunksOf(100), 0, func([]byte) {})
	default:
		s.Pipe(io.Discard)
	}
	switch c.rng.IntN(4) {
	case 0:
		address = named(address)
	case 1:
		if c.rng.IntN(2) == 0 {
			address = c.nobody
		}
	}
	switch c.rng.IntN(8) {
	case 0, 1, 2: // the common end
		s.On.Connect(func() { _, _ = s.Write(payload); s.End() })
	case 3:
		s.On.Connect(func() { _, _ = s.Write(payload); _ = s.Close() })
	case 4:
		s.On.Connect(func() { _, _ = s.Write(payload); s.Destroy(nil) })
	case 5:
		s.On.Ready(func() { _, _ = s.Write(payload); s.Reset() })
	case 6: // it fails by itself
		s.On.Data(func([]byte) {}).Off()
		s.On.Connect(func() { s.Cork(); _, _ = s.Write(payload); s.Destroy(errCause) })
	case 7: // while it connects
		c.l.AfterFunc(time.Duration(c.rng.IntN(300))*time.Microsecond, func() { s.Destroy(nil) })
	}
	if c.rng.IntN(2) == 0 {
		s.ConnectContext(c.ctx, "tcp", address)
	} else {
		s.Connect("tcp", address)
	}
}

// accepted is the server's part of a connection.
func (c *churn) accepted(s *evnet.Socket) {
	switch c.rng.IntN(8) {
	case 0:
		s.Reset()
	case 1:
		s.Destroy(nil)
	case 2:
		_, _ = s.Write(block[:1000])
		_ = s.Close()
	case 3:
		s.On.End(func() { _, _ = s.Write(block[:1000]); s.End() }) // half open meanwhile
		s.Resume()
	case 4:
		s.End()
		s.On.Data(func([]byte) {})
	case 5: // unread at first
		s.On.End(s.End)
		c.l.AfterFunc(time.Duration(c.rng.IntN(300))*time.Microsecond, s.Resume)
	default:
		s.Pipe(s)
	}
	s.On.Error(func(err error) {
		// A client with TLS that is destroyed says no more than any other.
		cut := s.Server() == c.securely && errors.Is(err, io.ErrUnexpectedEOF)
		if code := evnet.Code(err); code != "ECONNRESET" && code != "EPIPE" && !cut {
			c.oddly = append(c.oddly, err)
		}
	})
}

// chunksOf is a split function for tokens of n bytes; the last may be shorter.
func chunksOf(n int) func([]byte, bool) (int, []byte, error) {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		if len(data) == 0 || len(data) < n && !atEOF {
			return 0, nil, nil
		}
		n := min(n, len(data))
		return n, data[:n], nil
	}
}

// weight is what a process carries.
type weight struct {
	heap, goroutines, descriptors int
}

func weigh() weight {
	var m runtime.MemStats
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return weight{int(m.HeapAlloc), runtime.NumGoroutine(), descriptors()}
}

// However many connections have come and gone, and however they ended, nothing of them stays: after
// five times as many as at first the process weighs the same.
func TestChurn(t *testing.T) {
	n := evtest.Pick(500, 40_000)
	onEach(t, func(t *testing.T) {
		seed := seedOf(t)
		c := &churn{t: t, l: evnet.NewLoop(), rng: rand.New(rand.NewPCG(seed, 0)), nobody: nobody(t)}
		var unused context.CancelFunc
		c.ctx, unused = context.WithCancel(context.Background())
		defer unused()
		options := evnet.ServerOptions{
			AllowHalfOpen: true, IdleTimeout: time.Hour, CloseTimeout: time.Hour, FirstByteTimeout: time.Hour, HandshakeTimeout: time.Hour,
		}
		var server *evnet.Server
		server, c.address = serve(t, c.l, options, c.accepted)
		options.TLSConfig = selfSigned()
		c.securely, c.secure = serve(t, c.l, options, c.accepted)
		var first, last weight
		began := time.Now()
		// What is still on its way when the last client has closed ends soon.
		settled := func(then func(weight)) func() {
			var wait func()
			wait = func() {
				if server.Connections()+c.securely.Connections() > 0 {
					c.l.AfterFunc(time.Millisecond, wait)
					return
				}
				c.l.AfterFunc(20*time.Millisecond, func() { then(weigh()) })
			}
			return wait
		}
		c.run(n, settled(func(w weight) {
			first = w
			c.run(4*n, settled(func(w weight) {
				last = w
				_, _ = server.Close(nil), c.securely.Close(nil)
			}))
		}))
		hung := time.AfterFunc(10*patience, func() { panic("the churn does not end") })
		c.l.Run()
		hung.Stop()
		require.Equal(t, 5*n, c.closed)
		assert.Empty(t, errors.Join(c.oddly...))
		t.Logf("%d connections in %.1f s: after %d %+v, at the end %+v", c.closed, time.Since(began).Seconds(), n, first, last)
		assert.LessOrEqual(t, last.heap, first.heap+128<<10, "bytes in use")
		assert.LessOrEqual(t, last.goroutines, first.goroutines+4, "goroutines")
		assert.LessOrEqual(t, last.descriptors, first.descriptors+4, "descriptors")
	})
}

// A Server that listens and closes again and again leaves nothing either.
func TestChurnOfServers(t *testing.T) {
	n := 100
	if evtest.Long() {
		n = 5000
	}
	onEach(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: quiet})
		server.On.Connection(func(s *evnet.Socket) { s.Resume() })
		var first weight
		round := 0
		var again func()
		again = func() {
			if round++; round == n {
				first = weigh()
			}
			if round > 5*n {
				return
			}
			require.NoError(t, server.Listen("tcp", "127.0.0.1:0", func() {
				c, err := net.Dial("tcp", server.Address().String())
				if assert.NoError(t, err) {
					_ = c.(*net.TCPConn).SetLinger(0) // no port is kept by TIME_WAIT
					_ = c.Close()
				}
				_ = server.Close(func() { l.AfterFunc(0, again) }) // what was accepted has its turn before
			}))
		}
		again()
		run(t, l)
		last := weigh()
		assert.LessOrEqual(t, last.heap, first.heap+64<<10, "bytes in use")
		assert.LessOrEqual(t, last.goroutines, first.goroutines+4, "goroutines")
		assert.LessOrEqual(t, last.descriptors, first.descriptors+4, "descriptors")
	})
}
