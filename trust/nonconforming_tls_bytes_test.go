package trust

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// Non-conforming conns may behave under TLS as they may without it. Package tls alone would treat the first such
// answer as final.

// wrapTLS makes a socket that is a TLS client over conn.
func wrapTLS(l *evnet.Loop, conn net.Conn) *evnet.Socket {
	return evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, Logger: quiet, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
}

func TestNonConforming_ReadsUnderTLS(t *testing.T) {
	broken := errors.New("broken")
	type reading func(p []byte) (int, error)
	// Each answers the i-th Read of a conn by means of the conn's own Read. last reports whether the last bytes are
	// being read.
	for name, c := range map[string]struct {
		read func(i int, p []byte, read reading, last func() bool) (int, error)
		want string
		err  error
	}{
		"a byte at a time": {func(_ int, p []byte, read reading, _ func() bool) (int, error) { return read(p[:1]) }, "onetwo", nil},
		"nothing, many times": {func(i int, p []byte, read reading, _ func() bool) (int, error) {
			if i%50 != 0 {
				return 0, nil
			}
			return read(p)
		}, "onetwo", nil},
		"a temporary error": {func(i int, p []byte, read reading, _ func() bool) (int, error) {
			if i%10 != 0 {
				return 0, temporaryError{}
			}
			return read(p)
		}, "onetwo", nil},
		"a temporary error, with bytes": {func(_ int, p []byte, read reading, _ func() bool) (int, error) {
			n, err := read(p)
			return n, errors.Join(err, temporaryError{})
		}, "onetwo", nil},
		"an error with the last bytes": {func(_ int, p []byte, read reading, last func() bool) (int, error) {
			n, err := read(p)
			if last() && err == nil {
				err = broken
			}
			return n, err
		}, "onetwo", broken},
		"the end with the last bytes": {func(_ int, p []byte, read reading, last func() bool) (int, error) {
			n, err := read(p)
			if last() && err == nil {
				err = io.EOF
			}
			return n, err
		}, "onetwo", io.ErrUnexpectedEOF},
		"a temporary error that persists": {func(i int, _ []byte, _ reading, _ func() bool) (int, error) {
			if i > 10 {
				return 0, broken // the socket retries ten times
			}
			return 0, temporaryError{}
		}, "", temporaryError{}},
		"a timeout of the conn's own": {func(int, []byte, reading, func() bool) (int, error) { return 0, temporaryError{timeout: true} }, "", temporaryError{timeout: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := newCustomConn()
				var last atomic.Bool
				i := -1
				conn.read = func(p []byte) (int, error) {
					i++
					return c.read(i, p, func(p []byte) (int, error) { return conn.Conn.Read(p) }, last.Load)
				}
				l := evnet.NewLoop()
				s := wrapTLS(l, conn)
				got, half := "", make(chan struct{})
				s.On.Data(func(p []byte) {
					if got += string(p); got == "one" {
						l.AfterFunc(time.Millisecond, func() { close(half) }) // while it is in Read
					}
				})
				aside(l, func() {
					c := tls.Server(peer, selfSigned())
					defer c.Close()
					if _, err := io.WriteString(c, "one"); err != nil {
						return
					}
					<-half
					last.Store(true)
					_, _ = io.WriteString(c, "two")
				})
				l.Run()
				_ = peer.Close()
				assert.Equal(t, c.want, got)
				assert.ErrorIs(t, s.Err(), c.err)
				assert.EqualValues(t, 1, conn.closes.Load())
			})
		})
	}
}

// A conn whose Read returns nothing for an hour is read at most a hundred times a second. Then the handshake timeout
// closes it.
func TestNonConforming_ReadOfNothingUnderTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := newCustomConn()
		defer peer.Close()
		reads := 0
		conn.read = func([]byte) (int, error) {
			if reads++; reads > 1e6 {
				return 0, io.ErrNoProgress
			}
			return 0, nil
		}
		conn.write = func(p []byte) (int, error) { return len(p), nil }
		lasting := evtest.Pick(10*time.Minute, time.Hour)
		l := evnet.NewLoop()
		s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, HandshakeTimeout: lasting, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		began := time.Now()
		l.Run()
		assert.LessOrEqual(t, time.Since(began), lasting+time.Second)
		assert.Less(t, reads, int(lasting/time.Second)*100+100)
	})
}

func TestNonConforming_WritesUnderTLS(t *testing.T) {
	for name, c := range map[string]struct {
		write func(i, n int) (int, error) // the i-th answer, for n bytes
		err   error
	}{
		"a part":                          {func(i, n int) (int, error) { return min(n, 30), nil }, nil},
		"nothing for a while":             {func(i, n int) (int, error) { return n * (i % 5 / 4), nil }, nil},
		"nothing ever":                    {func(i, n int) (int, error) { return 0, nil }, io.ErrShortWrite},
		"a temporary error":               {func(i, n int) (int, error) { return n * (i % 2), temporaryError{} }, nil},
		"a temporary error that persists": {func(i, n int) (int, error) { return 0, temporaryError{} }, temporaryError{}},
	} {
		for _, when := range []string{"in the handshake", "after it"} {
			t.Run(name+", "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conn, peer := newCustomConn()
					var begun atomic.Bool
					begun.Store(when == "in the handshake")
					i := -1
					conn.write = func(p []byte) (int, error) {
						if !begun.Load() {
							return conn.Conn.Write(p)
						}
						i++
						n, failed := c.write(i, len(p))
						if n > 0 {
							_, err := conn.Conn.Write(p[:n])
							failed = errors.Join(failed, err)
						}
						return n, failed
					}
					l := evnet.NewLoop()
					s := wrapTLS(l, conn)
					consume(s)
					text := string(make([]byte, 5000))
					var done []error
					s.On.SecureConnect(func() {
						begun.Store(true)
						s.WriteThen([]byte(text), func(err error) { done = append(done, err) })
						s.End()
					})
					aside(l, func() {
						c := tls.Server(peer, selfSigned())
						got, _ := io.ReadAll(c)
						_ = c.Close()
						if s.Err() == nil {
							assert.Equal(t, text, string(got))
						}
					})
					l.Run()
					assert.ErrorIs(t, s.Err(), c.err)
					if c.err == nil || when == "after it" {
						assert.Len(t, done, 1)
						assert.ErrorIs(t, errors.Join(done...), c.err)
					}
					assert.EqualValues(t, 1, conn.closes.Load())
				})
			})
		}
	}
}

func TestNonConforming_CountsUnderTLS(t *testing.T) {
	impossible := func(n int) func([]byte) (int, error) { return func([]byte) (int, error) { return n, nil } }
	for _, n := range []int{-1, 1 << 20} {
		for _, set := range []func(*customConn){
			func(c *customConn) {
				c.write = func(p []byte) (int, error) { return len(p), nil }
				c.read = impossible(n)
			},
			func(c *customConn) { c.write = impossible(n) },
		} {
			conn, peer := newCustomConn()
			set(conn)
			l := evnet.NewLoop()
			s := wrapTLS(l, conn)
			run(t, l)
			assert.ErrorContains(t, s.Err(), "impossible count")
			_ = peer.Close()
		}
	}
}

// permanentTimeout is a timeout that does not report itself as temporary.
type permanentTimeout struct{ temporaryError }

func (permanentTimeout) Temporary() bool { return false }

// A socket that is paused and resumed loses nothing, in whatever form its conn reports an expired deadline.
func TestNonConforming_TimeoutsUnderTLS(t *testing.T) {
	for name, as := range map[string]func(error) error{
		"wrapped": func(err error) error { return fmt.Errorf("wrapped: %w", err) },
		"another": func(error) error { return permanentTimeout{temporaryError{timeout: true}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := newCustomConn()
				conn.read = func(p []byte) (int, error) {
					n, err := conn.Conn.Read(p)
					if errors.Is(err, os.ErrDeadlineExceeded) {
						err = as(err)
					}
					return n, err
				}
				l := evnet.NewLoop()
				s := wrapTLS(l, conn)
				proceed := make(chan struct{})
				got := ""
				s.On.Data(func(p []byte) {
					if got += string(p); got == "one" {
						l.AfterFunc(time.Millisecond, func() { // while it is in Read
							s.Pause()
							l.AfterFunc(time.Millisecond, func() { s.Resume(); close(proceed) })
						})
					}
				})
				s.On.Error(func(error) { _ = peer.Close() })
				aside(l, func() {
					c := tls.Server(peer, selfSigned())
					defer c.Close()
					_, _ = io.WriteString(c, "one")
					<-proceed
					_, _ = io.WriteString(c, "two")
				})
				l.Run()
				assert.NoError(t, s.Err())
				assert.Equal(t, "onetwo", got)
			})
		})
	}
}

// Only the socket closes its conn, and only once, even during the handshake. Reset sets SO_LINGER before the close.
func TestNonConforming_CloseInTheHandshake(t *testing.T) {
	for name, end := range map[string]func(*evnet.Socket){
		"Destroy": func(s *evnet.Socket) { s.Destroy(nil) }, "Reset": (*evnet.Socket).Reset,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := newCustomConn()
				lingers, before := 0, 0
				conn.close = func() error {
					before = lingers
					_ = conn.Conn.Close()
					panic(errCause)
				}
				l := evnet.NewLoop()
				s := wrapTLS(l, hooked{conn, func() { lingers++ }})
				l.AfterFunc(time.Millisecond, func() { end(s) }) // while it is in Write
				l.Run()
				synctest.Wait()
				assert.EqualValues(t, 1, conn.closes.Load())
				assert.Equal(t, name == "Reset", before == 1)
				_ = peer.Close()
			})
		})
	}
}
