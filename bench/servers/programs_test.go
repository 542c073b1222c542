package servers_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// timeout limits every wait of a test.
const timeout = 15 * time.Second

// An implementation is a program under test, with the limits of its library.
type implementation struct {
	name       string
	flags      []string
	lacks      []string // unsupported workloads
	halfCloses bool     // its proxy passes on the end of a single direction
}

var implementations = []implementation{
	{name: "evnet", halfCloses: true},
	{name: "evnet", flags: []string{"-mode", "data"}, halfCloses: true},
	{name: "evnet", flags: []string{"-mode", "pipe"}, halfCloses: true},
	{name: "evnet", flags: []string{"-loops", "2"}, halfCloses: true},
	{name: "plain", halfCloses: true},
	{name: "gnet"},
	{name: "gnet", flags: []string{"-loops", "2"}, lacks: []string{"broadcast"}},
	{name: "nbio"},
	{name: "netpoll"},
	{name: "evio", lacks: []string{"proxy"}},
	{name: "gev", lacks: []string{"proxy"}},
	{name: "node", halfCloses: true},
	{name: "c", lacks: []string{"broadcast", "proxy"}},
}

func (im implementation) String() string {
	return strings.Join(append([]string{im.name}, im.flags...), " ")
}

// binaries is the directory in which TestMain builds the programs.
var binaries string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "evnet-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	build := exec.Command("go", "build", "-tags", "poll_opt", "-o", dir,
		"./evnet", "./plain", "./gnet", "./nbio", "./netpoll", "./evio", "./gev")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
		return 1
	}
	return m.Run()
}

// command returns the command that starts the program. It skips the test if Node or the C compiler that it
// needs is not installed.
func (im implementation) command(t *testing.T, flags ...string) *exec.Cmd {
	flags = append(flags, im.flags...)
	switch im.name {
	case "node":
		return exec.Command(find(t, "node"), append([]string{"node/server.js"}, flags...)...)
	case "c":
		path := filepath.Join(binaries, "c-server")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			out, err := exec.Command(find(t, "gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, "c/server.c").CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		return exec.Command(path, flags...)
	default:
		return exec.Command(filepath.Join(binaries, im.name), flags...)
	}
}

func find(t *testing.T, program string) string {
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// A server is a running program.
type server struct {
	t       *testing.T
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Reader
	stderr  bytes.Buffer
	addr    string
}

func (im implementation) start(t *testing.T, flags ...string) *server {
	s := &server{t: t, cmd: im.command(t, flags...)}
	var err error
	s.stdin, err = s.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.answers = bufio.NewReader(out)
	s.cmd.Stderr = &s.stderr
	require.NoError(t, s.cmd.Start())
	kill := time.AfterFunc(2*timeout, func() { s.cmd.Process.Kill() })
	t.Cleanup(func() { kill.Stop() })
	t.Cleanup(s.stop)
	addr, ok := strings.CutPrefix(s.answer(), "listening ")
	require.True(t, ok)
	s.addr = addr
	return s
}

// stop closes the program's input, after which the program must exit.
func (s *server) stop() {
	s.stdin.Close()
	rest, err := io.ReadAll(s.answers)
	require.NoError(s.t, err)
	require.NoError(s.t, s.cmd.Wait(), "%s", &s.stderr)
	require.Empty(s.t, rest)
	require.Empty(s.t, s.stderr.String())
}

func (s *server) answer() string {
	line, err := s.answers.ReadString('\n')
	require.NoError(s.t, err, "%s", &s.stderr)
	return strings.TrimSuffix(line, "\n")
}

func (s *server) request(command string) string {
	_, err := io.WriteString(s.stdin, command+"\n")
	require.NoError(s.t, err)
	return s.answer()
}

func (s *server) dial() *net.TCPConn {
	c, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	require.NoError(s.t, c.SetDeadline(time.Now().Add(timeout)))
	s.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// each runs a test with every implementation. An implementation that does not support the workload must
// report it.
func each(t *testing.T, workload string, test func(t *testing.T, im implementation)) {
	for _, im := range implementations {
		t.Run(im.String(), func(t *testing.T) {
			for _, w := range im.lacks {
				if w == workload {
					im.requireUnsupported(t, workload)
					return
				}
			}
			test(t, im)
		})
	}
}

func (im implementation) requireUnsupported(t *testing.T, workload string) {
	cmd := im.command(t, "-workload", workload, "-upstream", "127.0.0.1:1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.True(t, strings.HasPrefix(stderr.String(), "unsupported: "), "%s", &stderr)
}
