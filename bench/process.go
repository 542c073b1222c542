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

// A process is a server or the load generator, spoken to by lines.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // closed at the end of its output
	stderr tail
	exited error // what Wait said; valid once lines is closed
}

// With this status a server says that it does not do the workload.
const unsupportedStatus = 3

// start starts a program on one processor, or on any when cpu is negative. A child takes the
// affinity of the thread that forks it.
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
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			p.lines <- lines.Text()
		}
		p.exited = p.cmd.Wait()
		close(p.lines)
	}()
	return p, nil
}

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

// line waits for the next line of its output.
func (p *process) line(patience time.Duration) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", p.died()
		}
		return line, nil
	case <-time.After(patience):
		return "", fmt.Errorf("%s said nothing for %v", p.name, patience)
	}
}

// expect waits for a line that begins so and returns the rest of it.
func (p *process) expect(prefix string, patience time.Duration) (string, error) {
	line, err := p.line(patience)
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return "", fmt.Errorf("%s said %q, not %q", p.name, line, prefix)
	}
	return rest, nil
}

// say writes a line to its input.
func (p *process) say(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return fmt.Errorf("%s takes no orders: %w: %s", p.name, err, p.stderr.String())
	}
	return nil
}

// An unsupported error is a server's word that it does not do the workload.
type unsupported string

func (u unsupported) Error() string { return "unsupported: " + string(u) }

func (p *process) died() error {
	said := strings.TrimSpace(p.stderr.String())
	var status *exec.ExitError
	if errors.As(p.exited, &status) && status.ExitCode() == unsupportedStatus {
		return unsupported(strings.TrimPrefix(said, "unsupported: "))
	}
	if p.exited == nil {
		return fmt.Errorf("%s has ended too soon: %s", p.name, said)
	}
	return fmt.Errorf("%s has ended: %w: %s", p.name, p.exited, said)
}

// stop ends its input, which ends the process, and kills it when it does not.
func (p *process) stop() error {
	_ = p.stdin.Close()
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	for range p.lines {
	}
	if !kill.Stop() {
		return fmt.Errorf("%s did not end with its input and was killed", p.name)
	}
	return nil
}

// tail keeps the last bytes written to it.
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
