package anyconn

import (
	"io"
	"net"
	"testing"

	"evnet/conformance/wraptest"

	"github.com/hashicorp/yamux"
	"github.com/stretchr/testify/require"
)

// yamuxStreams returns the two ends of a stream of a yamux session over TCP.
func yamuxStreams(t testing.TB) (opened, accepted net.Conn) {
	c, s := tcpConns(t)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	client, err := yamux.Client(c, config)
	require.NoError(t, err)
	server, err := yamux.Server(s, config)
	require.NoError(t, err)
	closing(t, client, client.CloseChan())
	closing(t, server, server.CloseChan())
	opened, err = client.Open()
	require.NoError(t, err)
	accepted, err = server.Accept()
	require.NoError(t, err)
	return opened, accepted
}

func TestYamux(t *testing.T) {
	for _, end := range []string{"opened", "accepted"} {
		t.Run(end, func(t *testing.T) {
			wraptest.Run(t, wraptest.Kind{ReadsOn: true, Holds: megabyte, Pair: func(t testing.TB) (net.Conn, net.Conn) {
				here, there := yamuxStreams(t)
				if end == "accepted" {
					here, there = there, here
				}
				return here, there
			}})
		})
	}
}
