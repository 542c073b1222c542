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

// What the page shows is played by TestPagesPlayed.

func timeoutServer(t *testing.T, args ...string) (*server, *net.TCPAddr) {
	t.Helper()
	s := running(t, program(t, "timeout", append([]string{"-listen", "127.0.0.1:0"}, args...)...))
	address, err := net.ResolveTCPAddr("tcp", s.after("server: listening on "))
	require.NoError(t, err)
	return s, address
}

var elapsed = regexp.MustCompile(` +\d+\.\ds `)

// without leaves out the seconds of a timeline.
func without(timeline string) string { return elapsed.ReplaceAllString(timeline, " ") }

// Who answers is asked again, and not sent away.
func TestTimeoutAsks(t *testing.T) {
	t.Parallel()
	s, address := timeoutServer(t, "-ask", "1s") // the answer may take as long
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
	said := ""
	for !strings.Contains(said, "closed") && !strings.Contains(said, "timeout:") {
		said += without(s.lines(1))
	}
	assert.Equal(t, 3, strings.Count(said, "server: timeout, and it asks\nserver: line yes\n"), said)
	assert.True(t, strings.HasSuffix(said, "server: end\nserver: closed, no timeout\n"), said)
	s.stop()
}

// A reset and words that are no TLS are told as what they are.
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
	_, err := io.WriteString(c, "this is no TLS\n")
	require.NoError(t, err)
	_, _ = io.ReadAll(c)
	assert.Contains(t, s.lines(1), "does not look like a TLS handshake")
	s.stop()
}

func TestTimeoutInterrupted(t *testing.T) {
	for _, sig := range signals(t) {
		s, address := timeoutServer(t)
		client := running(t, program(t, "timeout", "-connect", address.String(), "-every", "1ms", "-say", "hi"))
		assert.Equal(t, "server: connection\nserver: line hi\n", without(s.lines(2)))
		assert.Equal(t, "client: connect\n", without(client.lines(1)))
		require.NoError(t, client.process.Process.Signal(sig))
		code, rest := client.ends()
		assert.Zero(t, code)
		assert.Equal(t, "client: closed, no timeout\n", without(rest))
		for line := ""; !strings.Contains(line, "closed"); line = s.lines(1) {
		}
		s.interrupt(sig, "server: closed\n")
	}
}

// A deadline that is over before the connection is made.
func TestTimeoutConnect(t *testing.T) {
	t.Parallel()
	address, within := "127.0.0.1:1", "1ns"
	if runtime.GOOS == "linux" {
		address, within = unansweringAddress(t), "300ms"
	}
	code, stdout, stderr := result(t, "timeout", "-connect", address, "-within", within)
	assert.Equal(t, 1, code)
	assert.Equal(t, "client: timeout: the context of ConnectContext\n", without(stdout))
	assert.Empty(t, stderr)
}
