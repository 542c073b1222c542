package anyconn

import (
	"net"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

// BlockingConn fulfils the contract of net.Conn, even over conns that do not: the conns of SSH have no deadlines.
func TestBlockingConn(t *testing.T) {
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"ssh":   sshChannels,
		"yamux": yamuxStreams,
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
				l := evnet.NewLoop()
				here, there := pair(t)
				// The peer may close with unread data. If the conn does not report that as a reset, the rest is never
				// accepted, and CloseTimeout closes the socket.
				opts := &evnet.SocketOptions{Loop: l, CloseTimeout: time.Second}
				a, err = evnet.Wrap(here, opts).BlockingConn()
				require.NoError(t, err)
				b, err = evnet.Wrap(there, opts).BlockingConn()
				require.NoError(t, err)
				var running sync.WaitGroup
				running.Go(l.Run)
				return a, b, func() { _, _ = a.Close(), b.Close(); running.Wait() }, nil
			})
		})
	}
}
