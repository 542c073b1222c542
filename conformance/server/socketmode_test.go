//go:build unix

package server_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnixSocketMode(t *testing.T) {
	umask := syscall.Umask(0o027)
	defer syscall.Umask(umask)
	path := evtest.SocketPath(t)
	for mode, want := range map[fs.FileMode]fs.FileMode{
		0: 0o750, 0o600: 0o600, 0o660: 0o660, 0o777: 0o777, 0o200: 0o200, 0o001: 0o001,
	} {
		l := evnet.NewLoop()
		evtest.LeaveStale(t, path)
		s := kit.Greeter(l, "here", &evnet.ServerOptions{SocketMode: mode})
		require.NoError(t, s.Listen("unix", path, nil))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.ModeSocket|want, info.Mode(), "%v", mode)
		if want&0o200 != 0 || os.Geteuid() == 0 {
			assert.Equal(t, "here", greeting(t, l, path, s))
		} else {
			require.NoError(t, s.Close(nil))
			kit.Run(t, l)
		}
		assert.NoFileExists(t, path)
	}
	assert.Equal(t, 0o027, syscall.Umask(0o027), "the umask of the process is unchanged")
}

// SocketMode applies to a path of the maximum length and to a relative path.
func TestUnixSocketModeOfAnyPath(t *testing.T) {
	dir := evtest.SocketDir(t)
	t.Chdir(dir)
	room := len(syscall.RawSockaddrUnix{}.Path) - 1
	for _, path := range []string{
		"s", "./s", strings.Repeat("s", room), dir + "/" + strings.Repeat("s", room-len(dir)-1),
	} {
		l := evnet.NewLoop()
		s := kit.Greeter(l, "here", &evnet.ServerOptions{SocketMode: 0o626})
		require.NoError(t, s.Listen("unix", path, nil))
		info, err := os.Lstat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.ModeSocket|0o626, info.Mode())
		assert.Equal(t, path, s.Address().String())
		assert.Equal(t, "here", greeting(t, l, path, s))
		assert.Empty(t, evtest.FileNames(t, dir))
	}
}

func TestUnixSocketModeBad(t *testing.T) {
	path := evtest.SocketPath(t)
	for _, mode := range []fs.FileMode{fs.ModeSetuid | 0o600, fs.ModeSticky, fs.ModeDir | 0o700, fs.ModeSocket | 0o600} {
		s := kit.Greeter(evnet.NewLoop(), "", &evnet.ServerOptions{SocketMode: mode})
		err := s.Listen("unix", path, nil)
		assert.Equal(t, "ERR_INVALID_ARG_VALUE", evnet.Code(err), "%v", mode)
		assert.ErrorContains(t, err, "SocketMode")
		assert.ErrorContains(t, err, path)
		assert.Empty(t, evtest.FileNames(t, filepath.Dir(path)))
	}
}

// TCP has no file.
func TestSocketModeOfTCP(t *testing.T) {
	l := evnet.NewLoop()
	s, _ := kit.Serve(t, l, &evnet.ServerOptions{SocketMode: 0o600}, nil)
	require.NoError(t, s.Close(nil))
	kit.Run(t, l)
}
