package limits_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
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

// WriteTimeout over kernel conns, whose progress the kernel reports.

const (
	writeLimit = 400 * time.Millisecond
	enough     = 10 << 20 // more than the kernel accepts
)

// layer is a user-provided conn over a kernel conn.
type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }

// writeCase is a socket over a kernel conn, and its peer.
type writeCase struct {
	here  net.Conn // passed to Wrap
	there net.Conn // the peer's kernel conn
	over  net.Conn // the peer's conn
	opts  evnet.SocketOptions
	begin func(s *evnet.Socket)
}

// plain is a kernel connection. The peer's kernel acknowledges in steps of about 64 KiB.
func plain(here, there net.Conn) writeCase {
	if c, ok := there.(*net.TCPConn); ok {
		_ = c.SetReadBuffer(64 << 10)
	}
	return writeCase{here: here, there: there, over: there}
}

var writeCases = map[string]func(t testing.TB) writeCase{
	"tcp":  func(t testing.TB) writeCase { return plain(evtest.TCPPair(t)) },
	"unix": func(t testing.TB) writeCase { return plain(evtest.UnixPair(t)) },
	"layer over tcp": func(t testing.TB) writeCase {
		c := plain(evtest.TCPPair(t))
		c.here = layer{c.here}
		return c
	},
	"tls over tcp": func(t testing.TB) writeCase {
		c := plain(evtest.TCPPair(t))
		c.opts.TLSConfig = evtest.NamedClientConfig()
		c.over = tls.Server(c.there, evtest.ServerConfig())
		return c
	},
	"tls over unix": func(t testing.TB) writeCase {
		c := plain(evtest.UnixPair(t))
		c.opts.TLSConfig = evtest.NamedClientConfig()
		c.over = tls.Server(c.there, evtest.ServerConfig())
		return c
	},
	"a tls.Conn of the program": func(t testing.TB) writeCase {
		c := plain(evtest.TCPPair(t))
		c.here, c.over = tls.Client(c.here, evtest.NamedClientConfig()), tls.Server(c.there, evtest.ServerConfig())
		return c
	},
	"tls over a layer over tcp": func(t testing.TB) writeCase {
		c := plain(evtest.TCPPair(t))
		c.here, c.opts.TLSConfig = layer{c.here}, evtest.NamedClientConfig()
		c.over = tls.Server(c.there, evtest.ServerConfig())
		return c
	},
	"StartTLS": func(t testing.TB) writeCase {
		c := plain(evtest.TCPPair(t))
		c.over = tls.Server(c.there, evtest.ServerConfig())
		c.begin = func(s *evnet.Socket) { _ = s.StartTLS(evtest.NamedClientConfig()) }
		return c
	},
}

// waiting runs a test that waits most of the time. The long form runs on each transport, and the short form in parallel
// with other tests.
func waiting(t *testing.T, fn func(t *testing.T)) {
	if evtest.Long() {
		evtest.OnBothTransports(t, fn)
		return
	}
	t.Parallel() // TestMain checks for leaked goroutines
	fn(t)
}

// together runs a test for all cases at the same time, like waiting.
func together[C any](t *testing.T, cases map[string]C, fn func(t testing.TB, of C)) {
	waiting(t, func(t *testing.T) {
		var all sync.WaitGroup
		for name, of := range cases {
			all.Go(func() { fn(called{t, name}, of) })
		}
		all.Wait()
	})
}

// called is a test whose failures have the name of a case.
type called struct {
	testing.TB
	name string
}

func (c called) Errorf(format string, args ...any) {
	c.TB.Helper()
	c.TB.Errorf("%s: "+format, append([]any{c.name}, args...)...)
}

func (c called) FailNow() { c.Fail(); runtime.Goexit() }

// play writes more than the kernel accepts, runs the peer, and returns the socket when the loop has ended.
func (c writeCase) play(t testing.TB, peer func(c writeCase, s *evnet.Socket)) *evnet.Socket {
	l := evnet.NewLoop()
	c.opts.Loop, c.opts.WriteTimeout, c.opts.MaxWriteBuffer = l, writeLimit, -1
	c.opts.IdleTimeout = time.Minute
	s := evnet.Wrap(c.here, &c.opts)
	s.On.Error(func(error) {})
	kit.Consume(s)
	var once sync.Once
	write := func() { once.Do(func() { _, _ = s.Write(make([]byte, enough)) }) }
	s.On.SecureConnect(write)
	if c.begin != nil {
		c.begin(s)
	} else if c.over == c.there {
		l.Post(write)
	}
	kit.Aside(l, func() {
		defer c.there.Close()
		if over, ok := c.over.(*tls.Conn); ok {
			if !assert.NoError(t, over.Handshake()) {
				s.Destroy(nil)
				return
			}
		}
		peer(c, s)
	})
	kit.Run(t, l)
	return s
}

// A peer that reads nothing is disconnected, even if it sends data now and then.
func TestWriteTimeout_EndsASocketWhoseWritesStall(t *testing.T) {
	together(t, writeCases, func(t testing.TB, of func(testing.TB) writeCase) {
		began := time.Now()
		s := of(t).play(t, func(c writeCase, s *evnet.Socket) {
			tick := time.NewTicker(writeLimit / 10)
			defer tick.Stop()
			for range tick.C {
				if _, err := c.over.Write([]byte("abc")); err != nil || time.Since(began) > evtest.Patience/2 {
					break
				}
			}
			s.Destroy(nil)
		})
		isWriteTimeout(t, s.Err())
		assert.GreaterOrEqual(t, time.Since(began), writeLimit)
	})
}

func isWriteTimeout(t testing.TB, err error) {
	t.Helper()
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "write timeout", op.Op)
	assert.True(t, op.Timeout())
	assert.NotNil(t, op.Addr)
}

// A peer that reads slowly and steadily stays connected, even if the conn accepts nothing for longer than the limit.
func TestWriteTimeout_SparesASlowReader(t *testing.T) {
	together(t, writeCases, func(t testing.TB, of func(testing.TB) writeCase) {
		s := of(t).play(t, func(c writeCase, s *evnet.Socket) {
			buf := make([]byte, 24<<10)
			tick := time.NewTicker(writeLimit / 10)
			defer tick.Stop()
			for began := time.Now(); time.Since(began) < 3*writeLimit; <-tick.C {
				if _, err := c.there.Read(buf); !assert.NoError(t, err) {
					break
				}
			}
			s.Destroy(nil)
		})
		assert.NoError(t, s.Err())
	})
}

// The connection is reset. Otherwise the kernel would keep the bytes that the peer has not read.
func TestWriteTimeout_ResetsTheConnection(t *testing.T) {
	waiting(t, func(t *testing.T) {
		c := plain(evtest.TCPPair(t))
		var err error
		s := c.play(t, func(c writeCase, s *evnet.Socket) {
			closed := make(chan struct{})
			s.On.Close(func(bool) { close(closed) })
			<-closed
			_, err = io.Copy(io.Discard, c.there)
		})
		isWriteTimeout(t, s.Err())
		assert.Equal(t, "ECONNRESET", evnet.Code(err))
	})
}

// Data that waits outside of the queue, such as a file, counts too. So does the end.
func TestWriteTimeout_EndsEveryKindOfWriter(t *testing.T) {
	together(t, map[string]func(t testing.TB, l *evnet.Loop, s *evnet.Socket){
		"a file": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			f := evtest.FileOf(t, make([]byte, enough))
			kit.Aside(l, func() {
				_, err := s.ReadFrom(f)
				isWriteTimeout(t, err)
			})
		},
		"a reader": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			kit.Aside(l, func() {
				_, err := s.ReadFrom(io.LimitReader(zeros{}, enough))
				isWriteTimeout(t, err)
			})
		},
		"a BlockingConn": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			c, err := s.BlockingConn()
			require.NoError(t, err)
			kit.Aside(l, func() {
				_, err := c.Write(make([]byte, enough)) // blocks until the bytes are sent
				isWriteTimeout(t, err)
			})
		},
		"WriteThen and Close": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			s.WriteThen(make([]byte, enough), func(err error) { isWriteTimeout(t, err) })
			_ = s.Close()
		},
		"Pipe": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			here, there := evtest.TCPPair(t)
			src := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			src.Pipe(s)
			s.On.Close(func(bool) { src.Destroy(nil) })
			kit.Aside(l, func() { _, _ = io.Copy(there, zeros{}); _ = there.Close() })
		},
		"Relay": func(t testing.TB, l *evnet.Loop, s *evnet.Socket) {
			here, there := evtest.TCPPair(t)
			src := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			src.On.Error(func(error) {})
			evnet.Relay(src, s, func(err error) { isWriteTimeout(t, err) })
			kit.Aside(l, func() { _, _ = io.Copy(there, zeros{}); _ = there.Close() })
		},
	}, func(t testing.TB, write func(t testing.TB, l *evnet.Loop, s *evnet.Socket)) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, WriteTimeout: writeLimit, MaxWriteBuffer: -1})
		s.On.Error(func(error) {})
		write(t, l, s)
		kit.Run(t, l)
		isWriteTimeout(t, s.Err())
		_ = there.Close()
	})
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Corked bytes wait for the program and do not count. Bytes before a cork wait for the peer.
func TestWriteTimeout_LooksAtWhatMayBeSent(t *testing.T) {
	waiting(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, WriteTimeout: writeLimit, MaxWriteBuffer: -1})
		s.On.Error(func(error) {})
		s.Cork()
		_, _ = s.Write(make([]byte, enough))
		var uncorked time.Time
		l.AfterFunc(2*writeLimit, func() {
			assert.NoError(t, s.Err())
			uncorked = time.Now()
			s.Uncork()
			s.Cork()
			_, _ = s.Write([]byte("corked"))
		})
		kit.Run(t, l)
		isWriteTimeout(t, s.Err())
		assert.GreaterOrEqual(t, time.Since(uncorked), writeLimit)
		_ = there.Close()
	})
}
