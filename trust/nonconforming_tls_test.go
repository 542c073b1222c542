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

// inRead is an odd conn that tells by a channel that it is in Read for the first time.
func inRead() (c *oddConn, peer net.Conn, inside chan struct{}) {
	c, peer = odd()
	inside = make(chan struct{})
	var once sync.Once
	c.read = func(p []byte) (int, error) {
		once.Do(func() { close(inside) })
		return c.Conn.Read(p)
	}
	return c, peer, inside
}

// A conn that ignores its deadlines does not stop the loop when it turns to TLS, and serves TLS.
func TestNonConforming_StartTLSWithoutDeadlines(t *testing.T) {
	conn, peer, inside := inRead()
	conn.deadline = func(time.Time) error { return nil }
	l := evnet.NewLoop()
	s := wrap(l, conn)
	s.On.Data(func(p []byte) { _, _ = s.Write(p) })
	goOn := make(chan struct{})
	aside(l, func() {
		<-inside
		l.Do(func() {
			require.NoError(t, s.StartTLSServer(selfSigned()))
			l.AfterFunc(time.Millisecond, func() { close(goOn) }) // the loop goes on, and only then the peer
		})
		<-goOn
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

// Where that cannot be, it is an error: at once, or when the time for the handshake is up.
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

// whimsical is a conn whose address panics once it was asked for it.
type whimsical struct {
	*oddConn
	asked int
}

func (c *whimsical) LocalAddr() net.Addr {
	if c.asked++; c.asked > 1 {
		panic(errCause)
	}
	return c.oddConn.LocalAddr()
}

// An address that panics harms nobody when a conn turns to TLS: it is known.
func TestNonConforming_AddressesUnderStartTLS(t *testing.T) {
	conn, peer := odd()
	l := evnet.NewLoop()
	s := wrap(l, &whimsical{oddConn: conn})
	l.Post(func() { assert.NoError(t, s.StartTLS(&tls.Config{InsecureSkipVerify: true})) })
	s.On.SecureConnect(func() { s.End() })
	aside(l, func() { _, _ = io.Copy(io.Discard, tls.Server(peer, selfSigned())); _ = peer.Close() })
	run(t, l)
	_, secure := s.TLS()
	assert.True(t, secure)
}

// A SetReadDeadline that panics, when the reader is called back or the conn is let go, is Detach's error, or the
// socket's own, and leaves no lock held.
func TestNonConforming_DeadlinesThatPanic(t *testing.T) {
	giveAway := map[string]func(s *evnet.Socket) error{
		"Detach": func(s *evnet.Socket) error {
			_, _, err := s.Detach()
			return err
		},
		"StartTLS": func(s *evnet.Socket) error { return s.StartTLS(&tls.Config{InsecureSkipVerify: true}) },
	}
	for when, panics := range map[string]func(time.Time) bool{
		"set": func(d time.Time) bool { return !d.IsZero() }, "cleared": time.Time.IsZero,
	} {
		for how, give := range giveAway {
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
							l.Post(func() { s.Destroy(err) }) // its lock is free
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
