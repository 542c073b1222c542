package examples_test

import (
	"io"
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPagesPlayed runs the sessions of the page.

func timeoutServer(t *testing.T, args ...string) (*server, *net.TCPAddr) {
	t.Helper()
	s := running(t, program(t, "timeout", append([]string{"-listen", "127.0.0.1:0"}, args...)...))
	address, err := net.ResolveTCPAddr("tcp", s.after("server: listening on "))
	require.NoError(t, err)
	return s, address
}

var elapsed = regexp.MustCompile(` +\d+\.\ds `)

// withoutSeconds removes the seconds from a timeline.
func withoutSeconds(timeline string) string { return elapsed.ReplaceAllString(timeline, " ") }

// A client that answers is asked again and not disconnected.
func TestTimeoutAsks(t *testing.T) {
	t.Parallel()
	s, address := timeoutServer(t, "-ask", "1s") // the answer may take this long too
	c := dial(t, address)
	const question = "are you still there?\n"
	for range 3 {
		got := make([]byte, len(question))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, question, string(got))
		_, err = io.WriteString(c, "yes\n")
		require.NoError(t, err)
	}
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	_, _ = io.ReadAll(c)
	printed := ""
	for !strings.Contains(printed, "closed:") {
		printed += withoutSeconds(s.lines(1))
	}
	assert.Equal(t, 3, strings.Count(printed, "server: timeout event: asks the client\nserver: line: yes\n"), printed)
	assert.True(t, strings.HasSuffix(printed, "server: end\nserver: closed: no timeout\n"), printed)
	s.stop()
}

// The last line names a reset, and data that is not TLS.
func TestTimeout_OtherFailuresAreNamed(t *testing.T) {
	s, address := timeoutServer(t)
	c := dial(t, address)
	assert.Contains(t, s.lines(1), "connection")
	require.NoError(t, c.(*net.TCPConn).SetLinger(0))
	require.NoError(t, c.Close())
	assert.Contains(t, s.lines(1), "closed: read tcp")
	s.stop()

	s, address = timeoutServer(t, "-handshake", "1m")
	c = dial(t, address)
	_, err := io.WriteString(c, "this is not TLS\n")
	require.NoError(t, err)
	_, _ = io.ReadAll(c)
	assert.Contains(t, s.lines(1), "does not look like a TLS handshake")
	s.stop()
}

func TestTimeoutInterrupted(t *testing.T) {
	for _, sig := range signals(t) {
		s, address := timeoutServer(t)
		client := running(t, program(t, "timeout", "-connect", address.String(), "-every", "1ms", "-say", "hi"))
		assert.Equal(t, "server: connection\nserver: line: hi\n", withoutSeconds(s.lines(2)))
		assert.Equal(t, "client: connect\n", withoutSeconds(client.lines(1)))
		require.NoError(t, client.process.Process.Signal(sig))
		code, rest := client.ends()
		assert.Zero(t, code)
		assert.Equal(t, "client: closed: no timeout\n", withoutSeconds(rest))
		for line := ""; !strings.Contains(line, "closed"); line = s.lines(1) {
		}
		s.interrupt(sig, "server: closed\n")
	}
}

// The context ends before the connection is made.
func TestTimeoutConnect(t *testing.T) {
	t.Parallel()
	address, within := "127.0.0.1:1", "1ns"
	if runtime.GOOS == "linux" {
		address, within = unansweringAddress(t), "300ms"
	}
	code, stdout, stderr := result(t, "timeout", "-connect", address, "-within", within)
	assert.Equal(t, 1, code)
	assert.Equal(t, "client: closed: context of ConnectContext\n", withoutSeconds(stdout))
	assert.Empty(t, stderr)
}
