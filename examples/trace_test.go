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
	traceTime   = regexp.MustCompile(`^ +\d+\.\d{6}  `)
	portOfTrace = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// sidesOf groups the lines of a timeline by source and removes times and ports.
func sidesOf(t *testing.T, lines []string) map[string][]string {
	sides := map[string][]string{}
	for _, line := range lines {
		require.Regexp(t, traceTime, line)
		line = portOfTrace.ReplaceAllString(traceTime.ReplaceAllString(line, ""), "ADDRESS")
		source, event, _ := strings.Cut(line, "  ")
		sides[source] = append(sides[source], strings.TrimSpace(event))
	}
	return sides
}

// The program prints both sides of a connection as on the page.
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
	// The client may receive the greeting and the echo in one chunk or in two.
	withoutData := func(list []string) (rest []string) {
		for _, line := range list {
			if !strings.HasPrefix(line, "data") {
				rest = append(rest, line)
			}
		}
		return rest
	}
	want["client"], got["client"] = withoutData(want["client"]), withoutData(got["client"])
	assert.Equal(t, want, got)
}

// A server numbers its clients in the output and ends on a signal.
func TestTraceListen(t *testing.T) {
	p := program(t, "trace", "-listen", "127.0.0.1:0", "-color", "always")
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	output := bufio.NewReader(stdout)
	first, err := output.ReadString('\n')
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
		return // Windows has no signal to stop it
	}
	require.NoError(t, p.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(output)
	require.NoError(t, err)
	assert.NoError(t, p.Wait())
	assert.Contains(t, string(rest), "socket 2 from ")
	assert.Contains(t, string(rest), `4 bytes "\x1b[2J"`, "control characters from a peer are escaped")
	assert.NotContains(t, string(rest), "\x1b[2J")
}

// A client sends its input and prints the events.
func TestTraceConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		request, _ := io.ReadAll(conn)
		_, _ = conn.Write(append(request, strings.Repeat("x", 100)...))
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

// closedAddress returns an address without a listener.
func closedAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}
