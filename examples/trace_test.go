package examples_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	timeOfTrace = regexp.MustCompile(`^ +\d+\.\d{6}  `)
	portOfTrace = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// sidesOf are the lines of a timeline by whose they are, without times and ports.
func sidesOf(t *testing.T, lines []string) map[string][]string {
	sides := map[string][]string{}
	for _, line := range lines {
		require.Regexp(t, timeOfTrace, line)
		line = portOfTrace.ReplaceAllString(timeOfTrace.ReplaceAllString(line, ""), "ADDRESS")
		whose, what, _ := strings.Cut(line, "  ")
		sides[whose] = append(sides[whose], strings.TrimSpace(what))
	}
	return sides
}

// Both sides of a connection are shown as on the page.
func TestTrace(t *testing.T) {
	code, out, errs := result(t, "trace")
	assert.Zero(t, code)
	assert.Empty(t, errs)
	page, err := os.ReadFile("trace/README.md")
	require.NoError(t, err)
	_, shown, _ := strings.Cut(string(page), "$ go run ./examples/trace\n")
	shown, _, _ = strings.Cut(shown, "```")
	lines := func(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }
	want, got := sidesOf(t, lines(shown)), sidesOf(t, lines(out))
	// The greeting may come apart from the line.
	joined := func(list []string) (rest []string) {
		for _, line := range list {
			if !strings.HasPrefix(line, "data") {
				rest = append(rest, line)
			}
		}
		return rest
	}
	want["client"], got["client"] = joined(want["client"]), joined(got["client"])
	assert.Equal(t, want, got)
}

// A server shows who comes, by numbers, and ends by a signal.
func TestTraceListen(t *testing.T) {
	p := program(t, "trace", "-listen", "127.0.0.1:0", "-color", "always")
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	said := bufio.NewReader(stdout)
	first, err := said.ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, first, "\x1b[32mlistening\x1b[0m on ")
	address := portOfTrace.FindString(first)
	for range 2 {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "\x1b[2J")
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "welcome: \x1b[2J", string(answer))
		require.NoError(t, conn.Close())
	}
	if runtime.GOOS == "windows" {
		return // which knows no signal to end it with
	}
	require.NoError(t, p.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(said)
	require.NoError(t, err)
	assert.NoError(t, p.Wait())
	assert.Contains(t, string(rest), "socket 2 from ")
	assert.Contains(t, string(rest), `4 bytes "\x1b[2J"`, "a peer's control characters stay its own")
	assert.NotContains(t, string(rest), "\x1b[2J")
}

// A client sends its input, and shows what becomes of it.
func TestTraceConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		asked, _ := io.ReadAll(conn)
		_, _ = conn.Write(append(asked, strings.Repeat("x", 100)...))
		_ = conn.Close()
	}()
	p := program(t, "trace", "-connect", ln.Addr().String(), "-half-open", "-idle", "1m", "-bytes", "50")
	p.Stdin = strings.NewReader("question")
	out, err := p.Output()
	require.NoError(t, err)
	sides := sidesOf(t, strings.Split(strings.TrimRight(string(out), "\n"), "\n"))
	assert.Equal(t, []string{
		"connectionAttempt ADDRESS", "connect ADDRESS to ADDRESS", "ready", "finish",
		`data 108 bytes "question` + strings.Repeat("x", 42) + `"...`, "end", "close after 108 bytes in, 8 out; hadError false",
	}, sides["client"])
}

func TestTraceFails(t *testing.T) {
	address := closedAddress(t)
	code, out, _ := result(t, "trace", "-connect", address)
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "error ECONNREFUSED ")
	assert.Contains(t, out, "hadError true")
	code, _, errs := result(t, "trace", "-listen", "127.0.0.1:nothing")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "nothing")
	for _, args := range [][]string{
		{"x"}, {"-listen", ":0", "-connect", ":0"}, {"-idle", "-1s"}, {"-bytes", "-1"}, {"-network", "udp"}, {"-network", "unix"}, {"-color", "blue"}, {"-nothing"},
	} {
		code, out, errs := result(t, "trace", args...)
		assert.Equal(t, 2, code, "%q", args)
		assert.Empty(t, out)
		assert.NotEmpty(t, errs)
	}
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}
