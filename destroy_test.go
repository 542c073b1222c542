package evnet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// destroyable are sockets of all media, with their peers. secure reports that SecureConnect is emitted.
var destroyable = map[string]func(t testing.TB, l *evnet.Loop) (s *evnet.Socket, peer net.Conn, secure bool){
	"tcp": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		return evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), there, false
	},
	"unix": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.UnixPair(t)
		return evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), there, false
	},
	"tls": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		opts := &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig()}
		return evnet.Wrap(here, opts), tls.Server(there, evtest.ServerConfig()), true
	},
	"starttls": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		require.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
		return s, tls.Server(there, evtest.ServerConfig()), true
	},
	"tls over a conn of the program": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		opts := &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig()}
		return evnet.Wrap(struct{ net.Conn }{here}, opts), tls.Server(there, evtest.ServerConfig()), true
	},
	"a tls.Conn of the program": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		return evnet.Wrap(tls.Client(here, evtest.NamedClientConfig()), &evnet.SocketOptions{Loop: l}), tls.Server(there, evtest.ServerConfig()), true
	},
	"a conn of the program": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := evtest.TCPPair(t)
		return evnet.Wrap(struct{ net.Conn }{here}, &evnet.SocketOptions{Loop: l}), there, false
	},
	"pipe": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn, bool) {
		here, there := net.Pipe()
		return evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), there, false
	},
}

// destroying runs fn in the first callback in which s may be written to, and returns what the peer gets.
func destroying(t *testing.T, l *evnet.Loop, s *evnet.Socket, peer net.Conn, secure bool, fn func()) (got []byte, err error) {
	kit.Aside(l, func() {
		defer peer.Close()
		if c, ok := peer.(*tls.Conn); ok {
			assert.NoError(t, c.HandshakeContext(context.Background()))
		}
		got, err = io.ReadAll(peer)
	})
	if secure {
		s.On.SecureConnect(fn)
	} else {
		l.Post(fn)
	}
	kit.Run(t, l)
	return got, err
}

// Destroy first sends the written bytes that the conn accepts without waiting, over every medium, as in Node.
func TestDestroy_SendsWhatWasWritten(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for medium, make := range destroyable {
			for name, write := range map[string]func(l *evnet.Loop, s *evnet.Socket, text string){
				"destroyed": func(_ *evnet.Loop, s *evnet.Socket, text string) {
					_, _ = s.WriteString(text)
					s.Destroy(nil)
				},
				"destroyed in the next callback": func(l *evnet.Loop, s *evnet.Socket, text string) {
					_, _ = s.WriteString(text)
					l.Post(func() { s.Destroy(nil) })
				},
				"written in two callbacks": func(l *evnet.Loop, s *evnet.Socket, text string) {
					_, _ = s.WriteString(text[:len(text)/2])
					l.Post(func() {
						_, _ = s.WriteString(text[len(text)/2:])
						s.Destroy(errors.New("a cause"))
					})
				},
				"destroyed aside": func(l *evnet.Loop, s *evnet.Socket, text string) {
					kit.Aside(l, func() {
						_, _ = s.WriteString(text)
						s.Destroy(nil)
					})
				},
			} {
				for size, text := range map[string]string{"short": "last words", "long": strings.Repeat("last words", 5000)} {
					t.Run(medium+"/"+name+"/"+size, func(t *testing.T) {
						l := evnet.NewLoop()
						s, peer, secure := make(t, l)
						s.On.Error(func(error) {})
						got, err := destroying(t, l, s, peer, secure, func() { write(l, s, text) })
						assert.True(t, err == nil || errors.Is(err, io.ErrUnexpectedEOF), err)
						assert.Equal(t, len(text), len(got))
						assert.Equal(t, text, string(got))
					})
				}
			}
		}
	})
}

// Reset discards the written bytes, and Destroy those that wait for Uncork.
func TestDestroy_DiscardsTheRest(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for medium, make := range destroyable {
			for name, end := range map[string]func(s *evnet.Socket){
				"reset":  func(s *evnet.Socket) { _, _ = s.WriteString("last words"); s.Reset() },
				"corked": func(s *evnet.Socket) { s.Cork(); _, _ = s.WriteString("last words"); s.Destroy(nil) },
			} {
				t.Run(medium+"/"+name, func(t *testing.T) {
					l := evnet.NewLoop()
					s, peer, secure := make(t, l)
					got, _ := destroying(t, l, s, peer, secure, func() { end(s) })
					assert.Empty(t, got)
				})
			}
		}
	})
}

// A peer that does not read does not delay Destroy: what the conn does not accept is discarded.
func TestDestroy_DoesNotWaitForThePeer(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for medium, make := range destroyable {
			t.Run(medium, func(t *testing.T) {
				l := evnet.NewLoop()
				s, peer, secure := make(t, l)
				begin := func() {
					_, err := s.Write(bytes.Repeat([]byte{0}, 8<<20))
					assert.NoError(t, err)
					l.Post(func() {
						s.Destroy(nil)
						assert.True(t, s.Destroyed())
					})
				}
				if secure {
					s.On.SecureConnect(begin)
					kit.Aside(l, func() { assert.NoError(t, peer.(*tls.Conn).HandshakeContext(context.Background())) })
				} else {
					l.Post(begin)
				}
				kit.Run(t, l) // returns although the peer reads only now
				got, _ := io.Copy(io.Discard, peer)
				assert.Less(t, got, int64(8<<20))
				_ = peer.Close()
			})
		}
	})
}
