package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a running server or load generator. It exchanges lines with the runner through its
// standard input and output.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	lines   chan string // lines of its output; closed at the end
	stderr  tail
	waitErr error // the error of Wait; valid once lines is closed
}

// unsupportedStatus is the exit status of a server that does not support the workload.
const unsupportedStatus = 3

// start starts a program on the processor cpu, or on any if cpu is negative.
func start(name string, cpu int, argv []string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string, 16)}
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startPinned(p.cmd, cpu); err != nil {
		return nil, fmt.Errorf("%s: start: %w", name, err)
	}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			p.lines <- lines.Text()
		}
		p.waitErr = p.cmd.Wait()
		close(p.lines)
	}()
	return p, nil
}

// startPinned starts cmd on one processor. A child process inherits the affinity of the thread that
// forks it.
func startPinned(cmd *exec.Cmd, cpu int) error {
	if cpu < 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := cmd.Start()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}

// line waits for the next line of the output and returns it.
func (p *process) line(timeout time.Duration) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", p.exitError()
		}
		return line, nil
	case <-time.After(timeout):
		return "", fmt.Errorf("%s: no output within %v", p.name, timeout)
	}
}

// expect waits for the next line, which must begin with prefix, and returns the rest of it.
func (p *process) expect(prefix string, timeout time.Duration) (string, error) {
	line, err := p.line(timeout)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return "", fmt.Errorf("%s: got the line %q, want the prefix %q", p.name, line, prefix)
	}
	return rest, nil
}

// send writes a line to the input of the process.
func (p *process) send(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return fmt.Errorf("%s: write to standard input: %w: %s", p.name, err, p.stderr.String())
	}
	return nil
}

// An unsupported error is the reason of a server that does not support the workload.
type unsupported string

func (u unsupported) Error() string { return "unsupported: " + string(u) }

// exitError describes the exit of the process, with the end of its error output.
func (p *process) exitError() error {
	output := strings.TrimSpace(p.stderr.String())
	var status *exec.ExitError
	if errors.As(p.waitErr, &status) && status.ExitCode() == unsupportedStatus {
		return unsupported(strings.TrimPrefix(output, "unsupported: "))
	}
	if p.waitErr == nil {
		return fmt.Errorf("%s: exited too early: %s", p.name, output)
	}
	return fmt.Errorf("%s: exited: %w: %s", p.name, p.waitErr, output)
}

// stop closes the input of the process, which makes it exit. A process that does not exit within 5
// seconds is killed.
func (p *process) stop() error {
	_ = p.stdin.Close()
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	for range p.lines {
	}
	if !kill.Stop() {
		return fmt.Errorf("%s: killed, because it did not exit at the end of its input", p.name)
	}
	return nil
}

// A tail is a writer that keeps the last tailSize bytes.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const tailSize = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - tailSize; over > 0 {
		t.last = bytes.Clone(t.last[over:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
