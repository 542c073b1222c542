//go:build unix

package examples_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// activated starts the example as systemd would, with LISTEN_PID set to the process's own ID: a shell sets the variable to its
// own ID and then replaces itself with the program.
func activated(t *testing.T, env []string, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := program(t, "activation", "-addr", "127.0.0.1:0")
	script := `LISTEN_PID=${LISTEN_PID-$$} exec "$0" "$@"`
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", script, cmd.Path}, cmd.Args[1:]...)
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} { // the test itself must not be activated
		require.Empty(t, os.Getenv(name))
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.ExtraFiles = files // from descriptor 3 on
	return cmd
}

// descriptor returns a copy of the descriptor of a listener or a conn, to be passed to the program.
func descriptor(t *testing.T, of any) *os.File {
	t.Helper()
	file, err := of.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// echoed sends data, ends its side, and expects the same data and the end from the server.
func echoed(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "hello")
	require.NoError(t, err)
	require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(got))
}

// Connections made before the program starts wait in the listener and are served. The same holds between a stop and a restart
// of the program.
func TestActivation(t *testing.T) {
	require.NoError(t, build()) // before the connections, whose deadlines do not allow for it
	tcp := listen(t, "tcp", "127.0.0.1:0")
	unix := listen(t, "unix", socketPath(t))
	for _, sig := range signals(t) {
		early := []net.Conn{dial(t, tcp.Addr()), dial(t, unix.Addr())}
		env := []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=web:local"}
		s := running(t, activated(t, env, descriptor(t, tcp), descriptor(t, unix)))
		assert.ElementsMatch(t, []string{
			"listening on tcp " + tcp.Addr().String() + " (web)",
			"listening on unix " + unix.Addr().String() + " (local)",
		}, strings.Split(strings.TrimSpace(s.lines(2)), "\n"))
		for _, c := range early {
			echoed(t, c)
		}
		echoed(t, dial(t, tcp.Addr()))
		open := dial(t, unix.Addr())
		_, err := open.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(open, make([]byte, 1))
		require.NoError(t, err)
		s.interrupt(sig, "closed\n")
		_, err = io.ReadAll(open)
		assert.NoError(t, err, "the connection ends in an orderly way")
		_, err = os.Stat(unix.Addr().String())
		assert.NoError(t, err, "the program does not remove the socket file of a passed listener")
	}
}

// Missing and empty names are printed as unknown.
func TestActivationNames(t *testing.T) {
	a, b := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	for _, c := range []struct{ env, first, second string }{
		{"LISTEN_FDNAMES=web:admin", "web", "admin"},
		{"LISTEN_FDNAMES=web", "web", "unknown"},
		{"LISTEN_FDNAMES=:admin:more", "unknown", "admin"},
		{"LISTEN_FDNAMES=", "unknown", "unknown"},
	} {
		s := running(t, activated(t, []string{"LISTEN_FDS=2", c.env}, descriptor(t, a), descriptor(t, b)))
		assert.ElementsMatch(t, []string{
			"listening on tcp " + a.Addr().String() + " (" + c.first + ")",
			"listening on tcp " + b.Addr().String() + " (" + c.second + ")",
		}, strings.Split(strings.TrimSpace(s.lines(2)), "\n"), c.env)
		s.interrupt(os.Interrupt, "closed\n")
	}
}

// The program ignores listeners that are for another process. Without listeners it opens its own.
func TestActivationOfNothing(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0")
	for _, env := range [][]string{
		nil,
		{"LISTEN_FDS="},
		{"LISTEN_FDS=1", "LISTEN_PID=1"},
		{"LISTEN_FDS=1", "LISTEN_PID="},
		{"LISTEN_FDS=many", "LISTEN_PID=" + strconv.Itoa(os.Getpid())},
	} {
		s := running(t, activated(t, env, descriptor(t, tcp)))
		address := s.after("listening on tcp ")
		assert.NotEqual(t, tcp.Addr().String(), address, env)
		to, err := net.ResolveTCPAddr("tcp", address)
		require.NoError(t, err, env)
		echoed(t, dial(t, to))
		s.interrupt(os.Interrupt, "closed\n")
	}
}

// A descriptor that is not a listener is reported with its number and its name, and the program exits.
func TestActivationOfJunk(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0")
	conn := dial(t, tcp.Addr())
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socketPath(t), Net: "unixgram"})
	require.NoError(t, err)
	defer datagrams.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	unbound, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	bare := os.NewFile(uintptr(unbound), "bare")
	defer bare.Close()
	good := descriptor(t, tcp)

	none := "does not accept connections"
	for _, c := range []struct {
		env   string
		files []*os.File
		want  []string
	}{
		{"LISTEN_FDS=two", []*os.File{good}, []string{`LISTEN_FDS: invalid number of listeners "two"`}},
		{"LISTEN_FDS=0", []*os.File{good}, []string{`LISTEN_FDS: invalid number of listeners "0"`}},
		{"LISTEN_FDS=-1", []*os.File{good}, []string{`LISTEN_FDS: invalid number of listeners "-1"`}},
		{"LISTEN_FDS=1.5", []*os.File{good}, []string{`LISTEN_FDS: invalid number of listeners "1.5"`}},
		{"LISTEN_FDS=99999999999999999999", []*os.File{good}, []string{`LISTEN_FDS: invalid number of listeners "99999999999999999999"`}},
		{"LISTEN_FDS=2", []*os.File{good}, []string{"descriptor 4 (unknown) is not a listener"}},
		// The runtime opens no descriptor 4 here, so the copy of 3 would get this number.
		{"GODEBUG=containermaxprocs=0,updatemaxprocs=0 LISTEN_FDS=2", []*os.File{good}, []string{"descriptor 4 (unknown) is not a listener"}},
		{"LISTEN_FDS=1000000", []*os.File{good}, []string{"LISTEN_FDS=1000000", "descriptor 4 (unknown)"}},
		{"LISTEN_FDS=1", nil, []string{"descriptor 3 (unknown) is not a listener"}},
		{"LISTEN_PID=me LISTEN_FDS=1", []*os.File{good}, []string{`LISTEN_PID: invalid process ID "me"`}},
		{"LISTEN_PID=-1 LISTEN_FDS=1", []*os.File{good}, []string{`LISTEN_PID: invalid process ID "-1"`}},
		{"LISTEN_FDS=1 LISTEN_FDNAMES=log", []*os.File{file}, []string{"descriptor 3 (log)", syscall.ENOTSOCK.Error()}},
		{"LISTEN_FDS=2", []*os.File{good, file}, []string{"descriptor 4 (unknown)", syscall.ENOTSOCK.Error()}},
		{"LISTEN_FDS=1", []*os.File{descriptor(t, conn)}, []string{"descriptor 3", none}},
		{"LISTEN_FDS=1", []*os.File{bare}, []string{"descriptor 3", none}},
		{"LISTEN_FDS=1", []*os.File{descriptor(t, udp)}, []string{"descriptor 3"}},
		{"LISTEN_FDS=1", []*os.File{descriptor(t, datagrams)}, []string{"descriptor 3"}},
	} {
		s := running(t, activated(t, strings.Fields(c.env), c.files...))
		code, printed := s.ends()
		assert.Equal(t, 1, code, c.env)
		assert.Equal(t, 1, strings.Count(printed, "\n"), printed)
		for _, want := range c.want {
			assert.Contains(t, printed, want, c.env)
		}
	}
}

// The test with systemd-socket-activate, if it is installed. It listens, starts the program at the first connection, and passes
// its listener.
func TestActivationBySystemd(t *testing.T) {
	needs(t, "systemd-socket-activate")
	path := socketPath(t)
	cmd := program(t, "activation")
	activate := exec.CommandContext(t.Context(), "systemd-socket-activate", "-l", path, "--fdname=local", cmd.Path)
	activate.Env = cmd.Env
	s := running(t, activate)
	for line := ""; !strings.Contains(line, "Listening on "+path); line = s.lines(1) { // it prints other lines too
	}
	c := dial(t, &net.UnixAddr{Name: path, Net: "unix"})
	for line := ""; line != "listening on unix "+path+" (local)\n"; line = s.lines(1) {
	}
	echoed(t, c)
	require.NoError(t, s.process.Process.Signal(syscall.SIGTERM)) // the program has replaced it in the same process
	code, rest := s.ends()
	assert.Zero(t, code)
	assert.Equal(t, "closed\n", rest)
}
