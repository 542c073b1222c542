package examples_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPagesPlayed runs the sessions of the page.

// halfOpenServer starts a server and returns it with its address.
func halfOpenServer(t *testing.T, args ...string) (*server, *net.TCPAddr) {
	t.Helper()
	s := running(t, program(t, "halfopen", append([]string{"-listen", "127.0.0.1:0"}, args...)...))
	address, err := net.ResolveTCPAddr("tcp", s.after("server: listening on "))
	require.NoError(t, err)
	return s, address
}

func TestHalfOpenAnswersAtTheEnd(t *testing.T) {
	for _, sig := range signals(t) {
		s, address := halfOpenServer(t, "-pause", "1ms")
		for request, answer := range map[string]string{
			"":             "sorted, 0 lines:\n",
			"one":          "sorted, 1 lines:\none\n",
			"b\r\na\r\n":   "sorted, 2 lines:\na\nb\n",
			"\n\n":         "sorted, 2 lines:\n\n\n",
			"a\tb\na\nA\n": "sorted, 3 lines:\nA\na\na\tb\n",
		} {
			c := dial(t, address)
			_, err := io.WriteString(c, request)
			require.NoError(t, err)
			require.NoError(t, c.(*net.TCPConn).CloseWrite())
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			assert.Equal(t, answer, string(got))
			for line := ""; line != "server: close\n"; line = s.lines(1) {
			}
		}
		c := dial(t, address) // open when the signal arrives
		assert.Equal(t, "server: connection, readyState open\n", s.lines(1))
		s.interrupt(sig, "server: close\nserver: closed\n")
		_, _ = io.ReadAll(c)
	}
}

// The server stops the answer when the client disconnects, and disconnects a client that sends too much.
func TestHalfOpenBadClients(t *testing.T) {
	s, address := halfOpenServer(t, "-pause", "100ms", "-max", "1000")
	c := dial(t, address)
	_, err := io.WriteString(c, strings.Repeat("a\n", 30)) // the answer takes three seconds, in case the client is slow to disconnect
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	first := make([]byte, len("sorted, 30 lines:\n"))
	_, err = io.ReadFull(c, first)
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // a reset
	require.NoError(t, c.Close())
	printed := s.lines(6)
	assert.Contains(t, printed, "server: end, readyState writeOnly\nserver: error: ")
	assert.Regexp(t, `server: close\nserver: ([1-9]|[12]\d) lines not sent\n$`, printed)

	c = dial(t, address)
	_, err = c.Write(make([]byte, 1001))
	require.NoError(t, err)
	got, _ := io.ReadAll(c)
	assert.Empty(t, got)
	printed = ""
	for !strings.HasSuffix(printed, "server: close\n") {
		printed += s.lines(1)
	}
	assert.Contains(t, printed, "server: error: read request: longer than 1000 bytes\n")
	s.stop()
}

// A client that is waiting for its standard input ends on a signal.
func TestHalfOpenClient(t *testing.T) {
	for _, sig := range signals(t) {
		ln := listen(t, "tcp", "127.0.0.1:0")
		p := program(t, "halfopen", "-connect", ln.Addr().String())
		input, err := p.StdinPipe()
		require.NoError(t, err)
		defer input.Close()
		s := running(t, p)
		c, err := ln.Accept()
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, "client: connect\n", s.lines(1))
		_, err = io.WriteString(input, "so far")
		require.NoError(t, err)
		got := make([]byte, len("so far"))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, "so far", string(got))
		s.interrupt(sig, "client: close\n")
	}
}

// A signal ends both sides in one process, even during a long pause.
func TestHalfOpenInterrupted(t *testing.T) {
	for _, sig := range signals(t) {
		s := running(t, program(t, "halfopen", "-pause", "1h"))
		printed := ""
		for !strings.Contains(printed, "client: line: sorted") {
			printed += s.lines(1)
		}
		s.interrupt(sig, "client: close\nserver: close\nserver: 3 lines not sent\n")
	}
}

// A client fails if the server ends before the request is complete.
func TestHalfOpenServerEndsFirst(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	p := program(t, "halfopen", "-connect", ln.Addr().String())
	input, err := p.StdinPipe()
	require.NoError(t, err)
	defer input.Close()
	s := running(t, p)
	c, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	code, printed := s.ends()
	assert.Equal(t, 1, code)
	assert.Equal(t, "client: connect\nclient: end\nclient: error: send request: the server ended the connection before the request was complete\nclient: close\n", printed)
}

// A client fails if its input is longer than the server accepts.
func TestHalfOpenClientIsCutOff(t *testing.T) {
	s, address := halfOpenServer(t, "-max", "10")
	p := program(t, "halfopen", "-connect", address.String())
	p.Stdin = bytes.NewReader(make([]byte, 10<<20))
	var out bytes.Buffer
	p.Stdout, p.Stderr = &out, &out
	assert.Error(t, p.Run())
	assert.Equal(t, 1, p.ProcessState.ExitCode())
	assert.Contains(t, out.String(), "client: error: ")
	assert.True(t, strings.HasSuffix(out.String(), "client: close\n"), out.String())
	_ = s.process.Process.Signal(os.Interrupt)
}
