// Package recipes_test builds and starts the programs of docs/recipes.md and talks to them as clients do.
package recipes_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// programs is the directory that the programs are built in.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "evnet-recipes"); err != nil {
		panic(err)
	}
	evtest.Concurrently(16) // parallel tests wait most of the time
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programs)
		os.Exit(code)
	}))
}

var (
	buildMu sync.Mutex
	built   = map[string]error{}
)

// build builds a program once, with the race detector if the tests have it, and returns its path.
func build(t *testing.T, name string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	err, done := built[name]
	if !done {
		err = goBuild(name)
		built[name] = err
	}
	require.NoError(t, err)
	path := filepath.Join(programs, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	return path
}

func goBuild(name string) error {
	// The go command notes which files a test reads: a cached result depends on the sources then.
	_ = filepath.WalkDir(filepath.Join("..", ".."), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ".git" {
			return fs.SkipDir
		}
		return err
	})
	args := []string{"build", "-buildvcs=false", "-ldflags=-s -w", "-o", programs + string(filepath.Separator)}
	info, _ := debug.ReadBuildInfo()
	if info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	command := exec.Command("go", append(args, "./"+name)...)
	command.Env = append(os.Environ(), "GOGC=off", "GOMEMLIMIT=512MiB") // less work for the compiler
	if printed, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./%s: %w\n%s", name, err, printed)
	}
	return nil
}

// program returns the command of a recipe's program. It is killed at the end of the test.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := build(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), evtest.Patience)
	t.Cleanup(cancel)
	p := exec.CommandContext(ctx, path, args...)
	p.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // otherwise each race build takes a second to exit
	return p
}

// running is a started program.
type running struct {
	t       *testing.T
	command *exec.Cmd
	output  *bufio.Reader // standard output and standard error
	address string        // that it listens on
}

// start starts a program that is given -addr 127.0.0.1:0 and further flags. It returns once the program has printed
// "listening on ADDRESS", which must be its first line.
func start(t *testing.T, name string, args ...string) *running {
	t.Helper()
	r := launch(t, name, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	r.waitForAddress()
	return r
}

// waitForAddress reads the first line that a server prints, and returns what follows the address in it.
func (r *running) waitForAddress() (rest string) {
	r.t.Helper()
	line, ok := strings.CutPrefix(r.line(), "listening on ")
	require.True(r.t, ok, "the first line is not the address: %q", line)
	r.address, rest, _ = strings.Cut(line, " ")
	return rest
}

// launch starts a program, which prints what it likes.
func launch(t *testing.T, name string, args ...string) *running {
	t.Helper()
	return launchCommand(t, program(t, name, args...))
}

// launchCommand starts the command of a program.
func launchCommand(t *testing.T, p *exec.Cmd) *running {
	t.Helper()
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Wait() }) // after the context has ended it
	return &running{t: t, command: p, output: bufio.NewReader(output)}
}

// line waits for the next line that the program prints.
func (r *running) line() string {
	r.t.Helper()
	line, err := r.output.ReadString('\n')
	require.NoError(r.t, err, "after %q", line)
	return strings.TrimSuffix(line, "\n")
}

// end waits for the end of the program and returns its exit code and what it prints until then.
func (r *running) end() (code int, rest string) {
	r.t.Helper()
	printed, err := io.ReadAll(r.output)
	require.NoError(r.t, err)
	_ = r.command.Wait()
	return r.command.ProcessState.ExitCode(), string(printed)
}

// stop interrupts the program and checks that it exits with 0. It returns what the program prints until then.
func (r *running) stop() (rest string) {
	r.t.Helper()
	if runtime.GOOS == "windows" {
		_ = r.command.Process.Kill()
		r.t.Skip("Windows has no signals")
	}
	require.NoError(r.t, r.command.Process.Signal(os.Interrupt))
	code, rest := r.end()
	assert.Zero(r.t, code, rest)
	return rest
}

// dial connects to the program. The connection is closed at the end of the test, and has a deadline.
func (r *running) dial() net.Conn {
	r.t.Helper()
	return dial(r.t, r.address)
}

// dial connects to an address, as running.dial does.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(evtest.Patience)))
	return c
}

// send writes text to a connection.
func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

// receive reads exactly the text that is expected.
func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	require.NoError(t, err, "after %q", got[:n])
	require.Equal(t, want, string(got))
}

// receiveEnd checks that nothing more is received before the end of the stream. A reset is an end.
func receiveEnd(t *testing.T, c net.Conn) {
	t.Helper()
	rest, err := io.ReadAll(c)
	assert.Empty(t, string(rest))
	if err != nil {
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

// client runs a program that is not part of the library, with an input, and returns what it prints. It skips the test
// if the program is not installed.
func client(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	command := evtest.Command(t, name, args...)
	command.Stdin = strings.NewReader(input)
	printed, err := command.CombinedOutput()
	require.NoError(t, err, "%s\n%s", name, printed)
	return string(printed)
}
