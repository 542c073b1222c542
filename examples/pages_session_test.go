//go:build unix

package examples_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The sessions of the pages. A block marked console shows a terminal: commands after "$ ", each followed by its output,
// and ^C where the user interrupts it. The console blocks under one heading run together, as several terminals:
//
//   - The test starts the commands in order. If a command is interrupted later, the test waits for its first line,
//     otherwise until the command exits.
//   - Then the test reads the rest of the output of the remaining commands and interrupts each, in order.
//
// The comparison ignores ports from 32768 on and seconds with a fraction. In a block marked "console any order" it also
// ignores the order of the lines of one command.

// typed is one command of a terminal.
type typed struct {
	command      string
	before, rest []string // its output before and after ^C
	interrupted  bool
}

// session returns the commands of a block with their output.
func (b block) session(t *testing.T) (all []typed) {
	t.Helper()
	for _, line := range b.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, typed{command: command})
			continue
		}
		require.NotEmpty(t, all, "a session must begin with a command")
		last := &all[len(all)-1]
		switch {
		case line == "^C":
			last.interrupted = true
		case last.interrupted:
			last.rest = append(last.rest, line)
		default:
			last.before = append(last.before, line)
		}
	}
	return all
}

// stage is the environment of a session: a separate directory, and a go command that runs only the examples.
type stage struct {
	dir string
	env []string
}

// goCommand replaces the go command. The programs are built already, and an interrupt must reach the program itself, not
// only the process of a real go run.
const goCommand = `#!/bin/sh
verb=$1; shift
if [ "$verb" = build ]; then out=$2; shift 2; fi
case $1 in .) name=$(basename "$PWD");; *) name=$(basename "$1");; esac
shift
case $verb in
run) exec "$PROGRAMS/$name" "$@";;
build) exec cp "$PROGRAMS/$name" "$out";;
esac
`

func newStage(t *testing.T, built string) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "evnet") // t.TempDir has a path that is too long for the sockets of the pages
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(goCommand), 0o755))
	env := append(os.Environ(), "PROGRAMS="+built, "PATH="+bin+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
	return &stage{dir, env}
}

// playing is a command that is still running.
type playing struct {
	typed
	process *exec.Cmd
	output  *bufio.Reader
	printed []string
}

// start runs a command with a shell in its own process group, as at a terminal.
func (s *stage) start(t *testing.T, c typed) *playing {
	t.Helper()
	p := &playing{typed: c, process: exec.CommandContext(t.Context(), "sh", "-c", c.command)}
	p.process.Dir, p.process.Env = s.dir, s.env
	p.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.process.Cancel = func() error { return syscall.Kill(-p.process.Process.Pid, syscall.SIGKILL) }
	output, input, err := os.Pipe() // standard output and standard error as one stream
	require.NoError(t, err)
	p.process.Stdout, p.process.Stderr = input, input
	require.NoError(t, p.process.Start())
	_ = input.Close()
	_ = output.SetReadDeadline(time.Now().Add(patience))
	t.Cleanup(func() {
		_ = p.process.Cancel()
		_ = p.process.Wait()
		_ = output.Close()
	})
	p.output = bufio.NewReader(output)
	return p
}

// read waits until the command has printed that many lines, or has exited.
func (p *playing) read(t *testing.T, lines int) {
	t.Helper()
	for len(p.printed) < lines {
		line, err := p.output.ReadString('\n')
		if line != "" {
			p.printed = append(p.printed, strings.TrimRight(line, "\r\n"))
		}
		if err == io.EOF {
			return
		}
		require.NoError(t, err, "%s: after %q", p.command, p.printed)
	}
}

// finish interrupts the command if the page does, waits until it exits, and compares its output.
func (p *playing) finish(t *testing.T, anyOrder bool) {
	t.Helper()
	if p.interrupted {
		p.read(t, len(p.before))
		require.NoError(t, syscall.Kill(-p.process.Process.Pid, syscall.SIGINT))
	}
	p.read(t, 1<<30)
	_ = p.process.Wait()
	if strings.Contains(strings.Join(p.printed, "\n"), "address already in use") {
		t.Skip("another program uses the address of the page, and a separate network is not available")
	}
	want, got := plain(append(p.before, p.rest...)), plain(p.printed)
	if anyOrder {
		slices.Sort(want)
		slices.Sort(got)
	}
	assert.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), "$ %s", p.command)
}

var (
	ephemeral = regexp.MustCompile(`\b(3[2-9]\d{3}|[4-6]\d{4})\b`)
	seconds   = regexp.MustCompile(` *\b\d+\.\ds\b`)
)

// plain removes what differs in each run, and the blank lines at the end, which the page has for its layout.
func plain(lines []string) []string {
	var all []string
	for _, line := range lines {
		line = strings.TrimRight(ephemeral.ReplaceAllString(line, "PORT"), " \r")
		all = append(all, seconds.ReplaceAllString(line, " SECONDS"))
	}
	for len(all) > 0 && all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

// TestPagesPlayed runs the sessions of all pages. Where Linux allows it, they run in a separate network, in which all ports
// are free.
func TestPagesPlayed(t *testing.T) {
	t.Parallel()
	built := os.Getenv("EVNET_PAGES")
	if built == "" {
		require.NoError(t, build())
		if runtime.GOOS == "linux" && playElsewhere(t) {
			return
		}
		built = programs
	}
	for _, p := range pages(t) { // each page uses different ports
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var blocks []block
			for i, b := range p.blocks {
				if session, _ := b.console(); session {
					blocks = append(blocks, b)
				}
				if len(blocks) == 0 || i+1 < len(p.blocks) && p.blocks[i+1].section == b.section {
					continue
				}
				t.Run(strings.TrimLeft(b.section, "# "), func(t *testing.T) { newStage(t, built).play(t, blocks) })
				blocks = nil
			}
		})
	}
}

func (s *stage) play(t *testing.T, blocks []block) {
	type waiting struct {
		*playing
		anyOrder bool
	}
	var remaining []waiting
	for _, b := range blocks {
		_, anyOrder := b.console()
		for _, c := range b.session(t) {
			for word, program := range map[string]string{"nc ": "nc", "systemd-socket-activate ": "systemd-socket-activate"} {
				if strings.Contains(c.command, word) {
					needs(t, program)
				}
			}
			p := s.start(t, c)
			if c.interrupted {
				p.read(t, 1)
				remaining = append(remaining, waiting{p, anyOrder})
			} else {
				p.finish(t, anyOrder)
			}
		}
	}
	for _, p := range remaining {
		p.finish(t, p.anyOrder)
	}
}

// needs skips the test if a program is missing. In CI nc must not be missing.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("EVNET_CI") != "" && program == "nc" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// playElsewhere runs the test in a process with a separate network. It returns false if that is not possible.
func playElsewhere(t *testing.T) bool {
	t.Helper()
	child := exec.CommandContext(t.Context(), "unshare", "--net", "--map-root-user",
		"sh", "-c", `ip link set lo up || exit 77; exec "$0" "$@"`, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "EVNET_PAGES="+programs)
	out, err := child.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "=== RUN") {
		t.Logf("no separate network, using the host network: %v: %s", err, out)
		return false
	}
	t.Logf("%s", out)
	require.NoError(t, err)
	return true
}
