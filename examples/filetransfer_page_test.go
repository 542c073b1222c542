package examples_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The commands of the page run as written, except with a free port, and print what the page shows.
func TestFileTransferPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("filetransfer/README.md")
	require.NoError(t, err)
	var receive, send []string
	for line := range strings.Lines(string(page)) {
		if args, ok := strings.CutPrefix(line, "go run . -listen 127.0.0.1:9000 "); ok {
			receive = strings.Fields(args)
		}
		if args, ok := strings.CutPrefix(line, "go run . -connect 127.0.0.1:9000 "); ok {
			send = strings.Fields(args)
		}
	}
	require.Equal(t, []string{"-dir", "incoming"}, receive)
	require.Equal(t, []string{"big.bin"}, send)
	path, sum := randomFile(t, "big.bin", 500_000)
	work := filepath.Dir(path)
	require.NoError(t, os.Mkdir(filepath.Join(work, "incoming"), 0o700))

	r := &transferReceiver{t: t, Cmd: transferProgram(t, append([]string{"-listen", "127.0.0.1:0"}, receive...)...)}
	r.Dir = work
	r.start()
	s := transferProgram(t, append([]string{"-connect", r.address}, send...)...)
	s.Dir = work
	printed, err := s.Output()
	require.NoError(t, err)
	assert.Regexp(t, `^sent "big\.bin": 500\.0 kB in .*, SHA-256 `+sum, string(printed))
	assert.Regexp(t, `^receiving "big\.bin" \(500\.0 kB\) from 127\.0\.0\.1:\d+, starting at 0 B$`, r.line())
	assert.Equal(t, `received "big.bin": 500.0 kB, SHA-256 `+sum, r.line())
	assert.Equal(t, sum, sumOf(t, filepath.Join(work, "incoming", "big.bin")))

	_, _, help := transfer(t, "-h")
	for line := range strings.Lines(help) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			assert.Contains(t, string(page), "`-"+strings.Fields(name)[0]+"`", "the page does not document the flag")
		}
	}
}

var halfWay = regexp.MustCompile(`sending some\.bin +[1-9]\d?% +\|.*/s\)`)

// On a terminal the sender shows a bar.
func TestFileTransferOnATerminal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script, which creates a terminal, is not installed")
	}
	path, sum := randomFile(t, "some.bin", 32<<20)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	relay := newBadRelay(t, r.address, -4<<20)
	s := transferProgram(t, "-connect", relay.address, path)
	terminal := exec.CommandContext(t.Context(), "script", "-qec", `stty cols 80; exec "$PROGRAM" -connect "$TO" "$FILE"`, "/dev/null")
	terminal.Env = append(s.Env, "PROGRAM="+s.Path, "TO="+relay.address, "FILE="+path, "SHELL=/bin/sh")
	output, err := terminal.StdoutPipe()
	require.NoError(t, err)
	if err := terminal.Start(); err != nil {
		t.Skip("script does not run: ", err)
	}
	kill := time.AfterFunc(patience, func() { _ = terminal.Process.Kill() })
	defer kill.Stop()
	out, bar := bufio.NewReader(output), ""
	for ok := false; !ok; ok = halfWay.MatchString(bar) { // the transfer is paused until the bar has appeared
		bar, err = out.ReadString(']')
		require.NoError(t, err)
	}
	relay.resume <- struct{}{}
	rest, _ := io.ReadAll(out)
	_ = terminal.Wait()
	assert.Contains(t, string(rest), "SHA-256 "+sum)
}
