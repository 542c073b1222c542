package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The programs over a Unix socket. TestServerAndClientOverUnix has server and client.

func TestLessonOverUnix(t *testing.T) {
	path := socketPath(t)
	for range 2 { // the first run leaves no file that the second would fail on
		code, stdout, stderr := result(t, "lesson", "-unix", path)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		first, rest, _ := strings.Cut(stdout, "\n")
		assert.Equal(t, "Servidor escutando em "+path, first)
		connected, rest, _ := strings.Cut(rest, greeting)
		assert.ElementsMatch(t, []string{"Cliente conectado", "Cliente conectado ao servidor!"}, strings.Split(strings.TrimSpace(connected), "\n"))
		assert.Equal(t, "\nCliente desconectado\nDesconectado do servidor\n", rest)
		assert.NoFileExists(t, path)
	}
}

// The programs print an error for a path that cannot be created, is in use, or has no listener.
func TestUnixFails(t *testing.T) {
	path := socketPath(t)
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer ln.Close()
	for name, args := range map[string][]string{
		"lesson": {"-unix"}, "server": {"-unix"}, "lines": {"-network", "unix", "-addr"}, "activation": {"-network", "unix", "-addr"},
	} {
		for _, bad := range []string{path, path + "/none/s"} {
			code, stdout, stderr := result(t, name, append(args, bad)...)
			assert.Equal(t, 1, code, name)
			assert.Empty(t, stdout, name)
			assert.Contains(t, stderr, "listen unix "+bad, name)
		}
	}
	code, stdout, stderr := result(t, "client", "-unix", path+"2")
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "dial unix "+path+"2: ")
	assert.FileExists(t, path, "the file of another listener stays")
}

func TestLinesOverUnix(t *testing.T) {
	for _, sig := range signals(t) {
		path := socketPath(t)
		s := running(t, program(t, "lines", "-network", "unix", "-addr", path, "-max", "10"))
		assert.Equal(t, path, s.after("listening on "))
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, "one\n\nthree\r\n")
		require.NoError(t, err)
		answers := bufio.NewReader(c)
		for _, n := range []int{3, 0, 5} {
			answer, err := answers.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintln(n), answer)
		}
		_, err = io.WriteString(c, "much longer than ten bytes\n")
		require.NoError(t, err)
		rest, _ := io.ReadAll(answers)
		assert.Equal(t, "line too long: the limit is 10 bytes\n", string(rest))
		assert.Contains(t, s.lines(1), "too long")
		s.interrupt(sig, "closed\n")
		assert.NoFileExists(t, path)
	}
}

func TestActivationOverUnix(t *testing.T) {
	for _, sig := range signals(t) {
		path := socketPath(t)
		s := running(t, program(t, "activation", "-network", "unix", "-addr", path))
		assert.Equal(t, path, s.after("listening on unix "))
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, "hello")
		require.NoError(t, err)
		require.NoError(t, c.(*net.UnixConn).CloseWrite())
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
		s.interrupt(sig, "closed\n")
		_, err = os.Stat(path)
		assert.ErrorIs(t, err, os.ErrNotExist)
	}
}
