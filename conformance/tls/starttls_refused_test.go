package tls_test

import (
	"crypto/tls"
	"io"
	"os"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// A refused StartTLS returns an error that names the reason and the socket, and changes nothing.
func TestStartTLSRefused(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		fresh := kit.NewClient(l)
		for name, refused := range map[string]struct {
			arrange func(s, other *evnet.Socket)
			is      error
		}{
			"destroyed": {func(s, _ *evnet.Socket) { s.Destroy(nil) }, evnet.ErrDestroyed},
			"ended":     {func(s, _ *evnet.Socket) { s.End() }, evnet.ErrWriteAfterEnd},
			"twice":     {func(s, _ *evnet.Socket) { _ = s.StartTLS(evtest.NamedClientConfig()) }, evnet.ErrAlreadyTLS},
			"piped":     {func(s, other *evnet.Socket) { s.Pipe(io.Discard) }, evnet.ErrConsumed},
			"relayed":   {func(s, other *evnet.Socket) { evnet.Relay(s, other, nil) }, evnet.ErrRelayed},
		} {
			t.Run(name, func(t *testing.T) {
				l := evnet.NewLoop()
				a, b := evtest.TCPPair(t)
				s, other := evnet.Wrap(a, &evnet.SocketOptions{Loop: l}), evnet.Wrap(b, &evnet.SocketOptions{Loop: l})
				l.Post(func() {
					refused.arrange(s, other)
					for _, err := range []error{s.StartTLS(evtest.NamedClientConfig()), s.StartTLSServer(evtest.ServerConfig())} {
						assert.ErrorIs(t, err, refused.is)
						assert.ErrorContains(t, err, a.RemoteAddr().String())
					}
					s.Destroy(nil)
					other.Destroy(nil)
				})
				kit.Run(t, l)
			})
		}
		assert.ErrorIs(t, fresh.StartTLS(evtest.NamedClientConfig()), evnet.ErrSocketClosed)
		assert.ErrorIs(t, fresh.StartTLS(nil), evnet.ErrNilArgument)
		assert.ErrorIs(t, fresh.StartTLSServer(nil), evnet.ErrNilArgument)
		assert.ErrorIs(t, fresh.StartTLSServer(&tls.Config{}), evnet.ErrNilArgument)

		a, b := evtest.TCPPair(t) // the peer has ended
		s := evnet.Wrap(a, &evnet.SocketOptions{Loop: l, AllowHalfOpen: true})
		_ = b.CloseWrite()
		s.Resume()
		s.On.End(func() { assert.ErrorIs(t, s.StartTLS(evtest.NamedClientConfig()), io.ErrUnexpectedEOF); s.End() })
		kit.Run(t, l)
		_ = b.Close()

		c := kit.MeetTLS(t, l, evnet.ServerOptions{}, nil, func(c *evnet.Socket) { // TLS from the start
			c.On.SecureConnect(func() { assert.ErrorIs(t, c.StartTLS(evtest.NamedClientConfig()), evnet.ErrAlreadyTLS); c.Destroy(nil) })
		})
		c.On.Ready(func() { assert.ErrorIs(t, c.StartTLS(evtest.NamedClientConfig()), evnet.ErrAlreadyTLS) })
		kit.Run(t, l)
	})
}

// StartTLS is refused while Chunks reads plain text.
func TestStartTLSRefusedDuringChunks(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		a, b := evtest.TCPPair(t)
		s := evnet.Wrap(a, &evnet.SocketOptions{Loop: l})
		_, _ = io.WriteString(b, "x")
		kit.Aside(l, func() {
			for range s.Chunks() {
				assert.ErrorIs(t, s.StartTLS(evtest.NamedClientConfig()), evnet.ErrConsumed)
				break
			}
			s.Destroy(nil)
		})
		kit.Run(t, l)
		_ = b.Close()
	})
}

// A socket may end during the upgrade to TLS, while the peer does not read the plain text written before.
func TestStartTLSEndedOnTheWay(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, play := range map[string]struct {
			opts evnet.SocketOptions
			end  func(s *evnet.Socket)
			is   error
		}{
			"Destroy":          {evnet.SocketOptions{}, func(s *evnet.Socket) { s.Destroy(nil) }, nil},
			"Reset":            {evnet.SocketOptions{}, func(s *evnet.Socket) { s.Reset() }, nil},
			"HandshakeTimeout": {evnet.SocketOptions{HandshakeTimeout: 50 * time.Millisecond}, func(*evnet.Socket) {}, os.ErrDeadlineExceeded},
			"CloseTimeout":     {evnet.SocketOptions{CloseTimeout: 50 * time.Millisecond}, func(s *evnet.Socket) { s.End() }, os.ErrDeadlineExceeded},
			"Detach": {evnet.SocketOptions{}, func(s *evnet.Socket) {
				_, _, err := s.Detach()
				s.Destroy(err)
			}, evnet.ErrSocketClosed},
		} {
			for _, size := range []int{0, 30_000_000} {
				l := evnet.NewLoop()
				a, b := evtest.TCPPair(t)
				play.opts.Loop = l
				s := evnet.Wrap(a, &play.opts)
				s.On.Error(func(error) {})
				var reported error
				l.Post(func() {
					_, _ = s.Write(make([]byte, size))
					assert.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
					s.WriteThen([]byte("x"), func(err error) { reported = err })
					l.AfterFunc(time.Millisecond, func() { play.end(s) })
				})
				kit.Run(t, l)
				assert.Error(t, reported)
				if play.is != nil {
					assert.ErrorIs(t, s.Err(), play.is, "%s %d", name, size)
				} else {
					assert.NoError(t, s.Err())
				}
				_ = b.Close()
			}
		}
	})
}

// StartTLS starts even if the peer has closed. Then the handshake fails.
func TestStartTLS_PeerClosed(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for _, server := range []bool{false, true} {
			l := evnet.NewLoop()
			a, b := evtest.TCPPair(t)
			s := evnet.Wrap(a, &evnet.SocketOptions{Loop: l})
			s.On.Error(func(error) {})
			s.On.Data(func(p []byte) {
				_ = b.Close()
				if server {
					assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
				} else {
					assert.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
				}
			})
			_, _ = io.WriteString(b, "x")
			kit.Run(t, l)
			assert.Equal(t, "ECONNRESET", evnet.Code(s.Err()), "%v", s.Err())
			assert.ErrorContains(t, s.Err(), "handshake")
		}
	})
}

// Plain text that an attacker injects behind STARTTLS is never delivered as the peer's data. It becomes part of
// the handshake, which fails.
func TestStartTLSInjection(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, consume := range turnConsumers {
			for side := range 2 {
				l := evnet.NewLoop()
				here, there := evtest.TCPPair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				s.On.Error(func(error) {})
				s.On.SecureConnect(func() { t.Error("secureConnect") })
				var received kit.Notes
				consume(s, func() {
					if side == 0 {
						assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
					} else {
						assert.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
					}
				}, received.Chunk(""))
				kit.Aside(l, func() {
					_, _ = io.WriteString(there, "STARTTLS\r\nRCPT TO:<eve@example>\r\nand so on\r\n")
					_, _ = io.Copy(io.Discard, there)
					_ = there.Close()
				})
				kit.Run(t, l)
				assert.Equal(t, kit.Notes{"STARTTLS"}, received, name)
				assert.Equal(t, "ERR_SSL_WRONG_VERSION_NUMBER", evnet.Code(s.Err()), "%s: %v", name, s.Err())
				assert.ErrorAs(t, s.Err(), new(tls.RecordHeaderError))
			}
		}
	})
}
