package tls_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hastyConn sends a request for TLS in one piece with the beginning of the handshake.
type hastyConn struct {
	net.Conn
	request string
	pieces  int
}

func (c *hastyConn) Write(p []byte) (int, error) {
	if c.request == "" {
		return c.Conn.Write(p)
	}
	all := append([]byte(c.request), p...)
	c.request = ""
	for rest := all; len(rest) > 0; {
		n := min(len(rest), max(len(all)/c.pieces, 1))
		if _, err := c.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// request has a length that each encoding decodes completely.
const request = "STARTTLS..\r\n"

var requestTexts = map[evnet.Encoding]string{
	evnet.UTF8:    request,
	evnet.UTF16LE: "\u5453\u5241\u5454\u534c\u2e2e\u0a0d",
	evnet.Latin1:  request,
	evnet.ASCII:   request,
	evnet.Base64:  "U1RBUlRUTFMuLg0K",
	evnet.Hex:     "5354415254544c532e2e0d0a",
}

// prefix is a split function for tokens of n bytes.
func prefix(n int) func([]byte, bool) (int, []byte, error) {
	return func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < n {
			return 0, nil, nil
		}
		return n, data[:n], nil
	}
}

// serveHasty runs a server whose sockets use an encoding, with a client that does not wait for the answer to its request. start
// is called with the request. The client receives what is written afterwards.
func serveHasty(t *testing.T, encoding evnet.Encoding, pieces int, start func(l *evnet.Loop, s *evnet.Socket)) {
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	require.NoError(t, s.SetEncoding(encoding))
	var tokens []string
	text := requestTexts[encoding]
	require.NoError(t, s.Scan(prefix(len(text)), 0, func(token []byte) {
		if tokens = append(tokens, string(token)); len(tokens) == 1 {
			start(l, s)
		} else {
			s.End()
		}
	}))
	kit.Aside(l, func() {
		defer there.Close()
		peer := tls.Client(&hastyConn{there, request, pieces}, evtest.NamedClientConfig())
		_, err := io.WriteString(peer, request)
		assert.NoError(t, err)
		got, err := io.ReadAll(peer)
		assert.NoError(t, err)
		assert.Equal(t, "hello", string(got))
		assert.NoError(t, peer.CloseWrite())
	})
	s.On.SecureConnect(func() { _, _ = s.WriteString("hello") })
	kit.Run(t, l)
	assert.NoError(t, s.Err())
	assert.Equal(t, []string{text, text}, tokens)
}

// Bytes behind the request for TLS belong to the handshake as they were received, although SetEncoding has decoded them.
func TestStartTLS_RestoresDecodedBytes(t *testing.T) {
	starts := map[string]func(t *testing.T, l *evnet.Loop, s *evnet.Socket){
		"in the callback": func(t *testing.T, _ *evnet.Loop, s *evnet.Socket) {
			assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
		},
		"later": func(t *testing.T, l *evnet.Loop, s *evnet.Socket) {
			s.Pause()
			l.Post(func() {
				assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
				s.Resume()
			})
		},
		"on another goroutine": func(t *testing.T, l *evnet.Loop, s *evnet.Socket) {
			s.Pause()
			kit.Aside(l, func() {
				assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
				s.Resume()
			})
		},
	}
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, start := range starts {
			for encoding := range requestTexts {
				for pieceName, pieces := range map[string]int{" in one piece": 1, " in pieces": 7} {
					t.Run(name+" "+string(encoding)+pieceName, func(t *testing.T) {
						serveHasty(t, encoding, pieces, func(l *evnet.Loop, s *evnet.Socket) { start(t, l, s) })
					})
				}
			}
		}
	})
}

// Data that was buffered when SetEncoding was called is restored too.
func TestStartTLS_RestoresBytesBufferedBeforeSetEncoding(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		require.NoError(t, s.Scan(prefix(len(request)), 0, func(token []byte) {
			assert.Equal(t, request, string(token))
			assert.NoError(t, s.SetEncoding(evnet.UTF8))
			assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
		}))
		s.On.SecureConnect(func() { s.End(); s.Resume() })
		kit.Aside(l, func() {
			defer there.Close()
			peer := tls.Client(&hastyConn{there, request, 1}, evtest.NamedClientConfig())
			_, err := io.ReadAll(peer)
			assert.NoError(t, err)
			assert.NoError(t, peer.CloseWrite())
		})
		kit.Run(t, l)
		assert.NoError(t, s.Err())
	})
}

// StartTLS refuses text that it cannot turn into the received bytes, and changes nothing.
func TestStartTLS_RefusesTextWithoutBytes(t *testing.T) {
	for name, change := range map[string]func(s *evnet.Socket){
		"Unshift":     func(s *evnet.Socket) { _ = s.Unshift([]byte("text")) },
		"SetEncoding": func(s *evnet.Socket) { _ = s.SetEncoding(evnet.Latin1) },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			require.NoError(t, s.SetEncoding(evnet.UTF8))
			var tokens kit.Notes
			require.NoError(t, s.Scan(prefix(4), 0, func(token []byte) {
				if tokens.Chunk("")(token); len(tokens) > 1 {
					s.Destroy(nil)
					return
				}
				change(s)
				err := s.StartTLSServer(evtest.ServerConfig())
				evtest.AssertOpError(t, err, err, "starttls")
				assert.ErrorContains(t, err, "the bytes of the buffered text are unknown")
			}))
			kit.Aside(l, func() {
				defer peer.Close()
				_, _ = io.WriteString(peer, "wordtext")
				_, _ = io.Copy(io.Discard, peer)
			})
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"word", "text"}, tokens)
		})
	}
}
