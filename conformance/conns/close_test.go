package conns_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// lingering is a conn whose Close does not interrupt a blocked Read or Write, as a multiplexed stream may
// behave.
type lingering struct{ net.Conn }

func (lingering) Close() error { return nil }

// crashing is a lingering conn that also panics.
type crashing struct{ net.Conn }

func (crashing) Close() error { panic(evtest.Boom("close")) }

func TestAnyConnLingeringClose(t *testing.T) {
	for name, leave := range map[string]func(s *evnet.Socket){
		"destroyed": func(s *evnet.Socket) { s.Destroy(nil) },
		"ended":     func(s *evnet.Socket) { s.End(); s.Loop().AfterFunc(time.Millisecond, func() { s.Destroy(nil) }) },
	} {
		for i := range 4 {
			writing, crash := i%2 == 1, i > 1
			t.Run(fmt.Sprintf("%s, writing %t, panic %t", name, writing, crash), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				l := evnet.NewLoop()
				l.OnPanic(func(*evnet.PanicError) {})
				here, there := net.Pipe()
				var conn net.Conn = lingering{here}
				if crash {
					conn = crashing{here}
				}
				s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
				s.Resume()
				if writing {
					_, _ = s.Write(evtest.PatternBytes(payload))
				}
				l.AfterFunc(time.Millisecond, func() { leave(s) })
				kit.Run(t, l)
				_, _ = here.Close(), there.Close()
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// The callback of a handshake that blocks on such a conn is called too.
func TestAnyConnLingeringHandshake(t *testing.T) {
	config := &tls.Config{InsecureSkipVerify: true}
	for name, begin := range map[string]func(conn net.Conn, options *evnet.SocketOptions) *evnet.Socket{
		"by the options": func(conn net.Conn, options *evnet.SocketOptions) *evnet.Socket {
			options.TLSConfig = config
			return evnet.Wrap(conn, options)
		},
		"of the conn itself": func(conn net.Conn, options *evnet.SocketOptions) *evnet.Socket {
			return evnet.Wrap(tls.Client(conn, config), options)
		},
		"by StartTLS": func(conn net.Conn, options *evnet.SocketOptions) *evnet.Socket {
			s := evnet.Wrap(conn, options)
			assert.NoError(t, s.StartTLS(config))
			return s
		},
	} {
		for i := range 4 {
			writing, crash := i%2 == 1, i > 1
			if crash && name == "of the conn itself" {
				continue // package tls calls Close on its own goroutine
			}
			t.Run(fmt.Sprintf("%s, writing %t, panic %t", name, writing, crash), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				l := evnet.NewLoop()
				l.OnPanic(func(*evnet.PanicError) {})
				here, there := net.Pipe()
				if !writing {
					go func() { _, _ = io.Copy(io.Discard, there) }()
				}
				var conn net.Conn = lingering{here}
				if crash {
					conn = crashing{here}
				}
				s := begin(conn, &evnet.SocketOptions{Loop: l, HandshakeTimeout: 20 * time.Millisecond})
				kit.Run(t, l)
				assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
				_, _ = here.Close(), there.Close()
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// If the peer has ended and closed, a failure to send this side's end is not reported, for any error of a closed conn.
func TestAnyConn_EndAfterThePeerClosed(t *testing.T) {
	for name, left := range map[string]error{
		"pipe": io.ErrClosedPipe, "closed": net.ErrClosed, "end": io.EOF, "system": syscall.EPIPE, "another": evtest.Boom("lost"),
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := net.Pipe()
			s := evnet.Wrap(&leftConn{here, left}, &evnet.SocketOptions{Loop: l})
			events := kit.NoteLife(s)
			kit.Consume(s)
			require.NoError(t, there.Close())
			kit.Run(t, l)
			if left == error(evtest.Boom("lost")) {
				assert.ErrorIs(t, s.Err(), left)
				return
			}
			assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
		})
	}
}

// leftConn is a conn that fails to end its own side.
type leftConn struct {
	net.Conn
	left error
}

func (c *leftConn) CloseWrite() error { return fmt.Errorf("wrapped: %w", c.left) }
