package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// uploaders are the ways in which the client of a relay sends and reads. The kernel reports a reset once, to either.
var uploaders = map[string]func(conn net.Conn, got *bytes.Buffer) (failure error){
	"reads meanwhile": func(conn net.Conn, got *bytes.Buffer) error {
		sent := make(chan error)
		go func() {
			_, err := conn.Write(make([]byte, 8<<20))
			sent <- err
		}()
		_, err := io.Copy(got, conn)
		return errors.Join(err, <-sent)
	},
	"reads afterwards": func(conn net.Conn, got *bytes.Buffer) error {
		_, failure := conn.Write(make([]byte, 8<<20))
		_, err := io.Copy(got, conn)
		return errors.Join(err, failure)
	},
}

// relayClients are the media between the client of a relay and the proxy.
var relayClients = map[string]func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn){
	"tcp": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn) {
		here, there := pair(t)
		return wrap(l, here), there
	},
	"unix": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn) {
		here, there := unixPair(t)
		return wrap(l, here), there
	},
	"tls": func(t testing.TB, l *evnet.Loop) (*evnet.Socket, net.Conn) {
		here, there := pair(t)
		opts := &evnet.SocketOptions{Loop: l, Logger: quiet, TLSConfig: evtest.NamedClientConfig()}
		return evnet.Wrap(here, opts), tls.Server(there, evtest.ServerConfig())
	},
}

// A proxy passes the answer of a server that refuses an upload on to the client, and then the reset, although the client
// reads slowly or not before it has written everything.
func TestFaultsRelayPassesOnARefusal(t *testing.T) {
	answer, number := pattern(incoming, 0, 200_000), 0
	for upstream, make := range inOrder(refusals) {
		for medium, accept := range inOrder(relayClients) {
			for how, upload := range inOrder(uploaders) {
				number++
				t.Run(upstream+"/"+medium+"/"+how, func(t *testing.T) {
					alternately(t, number, func(t *testing.T) {
						l := evnet.NewLoop()
						far, peer := make(t, l)
						near, client := accept(t, l)
						ready := 0
						both := func() {
							if ready++; ready == 2 {
								evnet.Relay(near, far, func(err error) { assert.Error(t, err) })
							}
						}
						begun(l, far, upstream, both)
						begun(l, near, medium, both)
						newRefusal(t, l, peer, answer)
						var got bytes.Buffer
						var failure error
						aside(l, func() {
							defer client.Close()
							if c, ok := client.(*tls.Conn); ok {
								assert.NoError(t, c.HandshakeContext(context.Background()))
							}
							failure = upload(client, &got)
						})
						run(t, l)
						assert.True(t, bytes.Equal(answer, got.Bytes()), "%d bytes of %d", got.Len(), len(answer))
						// A Unix socket cannot be reset. A conn of the program may report the reset to its writer, and
						// then an end to its reader.
						if medium != "unix" && !strings.Contains(upstream, "program") {
							require.Error(t, failure)
							assert.ErrorIs(t, failure, syscall.ECONNRESET)
						}
					})
				})
			}
		}
	}
}
