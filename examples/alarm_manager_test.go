package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Managers reconnect to a server that was killed. The delay grows with each attempt up to -retry-max, and is reset by a
// success.
func TestAlarmManagersComeBack(t *testing.T) {
	t.Parallel()
	const first, longest = 16 * time.Millisecond, 100 * time.Millisecond
	s := startAlarm(t, "cpu 1")
	port := freePort(t)
	sensor := []string{"-sensor", "file:" + s.file, "-every", "5ms"}
	s.listen(t, "127.0.0.1:"+port, sensor...)
	managers := []*alarmManager{}
	for range 2 {
		m := s.watch(t, "-retry", first.String(), "-retry-max", longest.String())
		m.expectReports(t, "cpu ok 1.0")
		managers = append(managers, m)
	}
	for round := range 3 {
		require.NoError(t, s.process.Process.Kill())
		_ = s.finish(t)
		for _, m := range managers {
			bound := first
			for attempt := 0; attempt < 8; attempt++ {
				line := m.line(t)
				if attempt == 1 && line == "connected to "+s.address {
					// The kernel closes the listener of a killed process after its connections: this was the last one.
					attempt, bound = -1, first
					continue
				}
				reason, wait := parseRetry(t, line)
				assert.Contains(t, reason, s.address)
				if attempt > 0 {
					assert.Contains(t, reason, "refused")
				}
				assert.GreaterOrEqual(t, wait, bound/2-time.Millisecond) // it is printed rounded
				assert.LessOrEqual(t, wait, bound)
				bound = min(2*bound, longest)
			}
		}
		value := fmt.Sprint(round + 2)
		s.write(t, "cpu "+value)
		s.listen(t, "127.0.0.1:"+port, sensor...)
		for _, m := range managers {
			for line := m.line(t); line != "connected to "+s.address; line = m.line(t) {
				assert.Contains(t, line, "retrying in")
			}
			m.expectReports(t, "cpu ok "+value+".0")
		}
	}
	for _, m := range managers {
		m.interrupt(t, syscall.SIGTERM, "closed\n")
	}
}

// fakeAlarm listens in place of a server.
func fakeAlarm(t *testing.T) (net.Listener, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln, ln.Addr().String()
}

// accept returns the next connection of a manager.
func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
	conn, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// A manager disconnects from a peer that does not speak the protocol, and retries. It escapes the bytes that it quotes.
func TestAlarmManagerLeavesGarbage(t *testing.T) {
	ln, address := fakeAlarm(t)
	m := watchAlarm(t, "-connect", address, "-retry", "4ms", "-retry-max", "8ms")
	for _, c := range []struct{ sent, reason string }{
		{"HTTP/1.1 400 Bad Request\r\n", `invalid report "HTTP/1.1 400 Bad Request": invalid character`},
		{"\x1b]0;owned\x07\n", `invalid report "\x1b]0;owned\a"`},
		{"\x00\xff\n", "invalid report"},
		{"\n", `invalid report ""`},
		{"null\n", "missing report number"},
		{"{}\n", "missing report number"},
		{"[1]\n", "invalid report"},
		{`{"n":-1}` + "\n", "invalid report"},
		{`{"n":1,"time":"now"}` + "\n", "invalid report"},
		{`{"n":1,"readings":[{"name":"cpu","value":1,"level":"fatal"}]}` + "\n", `unknown level "fatal"`},
		{`{"n":1,"readings":[{"name":"\u001b[2J","value":1,"level":"ok"}]}` + "\n", "invalid name"},
		{`{"n":1,"readings":[{"name":"a","value":1e999,"level":"ok"}]}` + "\n", "invalid report"},
		{`{"n":1,"readings":[` + strings.Repeat(`{"name":"a"},`, 32) + `{}]}` + "\n", "more than the limit of 32"},
		{`{"n":1`, "unexpected end of JSON"},
		{strings.Repeat("x", 1<<17), "too long"}, // no newline
		{"", "connection closed by the server"},
	} {
		conn := accept(t, ln)
		m.expect(t, "connected to "+address)
		_, _ = io.WriteString(conn, c.sent)
		if c.sent == "" || c.sent == `{"n":1` {
			require.NoError(t, conn.Close())
		}
		reason, _ := m.retries(t)
		assert.Contains(t, reason, c.reason)
		assert.Contains(t, reason, address)
		assert.NotContains(t, reason, "\x1b")
		assert.Less(t, len(reason), 300)
		_ = conn.Close()
	}
	conn := accept(t, ln)
	m.expect(t, "connected to "+address)
	_, err := io.WriteString(conn, `{"n":3,"time":"2025-03-01T14:03:16Z","readings":[{"name":"cpu","value":97,"level":"alarm"}],"new":{"field":1}}
{"n":3}
{"n":7,"time":"2025-03-01T14:04:16Z","readings":[{"name":"cpu","value":1,"level":"ok"}],"fault":"\u001b[2J"}
`)
	require.NoError(t, err)
	m.expectReports(t, "cpu alarm 97.0", "3 changes missed", "cpu ok 1.0", `sensor failed: "\x1b[2J"`)
	m.interrupt(t, os.Interrupt, "closed\n")
}

// A manager disconnects from a server that hangs, and reconnects when the server continues.
func TestAlarmManagerLeavesAStoppedServer(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	s := startAlarm(t, "cpu 1", "-beat", "20ms")
	m := s.watch(t, "-timeout", "2s", "-retry", "10ms", "-retry-max", "20ms")
	m.expectReports(t, "cpu ok 1.0")
	stopAlarm(t, s)
	silent := s.address + ": no data received for 2s"
	for range 2 { // the second connection is one that only the kernel has accepted
		reason, _ := m.retries(t)
		assert.Equal(t, silent, reason)
		m.expect(t, "connected to "+s.address)
	}
	s.write(t, "cpu 42")
	require.NoError(t, s.process.Process.Signal(continueSignal))
	for line := m.line(t); !strings.HasSuffix(line, "42.0"); line = m.line(t) {
		assert.NotContains(t, line, "refused")
	}
	m.interrupt(t, os.Interrupt, "closed\n")
	s.interrupt(t, os.Interrupt, "closed\n")
}

// Heartbeats keep managers connected to a server that has no changes to report.
func TestAlarmHeartbeat(t *testing.T) {
	t.Parallel()
	s := startAlarm(t, "cpu 1", "-beat", "50ms")
	m := s.watch(t, "-timeout", "2s")
	m.expectReports(t, "cpu ok 1.0")
	c := s.dial(t)
	c.next(t)
	for range 60 { // for three seconds
		line, err := c.lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, `{"n":1}`+"\n", line)
	}
	m.interrupt(t, os.Interrupt, "closed\n")
}

// Signals end a manager in every state.
func TestAlarmManagerEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	waiting := watchAlarm(t, "-connect", "127.0.0.1:"+refusingPort(t), "-retry", "1h", "-retry-max", "1h")
	reason, wait := waiting.retries(t)
	assert.Contains(t, reason, "refused")
	assert.Greater(t, wait, 29*time.Minute)
	waiting.interrupt(t, syscall.SIGTERM, "closed\n")

	ln, address := fakeAlarm(t)
	silent := watchAlarm(t, "-connect", address)
	conn := accept(t, ln)
	silent.expect(t, "connected to "+address)
	silent.interrupt(t, os.Interrupt, "closed\n")
	_, err := bufio.NewReader(conn).ReadString('\n')
	assert.Error(t, err, "the manager has closed")

	lost := watchAlarm(t, "-connect", filepath.Join(t.TempDir(), "none"), "-network", "unix", "-retry", "1h", "-retry-max", "1h")
	reason, _ = lost.retries(t)
	assert.Contains(t, reason, "none: connect: no such file")
	lost.interrupt(t, os.Interrupt, "closed\n")
}

func TestAlarmBadUse(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "exactly one of -listen and -connect is required"},
		{[]string{"-listen", "127.0.0.1:0", "-connect", "127.0.0.1:1"}, 2, "exactly one of -listen and -connect is required"},
		{[]string{"-listen", "127.0.0.1:0", "9100"}, 2, `unexpected argument "9100"`},
		{[]string{"-listen", "127.0.0.1:0", "-every", "0"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-beat", "-1s"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-managers", "0"}, 2, "must be positive"},
		{[]string{"-connect", "127.0.0.1:1", "-timeout", "0"}, 2, "must be positive"},
		{[]string{"-connect", "127.0.0.1:1", "-retry", "0"}, 2, "must be positive"},
		{[]string{"-connect", "127.0.0.1:1", "-retry-max", "-1s"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-step", "-1"}, 2, "must not be negative"},
		{[]string{"-listen", "127.0.0.1:0", "-hysteresis", "NaN"}, 2, "must not be negative"},
		{[]string{"-listen", "127.0.0.1:0", "-limits", "90"}, 2, "want two numbers"},
		{[]string{"-listen", "127.0.0.1:0", "-limits", "90,80"}, 2, "want two numbers"},
		{[]string{"-listen", "127.0.0.1:0", "-limits", "cpu=x,80"}, 2, "want two numbers"},
		{[]string{"-listen", "127.0.0.1:0", "-limits", "NaN,80"}, 2, "want two numbers"},
		{[]string{"-connect", "127.0.0.1"}, 2, "missing port"},
		{[]string{"-connect", "127.0.0.1:1", "-network", "udp"}, 2, `not "udp"`},
		{[]string{"-wat"}, 2, "not defined: -wat"},
		{[]string{"-listen", "127.0.0.1:0", "-sensor", "file:" + missing}, 1, "sensor: open " + missing},
		{[]string{"-listen", "127.0.0.1:0", "-sensor", "nose"}, 1, `not "nose"`},
		{[]string{"-listen", taken(t)}, 1, "listen tcp 127.0.0.1:"},
		{[]string{"-listen", "127.0.0.1"}, 1, "missing port"},
		{[]string{"-h"}, 0, "-hysteresis"},
	} {
		code, out, problems := result(t, "alarm", c.args...)
		assert.Equal(t, c.code, code, "%q", c.args)
		assert.Empty(t, out, "%q", c.args)
		assert.Contains(t, problems, c.want, "%q", c.args)
	}
}

// retries reads the next line, which reports a lost connection, and returns the reason and the delay.
func (m *alarmManager) retries(t *testing.T) (reason string, wait time.Duration) {
	t.Helper()
	return parseRetry(t, m.line(t))
}

// parseRetry returns the reason and the delay of a line that reports a lost connection.
func parseRetry(t *testing.T, line string) (reason string, wait time.Duration) {
	t.Helper()
	reason, text, ok := strings.Cut(line, "; retrying in ")
	require.True(t, ok, line)
	wait, err := time.ParseDuration(text)
	require.NoError(t, err, line)
	return reason, wait
}
