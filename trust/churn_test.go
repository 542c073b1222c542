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

// churn opens and closes connections, several at a time, each in a randomly chosen way.
type churn struct {
	t          *testing.T
	l          *evnet.Loop
	rng        *rand.Rand
	address    string
	tlsAddress string          // address of the server with TLS
	refusing   string          // an address that refuses connections
	ctx        context.Context // outlives all connections
	left       int             // connections still to start
	tlsServer  *evnet.Server   // the server with TLS
	open       int             // connections that are open now
	over       func()
	closed     int
	unexpected []error
}

const churnConcurrency = 64

// run opens and closes n connections, then calls over.
func (c *churn) run(n int, over func()) {
	c.left, c.over = n, over
	for range min(n, churnConcurrency) {
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
		address, config = c.tlsAddress, &tls.Config{InsecureSkipVerify: true}
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
			address = c.refusing
		}
	}
	switch c.rng.IntN(8) {
	case 0, 1, 2: // the usual end
		s.On.Connect(func() { _, _ = s.Write(payload); s.End() })
	case 3:
		s.On.Connect(func() { _, _ = s.Write(payload); _ = s.Close() })
	case 4:
		s.On.Connect(func() { _, _ = s.Write(payload); s.Destroy(nil) })
	case 5:
		s.On.Ready(func() { _, _ = s.Write(payload); s.Reset() })
	case 6: // it is destroyed with an error
		s.On.Data(func([]byte) {}).Off()
		s.On.Connect(func() { s.Cork(); _, _ = s.Write(payload); s.Destroy(errCause) })
	case 7: // while it is connecting
		c.l.AfterFunc(time.Duration(c.rng.IntN(300))*time.Microsecond, func() { s.Destroy(nil) })
	}
	if c.rng.IntN(2) == 0 {
		s.ConnectContext(c.ctx, "tcp", address)
	} else {
		s.Connect("tcp", address)
	}
}

// accepted is the server's side of a connection.
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
		s.On.End(func() { _, _ = s.Write(block[:1000]); s.End() }) // half-open meanwhile
		s.Resume()
	case 4:
		s.End()
		s.On.Data(func([]byte) {})
	case 5: // paused at first
		s.On.End(s.End)
		c.l.AfterFunc(time.Duration(c.rng.IntN(300))*time.Microsecond, s.Resume)
	default:
		s.Pipe(s)
	}
	s.On.Error(func(err error) {
		// A TLS client that is destroyed sends no close_notify, so the server sees an unexpected EOF.
		cut := s.Server() == c.tlsServer && errors.Is(err, io.ErrUnexpectedEOF)
		if code := evnet.Code(err); code != "ECONNRESET" && code != "EPIPE" && !cut {
			c.unexpected = append(c.unexpected, err)
		}
	})
}

// chunksOf returns a split function for tokens of n bytes; the last token may be shorter.
func chunksOf(n int) func([]byte, bool) (int, []byte, error) {
	return func(data []byte, atEOF bool) (int, []byte, error) {
		if len(data) == 0 || len(data) < n && !atEOF {
			return 0, nil, nil
		}
		n := min(n, len(data))
		return n, data[:n], nil
	}
}

// weight is the resources that a process uses.
type weight struct {
	heap, goroutines, descriptors int
}

func weigh() weight {
	var m runtime.MemStats
	for range 3 { // the second collection empties the pools
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return weight{int(m.HeapAlloc), runtime.NumGoroutine(), descriptors()}
}

// However many connections were opened and closed, and however they ended, they leave nothing behind. After five
// times as many connections, the process uses the same resources as after the first round.
func TestChurn(t *testing.T) {
	n := evtest.Pick(500, 40_000)
	onEach(t, func(t *testing.T) {
		seed := seedOf(t)
		c := &churn{t: t, l: evnet.NewLoop(), rng: rand.New(rand.NewPCG(seed, 0)), refusing: refusedAddress(t)}
		var unused context.CancelFunc
		c.ctx, unused = context.WithCancel(context.Background())
		defer unused()
		options := evnet.ServerOptions{
			AllowHalfOpen: true, IdleTimeout: time.Hour, CloseTimeout: time.Hour, FirstByteTimeout: time.Hour, HandshakeTimeout: time.Hour,
		}
		var server *evnet.Server
		server, c.address = serve(t, c.l, options, c.accepted)
		options.TLSConfig = selfSigned()
		c.tlsServer, c.tlsAddress = serve(t, c.l, options, c.accepted)
		var first, last weight
		began := time.Now()
		// settled waits until the server has closed the connections of the last clients.
		settled := func(then func(weight)) func() {
			var wait func()
			wait = func() {
				if server.Connections()+c.tlsServer.Connections() > 0 {
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
				_, _ = server.Close(nil), c.tlsServer.Close(nil)
			}))
		}))
		hung := time.AfterFunc(10*patience, func() { panic("the connections do not end") })
		c.l.Run()
		hung.Stop()
		require.Equal(t, 5*n, c.closed)
		assert.Empty(t, errors.Join(c.unexpected...))
		t.Logf("%d connections in %.1f s: after %d %+v, at the end %+v", c.closed, time.Since(began).Seconds(), n, first, last)
		assert.LessOrEqual(t, last.heap, first.heap+128<<10, "bytes in use")
		assert.LessOrEqual(t, last.goroutines, first.goroutines+4, "goroutines")
		assert.LessOrEqual(t, last.descriptors, first.descriptors+4, "descriptors")
	})
}

// A Server that listens and closes again and again leaves nothing behind either.
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
					_ = c.(*net.TCPConn).SetLinger(0) // leaves no port in TIME_WAIT
					_ = c.Close()
				}
				_ = server.Close(func() { l.AfterFunc(0, again) }) // after the callbacks of the accepted connection
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
