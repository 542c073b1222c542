package evnet_test

import (
	"bytes"
	"io"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Detach returns data that SetEncoding has decoded as it was received, whichever consumer has taken the data before it.
func TestDetach_RestoresDecodedBytes(t *testing.T) {
	const head = "head\xff\xe9, "
	sent := head + "\x16\x03\x01\xc3\xe2\x82\x00\xff, " + string(evtest.RandomBytes(50_000)) + "\xe2\x82"
	text := "head\uFFFD\uFFFD, " // of head
	takes := map[string]func(t *testing.T, l *evnet.Loop, s *evnet.Socket, detach func()){
		"Scan": func(t *testing.T, _ *evnet.Loop, s *evnet.Socket, detach func()) {
			assert.NoError(t, s.Scan(func(p []byte, _ bool) (int, []byte, error) {
				return len(text), p[:len(text)], nil
			}, len(sent)*3, func(token []byte) {
				assert.Equal(t, text, string(token))
				detach()
			}))
		},
		"Scan, later": func(t *testing.T, l *evnet.Loop, s *evnet.Socket, detach func()) {
			assert.NoError(t, s.Scan(func(p []byte, _ bool) (int, []byte, error) {
				return len(text), p[:len(text)], nil
			}, len(sent)*3, func(token []byte) {
				assert.Equal(t, text, string(token))
				s.Pause()
				l.Post(detach)
			}))
		},
		"BlockingConn": func(t *testing.T, l *evnet.Loop, s *evnet.Socket, detach func()) {
			conn := kit.BlockingConn(t, s)
			kit.Aside(l, func() {
				p := make([]byte, len(text))
				_, err := io.ReadFull(conn, p)
				assert.NoError(t, err)
				assert.Equal(t, text, string(p))
				detach()
			})
		},
	}
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, take := range takes {
			t.Run(name, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := evtest.TCPPair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				require.NoError(t, s.SetEncoding(evnet.UTF8))
				_, err := io.WriteString(there, sent)
				require.NoError(t, err)
				require.NoError(t, there.CloseWrite())
				l.Post(func() {
					take(t, l, s, func() {
						conn, rest, err := s.Detach()
						if !assert.NoError(t, err) {
							s.Destroy(nil)
							return
						}
						more, err := io.ReadAll(conn)
						assert.NoError(t, err)
						assert.True(t, bytes.Equal([]byte(sent[len(head):]), append(rest, more...)))
						_ = conn.Close()
					})
				})
				kit.Run(t, l)
				_ = there.Close()
			})
		}
	})
}
