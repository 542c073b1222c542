package examples_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// passingOn starts the example as systemd would, which knows the number of the process it becomes.
func passingOn(t *testing.T, env []string, files ...*os.File) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no descriptors are passed on there")
	}
	plain := program(t, "activation", "-addr", "127.0.0.1:0")
	cmd := program(t, "activation")
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `LISTEN_PID=${LISTEN_PID-$$} exec "$0" "$@"`, plain.Path}, plain.Args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = files
	return cmd
}

// answers reads what is said once the server listens, and has each address echo.
func answers(t *testing.T, cmd *exec.Cmd, count int) (said []string) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	for range count {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		said = append(said, strings.TrimSpace(line))
		at := strings.Fields(line)
		c, err := net.Dial(at[2], at[3])
		require.NoError(t, err)
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "hello")
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
		_ = c.Close()
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	rest, _ := io.ReadAll(lines)
	assert.Equal(t, "closed\n", string(rest))
	require.NoError(t, cmd.Wait())
	return said
}

func TestActivation(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	unix, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer unix.Close()
	first, err := tcp.(*net.TCPListener).File()
	require.NoError(t, err)
	defer first.Close()
	second, err := unix.(*net.UnixListener).File()
	require.NoError(t, err)
	defer second.Close()

	said := answers(t, passingOn(t, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=web:local"}, first, second), 2)
	assert.ElementsMatch(t, []string{"listening on tcp " + tcp.Addr().String(), "listening on unix " + unix.Addr().String()}, said)
	_, err = os.Stat(filepath.Join(dir, "s"))
	assert.NoError(t, err, "the file is whose listener it was")

	// What is meant for another process is left alone, and so is nothing.
	said = answers(t, passingOn(t, []string{"LISTEN_FDS=1", "LISTEN_PID=1"}, first), 1)
	assert.NotContains(t, said[0], tcp.Addr().String())
	answers(t, passingOn(t, nil), 1)

	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	for env, want := range map[string]string{
		"LISTEN_FDS=two": `LISTEN_FDS is "two"`,
		"LISTEN_FDS=0":   `LISTEN_FDS is "0"`,
		"LISTEN_FDS=1":   "descriptor 3 (unknown) of LISTEN_FDS is no listener",
	} {
		printed, err := passingOn(t, []string{env}, null).CombinedOutput()
		assert.Error(t, err, env)
		assert.Contains(t, string(printed), want)
	}
}
