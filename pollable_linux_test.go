package evnet_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An event that reports only an error makes Go's poller refuse to wait for data: "not pollable". If the error does not concern
// reading, such as a timestamp that the program does not fetch, the socket continues to read, on each transport and under TLS.
func TestReading_ContinuesAfterAnEventThatIsOnlyAnError(t *testing.T) {
	const timestamping, software = 0x25, 1<<1 | 1<<4 | 1<<11 // SO_TIMESTAMPING: software timestamps of sent data, without the data
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				below, peer := evtest.TCPPair(t)
				require.NoError(t, below.SetWriteBuffer(1<<20))
				raw, err := below.SyscallConn()
				require.NoError(t, err)
				require.NoError(t, raw.Control(func(fd uintptr) {
					require.NoError(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, timestamping, software))
				}))
				opts := &evnet.SocketOptions{Loop: l, MaxWriteBuffer: -1, AllowHalfOpen: true}
				var there net.Conn = peer
				if secure {
					opts.TLSConfig = evtest.NamedClientConfig()
					there = tls.Server(peer, evtest.ServerConfig())
				}
				s := evnet.Wrap(below, opts)
				got := kit.Collect(s)
				const total = 32 << 20
				begin := func() {
					_, err := s.Write(make([]byte, total))
					assert.NoError(t, err)
					s.End()
				}
				if secure {
					s.On.SecureConnect(begin)
				} else {
					l.Post(begin)
				}
				kit.Aside(l, func() {
					defer there.Close()
					if c, ok := there.(*tls.Conn); ok {
						assert.NoError(t, c.HandshakeContext(context.Background()))
					}
					n, err := io.Copy(io.Discard, there)
					assert.NoError(t, err)
					assert.EqualValues(t, total, n)
					_, err = io.WriteString(there, "and still read")
					assert.NoError(t, err)
				})
				kit.Run(t, l)
				assert.NoError(t, s.Err())
				assert.Equal(t, "and still read", got.String())
			})
		})
	}
}
