package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// terminal is one terminal of a page. Its blocks begin with ```console and its number.
type terminal struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	said    *bufio.Reader
}

// volatile matches what differs in each run: times of day and durations.
var volatile = regexp.MustCompile(`\d\d:\d\d:\d\d|\d+(\.\d+)?(ms|s)\b`)

// play follows the page of a program in order: it runs the commands, types the lines, presses Ctrl-C, and compares every
// printed line. It replaces the page's port by a free one.
func play(t *testing.T, name, port string) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal for Ctrl-C")
	}
	page, err := os.ReadFile(filepath.Join(name, "README.md"))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(page), port, freePort(t))
	if _, err := exec.LookPath("nc"); err != nil && strings.Contains(text, "\n$ nc ") {
		if os.Getenv("EVNET_CI") != "" {
			t.Fatal("nc is missing")
		}
		t.Skip("nc is missing")
	}
	dir := t.TempDir() // the programs write their files here
	terminals := map[string]*terminal{}
	number := "" // of the block's terminal
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "```"); ok {
			_, number, _ = strings.Cut(rest, "console ")
			continue
		}
		if number == "" {
			continue
		}
		at := terminals[number]
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			if at != nil {
				assert.Empty(t, at.finish(t), "before %s", command)
			}
			terminals[number] = runCommand(t, dir, name, command)
			continue
		}
		require.NotNil(t, at, "terminal %s has no command before %q", number, line)
		typed, types := strings.CutPrefix(line, "> ")
		switch {
		case line == "^C":
			require.NoError(t, at.process.Process.Signal(os.Interrupt))
		case types:
			_, err := fmt.Fprintln(at.stdin, typed)
			require.NoError(t, err)
		default:
			require.Equal(t, volatile.ReplaceAllString(line, "T"), volatile.ReplaceAllString(at.line(t), "T"), "terminal %s", number)
		}
	}
	require.NotEmpty(t, terminals)
	for number, at := range terminals {
		assert.Empty(t, at.finish(t), "terminal %s", number)
	}
}

// runCommand starts a command line of a page: the program, or a shell command.
func runCommand(t *testing.T, dir, name, command string) *terminal {
	t.Helper()
	if arguments, ok := strings.CutPrefix(command, "go run ./examples/"+name+" "); ok {
		p := program(t, name, strings.Fields(arguments)...)
		p.Dir = dir
		return begin(t, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p := exec.CommandContext(ctx, "sh", "-c", command)
	p.Dir = dir
	return begin(t, p)
}

// begin starts a process that ends with the test. Its standard output and standard error are read as one stream.
func begin(t *testing.T, p *exec.Cmd) *terminal {
	t.Helper()
	stdin, err := p.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return &terminal{p, stdin, bufio.NewReader(stdout)}
}

// line returns the next printed line.
func (at *terminal) line(t *testing.T) string {
	t.Helper()
	line, err := at.said.ReadString('\n')
	require.NoError(t, err, line)
	return strings.TrimSuffix(line, "\n")
}

// expect compares the next printed lines with these.
func (at *terminal) expect(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		require.Equal(t, want, at.line(t))
	}
}

// finish closes the standard input, waits for the process to exit, and returns the remaining output.
func (at *terminal) finish(t *testing.T) string {
	t.Helper()
	_ = at.stdin.Close()
	rest, err := io.ReadAll(at.said)
	require.NoError(t, err)
	_ = at.process.Wait()
	return string(rest)
}

// nextPort is the first port that no test of this process has taken. Processes with consecutive ids begin 16 ports apart.
var nextPort atomic.Int32

func init() { nextPort.Store(20000 + int32(os.Getpid()%700)*16) }

// freePort returns a free port. It is below the ephemeral ports, which the kernel assigns, and no other test takes it. So it
// stays free until the test listens on it.
func freePort(t testing.TB) string {
	t.Helper()
	for {
		port := nextPort.Add(1) - 1
		if port >= 32000 {
			t.Fatal("no free port")
		}
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = ln.Close()
			return fmt.Sprint(port)
		}
	}
}
