package trust

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inRead returns a non-conforming conn that closes a channel when its Read is called for the first time.
func inRead() (c *customConn, peer net.Conn, inside chan struct{}) {
	c, peer = newCustomConn()
	inside = make(chan struct{})
	var once sync.Once
	c.read = func(p []byte) (int, error) {
		once.Do(func() { close(inside) })
		return c.Conn.Read(p)
	}
	return c, peer, inside
}

// A conn that ignores its deadlines does not block the loop in StartTLSServer, and the socket then uses TLS.
func TestNonConforming_StartTLSWithoutDeadlines(t *testing.T) {
	conn, peer, inside := inRead()
	conn.deadline = func(time.Time) error { return nil }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	s.On.Data(func(p []byte) { _, _ = s.Write(p) })
	proceed := make(chan struct{})
	aside(l, func() {
		<-inside
		l.Do(func() {
			require.NoError(t, s.StartTLSServer(selfSigned()))
			l.AfterFunc(time.Millisecond, func() { close(proceed) }) // the loop continues, and only then the peer
		})
		<-proceed
		c := tls.Client(peer, &tls.Config{InsecureSkipVerify: true})
		defer c.Close()
		_, err := c.Write([]byte("x"))
		assert.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		assert.NoError(t, err)
	})
	run(t, l)
	assert.NoError(t, s.Err())
}

// If StartTLS cannot interrupt the Read, it is an error: immediately, or when the handshake timeout expires.
func TestNonConforming_StartTLSInTheMidstOfARead(t *testing.T) {
	for name, c := range map[string]struct {
		deadline func(time.Time) error
		err      error
		after    time.Duration
	}{
		"refused": {func(time.Time) error { return errors.ErrUnsupported }, errors.ErrUnsupported, 0},
		"ignored": {func(time.Time) error { return nil }, os.ErrDeadlineExceeded, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer, inside := inRead()
				conn.deadline = c.deadline
				l := evnet.NewLoop()
				s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, Logger: quiet, HandshakeTimeout: time.Minute})
				consume(s)
				began := time.Now()
				aside(l, func() {
					<-inside
					l.Do(func() {
						require.NoError(t, s.StartTLS(&tls.Config{InsecureSkipVerify: true}))
						l.AfterFunc(time.Millisecond, func() { assert.Equal(t, time.Millisecond, time.Since(began)) })
					})
				})
				s.On.Close(func(bool) { assert.Equal(t, c.after, time.Since(began)) })
				l.Run()
				assert.ErrorIs(t, s.Err(), c.err)
				assert.ErrorContains(t, s.Err(), "handshake")
				_ = peer.Close()
			})
		})
	}
}

// secondAddrPanics is a conn whose LocalAddr panics from the second call on.
type secondAddrPanics struct {
	*customConn
	calls int
}

func (c *secondAddrPanics) LocalAddr() net.Addr {
	if c.calls++; c.calls > 1 {
		panic(errCause)
	}
	return c.customConn.LocalAddr()
}

// An address that panics later does not affect StartTLS, because the socket already knows the address.
func TestNonConforming_AddressesUnderStartTLS(t *testing.T) {
	conn, peer := newCustomConn()
	l := evnet.NewLoop()
	s := wrap(l, &secondAddrPanics{customConn: conn})
	l.Post(func() { assert.NoError(t, s.StartTLS(&tls.Config{InsecureSkipVerify: true})) })
	s.On.SecureConnect(func() { s.End() })
	aside(l, func() { _, _ = io.Copy(io.Discard, tls.Server(peer, selfSigned())); _ = peer.Close() })
	run(t, l)
	_, secure := s.TLS()
	assert.True(t, secure)
}

// SetReadDeadline may panic when the reader is interrupted or the conn is handed over. Detach returns the panic as an
// error, or it is the socket's own error. No lock stays held.
func TestNonConforming_DeadlinesThatPanic(t *testing.T) {
	handOver := map[string]func(s *evnet.Socket) error{
		"Detach": func(s *evnet.Socket) error {
			_, _, err := s.Detach()
			return err
		},
		"StartTLS": func(s *evnet.Socket) error { return s.StartTLS(&tls.Config{InsecureSkipVerify: true}) },
	}
	for when, panics := range map[string]func(time.Time) bool{
		"set": func(d time.Time) bool { return !d.IsZero() }, "cleared": time.Time.IsZero,
	} {
		for how, give := range handOver {
			t.Run(how+", "+when, func(t *testing.T) {
				conn, peer, inside := inRead()
				conn.deadline = func(d time.Time) error {
					if panics(d) {
						panic(errCause)
					}
					return conn.Conn.SetReadDeadline(d)
				}
				l := evnet.NewLoop()
				s := wrap(l, conn)
				consume(s)
				aside(l, func() {
					<-inside
					l.Do(func() {
						err := give(s)
						if how == "Detach" {
							l.Post(func() { s.Destroy(err) }) // the socket's lock is free
						}
					})
				})
				run(t, l)
				var panicked *evnet.PanicError
				require.ErrorAs(t, s.Err(), &panicked)
				assert.Equal(t, errCause, panicked.Value)
				assert.Same(t, s, panicked.Socket)
				assert.EqualValues(t, 1, conn.closes.Load())
				_ = peer.Close()
			})
		}
	}
}
