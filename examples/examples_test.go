// Package examples_test runs the example programs as processes and checks their output.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is the deadline for operations that should take milliseconds: only a hang exceeds it.
const patience = 60 * time.Second

const (
	listening  = "Servidor escutando na porta "
	greeting   = "Mensagem do servidor!\r\n"
	clientSays = "Cliente conectado ao servidor!\n" + greeting + "\nDesconectado do servidor\n"
	serverSays = "Cliente conectado\nCliente desconectado\n"
)

// programs is the directory with the built programs.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "evnet-examples"); err != nil {
		panic(err)
	}
	evtest.Concurrently(16) // parallel tests wait most of the time
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// noSymbols omits the symbol table and the debugging information, which halves the time for linking.
const noSymbols = "-ldflags=-s -w"

// build builds the programs, with the race detector if the tests use it.
var build = sync.OnceValue(func() error {
	args := []string{"build", "-buildvcs=false", noSymbols, "-o", programs + string(filepath.Separator)}
	info, _ := debug.ReadBuildInfo()
	if info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	// Reading the directories makes cached test results depend on the sources.
	_ = filepath.WalkDir("..", func(_ string, d fs.DirEntry, err error) error {
		if d.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
	mains, _ := filepath.Glob("*/main.go")
	for _, main := range mains {
		dir := filepath.Dir(main)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil { // filetransfer is a module of its own
			args = append(args, "./"+dir)
		}
	}
	printed, err := buildCommand(args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, printed)
	}
	return nil
})

// buildCommand returns a go command. Its compilers and linkers run without garbage collection, which saves a quarter of
// their time, until they use much memory.
func buildCommand(args ...string) *exec.Cmd {
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "GOGC=off", "GOMEMLIMIT=512MiB")
	return build
}

// program returns the command of an example. The process ends with the test.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	require.NoError(t, build())
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience) // some programs take long
	t.Cleanup(cancel)
	path := filepath.Join(programs, name)
	if _, err := os.Stat(path); err != nil {
		path += ".exe"
	}
	p := exec.CommandContext(ctx, path, args...)
	p.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // otherwise each exit takes a second
	return p
}

// result runs a program until it exits.
func result(t *testing.T, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program(t, name, args...)
	p.Stdout, p.Stderr = &out, &errs
	if err := p.Run(); err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return p.ProcessState.ExitCode(), out.String(), errs.String()
}

// server is a running server program.
type server struct {
	t       *testing.T
	process *exec.Cmd
	output  *bufio.Reader
	port    string
}

// startServer starts a server, on a free port unless args say otherwise, and returns when it is listening.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	p := program(t, "server", append([]string{"-port", "0"}, args...)...)
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Wait() }) // the context kills it first
	s := &server{t: t, process: p, output: bufio.NewReader(output)}
	line := s.lines(1)
	if len(args) == 0 {
		port, ok := strings.CutPrefix(line, listening)
		require.True(t, ok, line)
		s.port = strings.TrimSuffix(port, "\n")
	}
	return s
}

// lines reads the next count lines of the output.
func (s *server) lines(count int) string {
	s.t.Helper()
	var lines strings.Builder
	for range count {
		line, err := s.output.ReadString('\n')
		require.NoError(s.t, err, "after %q", lines.String()+line)
		lines.WriteString(line)
	}
	return lines.String()
}

// stop kills the server and checks that the test has read all its output.
func (s *server) stop() {
	s.t.Helper()
	require.NoError(s.t, s.process.Process.Kill())
	rest, _ := io.ReadAll(s.output)
	assert.Empty(s.t, string(rest))
}

// takenPort returns a port of host that is in use, and the error of listening on it.
func takenPort(t *testing.T, host string) (port string, listenError error) {
	t.Helper()
	ln, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	_, listenError = net.Listen("tcp", host+":"+port)
	require.Error(t, listenError)
	return port, listenError
}

// refusingPort returns a port that refuses connections. It is the local port of a connection, so no program can listen on
// it during the test.
func refusingPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port)
}

func TestServerAndClient(t *testing.T) {
	s := startServer(t)
	for range 3 {
		code, stdout, stderr := result(t, "client", "-port", s.port)
		assert.Equal(t, 0, code)
		assert.Equal(t, clientSays, stdout)
		assert.Empty(t, stderr)
		assert.Equal(t, serverSays, s.lines(2))
	}
	s.stop()
}

// The same programs over a Unix socket.
func TestServerAndClientOverUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "evnet") // t.TempDir has a path that is too long for a socket
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	s := startServer(t, "-unix", path)
	code, stdout, stderr := result(t, "client", "-unix", path)
	assert.Equal(t, 0, code)
	assert.Equal(t, clientSays, stdout)
	assert.Empty(t, stderr)
	assert.Equal(t, serverSays, s.lines(2))
	s.stop()
}

func TestServerEchoes(t *testing.T) {
	s := startServer(t)
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte("Olá!\r\n"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	received, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, greeting+"Olá!\r\n", string(received))
	assert.Equal(t, serverSays, s.lines(2))
	s.stop()
}

func TestLesson(t *testing.T) {
	code, stdout, stderr := result(t, "lesson")
	assert.Equal(t, 0, code)
	assert.Empty(t, stderr)
	first, rest, _ := strings.Cut(stdout, "\n")
	assert.Regexp(t, "^"+listening+`\d+$`, first)
	connected, rest, _ := strings.Cut(rest, greeting)
	assert.Contains(t, []string{
		"Cliente conectado\nCliente conectado ao servidor!\n",
		"Cliente conectado ao servidor!\nCliente conectado\n",
	}, connected, "the kernel decides which side is notified first")
	assert.Equal(t, "\nCliente desconectado\nDesconectado do servidor\n", rest)
}

func TestPortInUse(t *testing.T) {
	for name, host := range map[string]string{"server": "", "lesson": "localhost"} {
		port, want := takenPort(t, host)
		code, stdout, stderr := result(t, name, "-port", port)
		assert.Equal(t, 1, code, name)
		assert.Empty(t, stdout, name)
		assert.Equal(t, fmt.Sprintln("Erro:", want), stderr, name)
	}
}

func TestConnectionRefused(t *testing.T) {
	port := refusingPort(t)
	_, want := net.Dial("tcp", "127.0.0.1:"+port)
	require.Error(t, want)
	code, stdout, stderr := result(t, "client", "-port", port)
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Regexp(t, "^Erro: ", stderr)
	assert.Contains(t, stderr, "127.0.0.1:"+port)
	assert.Contains(t, stderr, want.(*net.OpError).Err.Error())
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"server", "client", "lesson", "echo-udp"} {
		code, stdout, stderr := result(t, name, "-h")
		assert.Equal(t, 0, code, name)
		assert.Empty(t, stdout, name)
		assert.Contains(t, stderr, "-port int", name)
	}
}
