//go:build unix

package recipes_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// restarting is a program that replaces its process.
type restarting struct {
	*running
	process int // the newest
}

// startRestarting starts hot-restart at path in a process group of its own, because the processes that replace the first
// one have to end with the test too.
func startRestarting(t *testing.T, path string, args ...string) *restarting {
	t.Helper()
	command := program(t, "hot-restart", append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	if path != "" {
		command.Path = path
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r := &restarting{running: launchCommand(t, command)}
	t.Cleanup(func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	r.process = processOf(t, r.waitForAddress())
	require.Equal(t, command.Process.Pid, r.process)
	return r
}

// processOf returns the number at the end of "in process N".
func processOf(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text[strings.LastIndexByte(text, ' ')+1:])
	require.NoError(t, err, text)
	return n
}

func (r *restarting) signal(s syscall.Signal) {
	r.t.Helper()
	require.NoError(r.t, syscall.Kill(r.process, s))
}

// restart replaces the process, and returns the number of the old one. It does not wait for the old one to end.
func (r *restarting) restart() (old int) {
	r.t.Helper()
	old = r.process
	r.signal(syscall.SIGHUP)
	for {
		line := r.line()
		if text, ok := strings.CutPrefix(line, "listening on "+r.address+" "); ok {
			r.process = processOf(r.t, text)
			require.NotEqual(r.t, old, r.process)
			return old
		}
		require.Regexp(r.t, `^process \d+ closed$`, line)
	}
}

// answerOf sends a line and returns the number of the process that answers.
func answerOf(c net.Conn, in *bufio.Reader) (process string, err error) {
	if _, err = io.WriteString(c, "hello\n"); err != nil {
		return "", err
	}
	line, err := in.ReadString('\n')
	process, _, _ = strings.Cut(strings.TrimPrefix(line, "process "), ":")
	return process, err
}

// While processes replace each other, clients connect all the time, and each gets its answer.
func TestHotRestart_RefusesNoConnection(t *testing.T) {
	r := startRestarting(t, "")
	done := make(chan struct{})
	var mu sync.Mutex
	var clients sync.WaitGroup
	answered := map[string]int{} // by each process
	var failures []error
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				process, err := ask(r.address)
				mu.Lock()
				if err != nil {
					failures = append(failures, err)
				}
				answered[process]++
				mu.Unlock()
			}
		})
	}
	awaitAnswerBy := func(process int) {
		for {
			mu.Lock()
			n := answered[strconv.Itoa(process)]
			mu.Unlock()
			if n > 0 || t.Context().Err() != nil {
				return
			}
			_, _ = ask(r.address)
		}
	}
	restarts := evtest.Pick(10, 50)
	for range restarts {
		awaitAnswerBy(r.process)
		r.restart()
	}
	awaitAnswerBy(r.process)
	close(done)
	clients.Wait()
	assert.Empty(t, failures)
	assert.Len(t, answered, restarts+1)
	r.signal(syscall.SIGTERM)
	_, rest := r.end()
	assert.Contains(t, rest, "process "+strconv.Itoa(r.process)+" closed\n")
}

// ask makes one connection, which gets its answer and the end.
func ask(address string) (process string, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(evtest.Patience))
	in := bufio.NewReader(c)
	if process, err = answerOf(c, in); err != nil {
		return "", err
	}
	if err = evtest.CloseWrite(c); err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	return process, err
}

// An open connection gets one more answer by the old process, which ends after it.
func TestHotRestart_OpenConnectionsContinue(t *testing.T) {
	r := startRestarting(t, "", "-grace", "1h")
	c := r.dial()
	in := bufio.NewReader(c)
	first, err := answerOf(c, in)
	require.NoError(t, err)
	old := r.restart()
	assert.Equal(t, strconv.Itoa(old), first)

	// Once the old process accepts nothing more, which is a moment after its replacement is ready, its answer is the last.
	for err == nil {
		var by string
		if by, err = answerOf(c, in); err == nil {
			assert.Equal(t, first, by)
		}
	}
	_ = c.Close()
	assert.Equal(t, "process "+first+" closed", r.line())
	process, err := ask(r.address)
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(r.process), process)
	r.signal(syscall.SIGINT)
	_, rest := r.end()
	assert.Equal(t, "process "+process+" closed\n", rest)
}

// Idle connections end when -grace is over.
func TestHotRestart_GraceIsLimited(t *testing.T) {
	r := startRestarting(t, "", "-grace", "1ms")
	c := r.dial()
	_, err := answerOf(c, bufio.NewReader(c))
	require.NoError(t, err)
	old := r.restart()
	receiveEnd(t, c)
	_ = c.Close()
	assert.Equal(t, "process "+strconv.Itoa(old)+" closed", r.line())
	r.signal(syscall.SIGINT)
	_, rest := r.end()
	assert.Equal(t, "process "+strconv.Itoa(r.process)+" closed\n", rest)
}

// If the new process fails, the old one continues.
func TestHotRestart_NewProcessFails(t *testing.T) {
	built := build(t, "hot-restart")
	path := filepath.Join(t.TempDir(), "hot-restart")
	require.NoError(t, os.Link(built, path))
	r := startRestarting(t, path)
	replace := func(script string) { // as an installation does, by renaming
		require.NoError(t, os.WriteFile(path+".new", []byte(script), 0o700))
		require.NoError(t, os.Rename(path+".new", path))
	}
	replace("#!/bin/sh\nexit 1\n")
	r.signal(syscall.SIGHUP)
	assert.Equal(t, "no restart: the new process does not become ready: EOF", r.line())
	replace("")
	r.signal(syscall.SIGHUP)
	assert.Contains(t, r.line(), "no restart: fork/exec "+path)
	process, err := ask(r.address)
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(r.process), process)

	replace("#!/bin/sh\nexec " + built + " \"$@\"\n")
	r.restart()
	r.signal(syscall.SIGINT)
	_, rest := r.end()
	assert.Contains(t, rest, "process "+strconv.Itoa(r.process)+" closed\n")
}

func TestHotRestart_WithNetcat(t *testing.T) {
	evtest.RequireProgram(t, "nc")
	r := startRestarting(t, "")
	host, port, _ := net.SplitHostPort(r.address)
	for range 2 {
		assert.Equal(t, "process "+strconv.Itoa(r.process)+": hello\n", client(t, "hello\n", "nc", "-N", host, port))
		old := r.restart()
		assert.Equal(t, "process "+strconv.Itoa(old)+" closed", r.line())
	}
	r.signal(syscall.SIGINT)
	_, rest := r.end()
	assert.Equal(t, "process "+strconv.Itoa(r.process)+" closed\n", rest)
}
