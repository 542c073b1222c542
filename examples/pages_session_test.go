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

// The sessions of the pages. A block marked console is what a terminal shows: commands after "$ ", each with what it
// prints, and ^C where the user interrupts it. The console blocks under one heading are played together, as terminals
// one beside the other: each in its turn, where a command that is to be interrupted has its turn until it has printed
// its first line, and any other until it has ended. Then the rest is waited for and each is interrupted, in order.
//
// Two things need not be as the page shows them: ports from 32768 on, and seconds with a fraction. Where the block is
// marked "console any order", neither need the order of the lines of one command.

// typed is one command of a terminal.
type typed struct {
	command      string
	before, rest []string // what it prints, before and after ^C
	interrupted  bool
}

// session is what a terminal shows.
func (b block) session(t *testing.T) (all []typed) {
	t.Helper()
	for _, line := range b.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, typed{command: command})
			continue
		}
		require.NotEmpty(t, all, "a session begins with a command")
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

// stage is where sessions are played: a directory of their own, with a go command that knows the examples alone.
type stage struct {
	dir string
	env []string
}

// The programs are built already; and those that go run starts in truth would not hear of an interrupt that is sent to
// them alone.
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
	dir, err := os.MkdirTemp("", "evnet") // a test's own has a long path, and the pages have sockets in it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(goCommand), 0o755))
	env := append(os.Environ(), "PROGRAMS="+built, "PATH="+bin+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
	return &stage{dir, env}
}

// playing is a command that has not ended yet.
type playing struct {
	typed
	process *exec.Cmd
	output  *bufio.Reader
	printed []string
}

// start runs a command as a shell does, in a process group of its own, as at a terminal.
func (s *stage) start(t *testing.T, c typed) *playing {
	t.Helper()
	p := &playing{typed: c, process: exec.CommandContext(t.Context(), "sh", "-c", c.command)}
	p.process.Dir, p.process.Env = s.dir, s.env
	p.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.process.Cancel = func() error { return syscall.Kill(-p.process.Process.Pid, syscall.SIGKILL) }
	output, input, err := os.Pipe() // both outputs in one, as they come
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

// read waits until so many lines were printed, or all if there are fewer.
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

// finish waits for the end and compares all that was printed.
func (p *playing) finish(t *testing.T, anyOrder bool) {
	t.Helper()
	if p.interrupted {
		p.read(t, len(p.before))
		require.NoError(t, syscall.Kill(-p.process.Process.Pid, syscall.SIGINT))
	}
	p.read(t, 1<<30)
	_ = p.process.Wait()
	if strings.Contains(strings.Join(p.printed, "\n"), "address already in use") {
		t.Skip("somebody else listens at the address of the page, and this system makes no network for tests")
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

// plain leaves out what is different each time, and blank lines at the end, which the page has for its looks.
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

// TestPagesPlayed plays the sessions of all pages, in a network of their own where the system makes one: there each port
// is free.
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
	for _, p := range pages(t) { // each has ports of its own
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var scene []block
			for i, b := range p.blocks {
				if session, _ := b.console(); session {
					scene = append(scene, b)
				}
				if len(scene) == 0 || i+1 < len(p.blocks) && p.blocks[i+1].section == b.section {
					continue
				}
				t.Run(strings.TrimLeft(b.section, "# "), func(t *testing.T) { newStage(t, built).play(t, scene) })
				scene = nil
			}
		})
	}
}

func (s *stage) play(t *testing.T, scene []block) {
	type waiting struct {
		*playing
		anyOrder bool
	}
	var going []waiting
	for _, b := range scene {
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
				going = append(going, waiting{p, anyOrder})
			} else {
				p.finish(t, anyOrder)
			}
		}
	}
	for _, p := range going {
		p.finish(t, p.anyOrder)
	}
}

// needs skips the test where a program is missing, unless nothing may be.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("EVNET_CI") != "" && program == "nc" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// playElsewhere runs the test in a process with a network of its own, and reports whether there could be one.
func playElsewhere(t *testing.T) bool {
	t.Helper()
	child := exec.CommandContext(t.Context(), "unshare", "--net", "--map-root-user",
		"sh", "-c", `ip link set lo up || exit 77; exec "$0" "$@"`, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "EVNET_PAGES="+programs)
	out, err := child.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "=== RUN") {
		t.Logf("playing in the network of this machine: %v: %s", err, out)
		return false
	}
	t.Logf("%s", out)
	require.NoError(t, err)
	return true
}
