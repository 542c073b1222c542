package examples_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// running starts a program. Its standard output and standard error are read as one stream.
func running(t *testing.T, p *exec.Cmd) *server {
	t.Helper()
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Wait() }) // the context kills it first
	return &server{t: t, process: p, output: bufio.NewReader(output)}
}

// after reads the next line and returns the text after prefix.
func (s *server) after(prefix string) string {
	s.t.Helper()
	rest, ok := strings.CutPrefix(s.lines(1), prefix)
	require.True(s.t, ok, "%q before %q", prefix, rest)
	return strings.TrimSuffix(rest, "\n")
}

// ends waits for the program to exit and returns its exit code and the remaining output.
func (s *server) ends() (code int, rest string) {
	s.t.Helper()
	printed, err := io.ReadAll(s.output)
	require.NoError(s.t, err)
	_ = s.process.Wait()
	return s.process.ProcessState.ExitCode(), string(printed)
}

// interrupt sends a signal and checks the remaining output and that the exit code is 0.
func (s *server) interrupt(sig os.Signal, want string) {
	s.t.Helper()
	require.NoError(s.t, s.process.Process.Signal(sig))
	code, rest := s.ends()
	assert.Equal(s.t, want, rest)
	assert.Zero(s.t, code)
}

// signals returns the signals that end a program cleanly.
func signals(t *testing.T) []os.Signal {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM}
}

// socketPath returns a path for a Unix socket. It is short, because paths in t.TempDir are too long for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// A program with wrong flags or arguments prints the mistake and how to get help, and exits with 2.
func TestMisused(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"server now", "Erro: argumento a mais: now"},
		{"client now", "Erro: argumento a mais: now"},
		{"lesson now", "Erro: argumento a mais: now"},
		{"server -port x", `invalid value "x" for flag -port`},
		{"client -nothing", "flag provided but not defined: -nothing"},
		{"echo-udp now", "Erro: argumento a mais: now"},
		{"echo-udp -wait 0s", "Erro: -wait deve ser maior que zero: 0s"},
		{"lines now", `lines: unexpected argument "now" (use -h for help)`},
		{"lines -max 0", "-max must be at least 1: 0"},
		{"lines -clients -1", "-clients must be at least 1: -1"},
		{"activation now", `activation: unexpected argument "now"`},
		{"halfopen now", `halfopen: unexpected argument "now"`},
		{"halfopen -listen a:1 -connect b:1", "-listen and -connect cannot be used together"},
		{"halfopen -pause -1s", "-pause must not be negative: -1s"},
		{"halfopen -max 0", "-max must be at least 1: 0"},
		{"timeout now", `timeout: unexpected argument "now"`},
		{"timeout -idle -1s", "-idle must not be negative: -1s"},
		{"timeout -stay", "-stay is a client flag and requires -connect"},
		{"timeout -connect a:1 -ask 1s", "-ask is a server flag and cannot be used with -connect"},
	} {
		args := strings.Fields(c.command)
		code, stdout, stderr := result(t, args[0], args[1:]...)
		assert.Equal(t, 2, code, c.command)
		assert.Empty(t, stdout, c.command)
		assert.Contains(t, stderr, c.want, c.command)
	}
}

// A program that cannot use an address prints the reason and exits with 1.
func TestAddressesThatCannotBeHad(t *testing.T) {
	port, listenError := takenPort(t, "127.0.0.1")
	address := "127.0.0.1:" + port
	refusing := "127.0.0.1:" + refusingPort(t)
	for _, c := range []struct{ command, want string }{
		{"lines -addr " + address, listenError.Error()},
		{"activation -addr " + address, listenError.Error()},
		{"halfopen -listen " + address, listenError.Error()},
		{"timeout -listen " + address, listenError.Error()},
		{"lines -network udp -addr " + address, "unknown network udp"},
		{"halfopen -listen 127.0.0.1", "missing port"},
		{"timeout -listen :99999", "invalid port"},
		{"server -port 99999", "invalid port"},
		{"halfopen -connect " + refusing, refusing},
		{"timeout -connect " + refusing, refusing},
		{"timeout -connect nowhere", "missing port"},
	} {
		args := strings.Fields(c.command)
		code, stdout, stderr := result(t, args[0], args[1:]...)
		assert.Equal(t, 1, code, c.command)
		assert.Contains(t, stdout+stderr, c.want, c.command)
	}
}
