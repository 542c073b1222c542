//go:build unix

package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shortDir returns a directory whose path is short enough for a socket. The path of t.TempDir may be too long.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "listen")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// leaveStale leaves a socket file that no socket is bound to.
func leaveStale(t *testing.T, path string) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
}

// listenAt is Listen, with Close at the end of the test.
func listenAt(t *testing.T, network, address string, c Config) net.Listener {
	ln, err := Listen(t.Context(), network, address, c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func requireAccepts(t *testing.T, ln net.Listener, network, address string) {
	client, err := net.Dial(network, address)
	require.NoError(t, err)
	defer client.Close()
	server, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, server.Close())
}

func TestListen_TCP(t *testing.T) {
	for _, network := range []string{"tcp", "tcp4"} {
		ln := listenAt(t, network, "127.0.0.1:0", Config{SocketMode: 0o600})
		requireAccepts(t, ln, network, ln.Addr().String())
		_, err := Listen(t.Context(), network, ln.Addr().String(), Config{})
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
	}
}

func TestListen_CloseRemovesItsFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln := listenAt(t, "unix", path, Config{})
	requireAccepts(t, ln, "unix", path)
	require.NoError(t, ln.Close())
	assert.NoFileExists(t, path)
}

func TestListen_CloseKeepsAnotherFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	ln := listenAt(t, "unix", path, Config{})
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, ln.Close())
	assert.FileExists(t, path)
}

// A relative path is relative to the working directory at the time of Listen.
func TestListen_CloseInAnotherDirectory(t *testing.T) {
	dir := shortDir(t)
	t.Chdir(dir)
	ln := listenAt(t, "unix", "s", Config{})
	t.Chdir(t.TempDir())
	require.NoError(t, ln.Close())
	assert.NoFileExists(t, filepath.Join(dir, "s"))
}

func TestListen_ReplacesAStaleFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	leaveStale(t, path)
	requireAccepts(t, listenAt(t, "unix", path, Config{}), "unix", path)
}

func TestListen_KeepsAFileInUse(t *testing.T) {
	for name, create := range map[string]func(t *testing.T, path string){
		"a server": func(t *testing.T, path string) { listenAt(t, "unix", path, Config{}) },
		"a bound socket": func(t *testing.T, path string) {
			fd, err := unixSocket(syscall.SOCK_STREAM)
			require.NoError(t, err)
			t.Cleanup(func() { _ = syscall.Close(fd) })
			require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
		},
		"no socket": func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortDir(t), "s")
			create(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			_, err = Listen(t.Context(), "unix", path, Config{})
			assert.ErrorIs(t, err, syscall.EADDRINUSE)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			assert.True(t, os.SameFile(before, after))
		})
	}
}

func TestListen_SocketMode(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	listenAt(t, "unix", path, Config{SocketMode: 0o606})
	info, err := os.Lstat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o606), info.Mode().Perm())

	_, err = Listen(t.Context(), "unix", path+"2", Config{SocketMode: fs.ModeSetuid | 0o600})
	assert.ErrorIs(t, err, errSocketMode)
	assert.NoFileExists(t, path+"2")
}

func TestListen_AbstractName(t *testing.T) {
	const name = "@evnet listen test"
	if runtime.GOOS != "linux" {
		_, err := Listen(t.Context(), "unix", name, Config{})
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	requireAccepts(t, listenAt(t, "unix", name, Config{}), "unix", name)
	_, err := Listen(t.Context(), "unix", name, Config{SocketMode: 0o600})
	assert.ErrorIs(t, err, errAbstractMode)
}

func TestCheckPath(t *testing.T) {
	fits := strings.Repeat("x", maxPath)
	assert.NoError(t, CheckPath(fits))
	for name, path := range map[string]string{"long": fits + "x", "NUL": "a\x00b"} {
		assert.ErrorIs(t, CheckPath(path), syscall.EINVAL, name)
	}
	var missing *net.AddrError
	assert.ErrorAs(t, CheckPath(""), &missing)
	if runtime.GOOS == "linux" {
		assert.NoError(t, CheckPath("@"+fits), "no NUL at the end")
		assert.ErrorIs(t, CheckPath("@x"+fits), syscall.EINVAL)
	} else {
		assert.ErrorIs(t, CheckPath("@x"), errors.ErrUnsupported)
	}
}

func TestCheckListening(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(shortDir(t), "s")} {
		assert.NoError(t, CheckListening(listenAt(t, network, address, Config{})), network)
	}
	assert.NoError(t, CheckListening(&scripted{}), "a listener of any kind")

	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	ln, err := net.FileListener(f)
	require.NoError(t, err)
	defer ln.Close()
	err = CheckListening(ln)
	assert.ErrorIs(t, err, syscall.EINVAL)
	assert.ErrorContains(t, err, "does not listen")
}
