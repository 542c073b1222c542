package recipes_test

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reconnecting starts the client, and returns its standard input too.
func reconnecting(t *testing.T, address string, args ...string) (r *running, input io.Writer) {
	t.Helper()
	p := program(t, "reconnecting-client", append([]string{"-addr", address}, args...)...)
	input, err := p.StdinPipe()
	require.NoError(t, err)
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Wait() }) // after the context has ended it
	return &running{t: t, command: p, output: bufio.NewReader(output)}, input
}

// untilLine reads lines up to the first that contains text, and returns that line.
func (r *running) untilLine(text string) string {
	r.t.Helper()
	for {
		if line := r.line(); strings.Contains(line, text) {
			return line
		}
	}
}

// lineConn is a connection with the lines that it receives.
type lineConn struct {
	net.Conn
	lines *bufio.Reader
}

func acceptLines(t *testing.T, ln net.Listener) lineConn {
	t.Helper()
	c, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(evtest.Patience)))
	return lineConn{c, bufio.NewReader(c)}
}

func (c lineConn) line(t *testing.T) string {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	require.NoError(t, err, "after %q", line)
	return strings.TrimSuffix(line, "\n")
}

func writeInput(t *testing.T, w io.Writer, text string) {
	t.Helper()
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
}

// nextPause returns the pause that the client prints next.
func (r *running) nextPause() time.Duration {
	r.t.Helper()
	_, text, _ := strings.Cut(r.untilLine("next attempt in "), "next attempt in ")
	pause, err := time.ParseDuration(text)
	require.NoError(r.t, err)
	return pause
}

// assertPause checks a pause with its jitter.
func assertPause(t *testing.T, longest, pause time.Duration) {
	t.Helper()
	assert.LessOrEqual(t, pause, longest)
	assert.GreaterOrEqual(t, pause, longest/2)
}

func TestReconnectingClient_QueuesLinesAndConnectsAgain(t *testing.T) {
	t.Parallel()
	address := evtest.ClosedPort(t)
	r, input := reconnecting(t, address, "-min-pause", "2ms", "-max-pause", "20ms", "-queue", "2")
	r.untilLine("refused")
	writeInput(t, input, "one\ntwo\nthree\n")
	r.untilLine(`not sent: "three": the queue is full`)

	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	defer ln.Close()
	first := acceptLines(t, ln)
	assert.Equal(t, "one", first.line(t))
	assert.Equal(t, "two", first.line(t))
	send(t, first, "hello \x1b[2J\n")
	r.untilLine(`hello \x1b[2J`)
	require.NoError(t, first.Close())

	second := acceptLines(t, ln)
	r.untilLine("connected to ")
	writeInput(t, input, "four\n")
	assert.Equal(t, "four", second.line(t))
	assert.Contains(t, r.stop(), "closed\n")
	receiveEnd(t, second)
}

func TestReconnectingClient_PausesGrowAndStartOver(t *testing.T) {
	t.Parallel()
	address := evtest.ClosedPort(t)
	r, input := reconnecting(t, address, "-min-pause", "4ms", "-max-pause", "32ms")
	for _, longest := range []time.Duration{4, 8, 16, 32, 32, 32} {
		assertPause(t, longest*time.Millisecond, r.nextPause())
	}

	// A connection that lasts longer than the pause is a success.
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	c := acceptLines(t, ln)
	writeInput(t, input, "ping\n")
	assert.Equal(t, "ping", c.line(t))
	for connected := time.Now(); time.Since(connected) < 40*time.Millisecond; {
		writeInput(t, input, "ping\n")
		assert.Equal(t, "ping", c.line(t))
	}
	r.untilLine("connected to ")
	require.NoError(t, ln.Close())
	require.NoError(t, c.Close())
	for _, longest := range []time.Duration{4, 8, 16} {
		assertPause(t, longest*time.Millisecond, r.nextPause())
	}
	_ = r.stop()
}

func TestReconnectingClient_StopsBetweenAttempts(t *testing.T) {
	t.Parallel()
	r, input := reconnecting(t, evtest.ClosedPort(t), "-min-pause", "10m", "-max-pause", "10m", "-queue", "1")
	r.untilLine("next attempt")
	writeInput(t, input, "one\ntwo\n")
	r.untilLine(`not sent: "two"`)
	assert.Equal(t, "lines that were not sent: 1\nclosed\n", r.stop())
}

// The end of the input does not end the client.
func TestReconnectingClient_KeepsConnectionAtTheEndOfInput(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	r := launch(t, "reconnecting-client", "-addr", ln.Addr().String())
	c := acceptLines(t, ln)
	r.untilLine("connected to ")
	send(t, c, "still here\n")
	assert.Equal(t, "still here", r.line())
	assert.Equal(t, "closed\n", r.stop())
}

func TestReconnectingClient_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	address := evtest.ClosedPort(t)
	host, port, _ := net.SplitHostPort(address)
	netcat := func() (command *exec.Cmd, output *bufio.Reader) {
		command = evtest.Command(t, "nc", "-l", host, port)
		stdout, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		return command, bufio.NewReader(stdout)
	}
	r, input := reconnecting(t, address, "-min-pause", "5ms", "-max-pause", "20ms")
	for _, line := range []string{"one\n", "two\n"} {
		nc, output := netcat()
		r.untilLine("connected to ")
		writeInput(t, input, line)
		received, err := output.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, line, received)
		require.NoError(t, nc.Process.Kill())
		_ = nc.Wait()
		r.untilLine("next attempt")
	}
	assert.Contains(t, r.stop(), "closed\n")
}

func TestReconnectingClient_WrongFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want string
	}{
		{"more", "unexpected argument: more\n"},
		{"-queue 0", "must be positive"},
		{"-min-pause 2s -max-pause 1s", "-max-pause not less than -min-pause"},
	} {
		code, printed := launch(t, "reconnecting-client", strings.Fields(c.args)...).end()
		assert.Equal(t, 2, code)
		assert.Contains(t, printed, c.want)
	}
}
