// Package anyconn tests evnet with the conns of other libraries, and its Tracer with OpenTelemetry. It is a module of
// its own because the evnet module must not depend on these libraries.
package anyconn

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const megabyte = 1 << 20

// tcpConns returns a connected pair of TCP conns.
func tcpConns(t testing.TB) (client, server net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	return client, server
}

// closing closes c when the test ends, and then waits until over is closed.
func closing(t testing.TB, c io.Closer, over <-chan struct{}) {
	t.Cleanup(func() {
		_ = c.Close()
		<-over
	})
}
