package server_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowPath returns a path to dir that the kernel resolves slowly: it leads through links, each to a path of many
// components. That makes a race between two resolutions easy to hit.
func slowPath(t *testing.T, dir string) string {
	maze := evtest.SocketDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(maze, "d"), 0o700))
	next := dir
	for i := range 20 {
		link := filepath.Join(maze, fmt.Sprint(i))
		require.NoError(t, os.Symlink(next, link))
		next = maze + strings.Repeat("/d/..", 700) + "/" + filepath.Base(link)
	}
	link := filepath.Join(maze, "m")
	require.NoError(t, os.Symlink(next, link))
	return link
}

// swap replaces the socket at path by the file at other as soon as there is one, and reports whether
// it did so before stop.
func swap(other, path string, stop *atomic.Bool) bool {
	var st syscall.Stat_t
	for !stop.Load() {
		if syscall.Lstat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFSOCK {
			return syscall.Rename(other, path) == nil
		}
	}
	return false
}

// While Listen sets SocketMode, a user with write access to the directory replaces the socket with a link to a file
// of the server's user. The mode of that file does not change.
func TestUnixSocketModeFollowsNoLink(t *testing.T) {
	umask := syscall.Umask(0o022) // so that Listen has bits to add
	defer syscall.Umask(umask)
	victim := filepath.Join(evtest.SocketDir(t), "victim")
	require.NoError(t, os.WriteFile(victim, nil, 0o600))
	dir := evtest.SocketDir(t)
	path, link := filepath.Join(dir, "s"), filepath.Join(dir, "link")
	slow := filepath.Join(slowPath(t, dir), "s")

	l := evnet.NewLoop()
	s := kit.Greeter(l, "", &evnet.ServerOptions{SocketMode: 0o666})
	const tries = 30
	swapped, refused := 0, 0
	for try := range tries {
		require.NoError(t, os.Symlink(victim, link))
		var stop atomic.Bool
		ready, done := make(chan struct{}), make(chan bool)
		go func() {
			close(ready)
			done <- swap(link, path, &stop)
		}()
		<-ready
		err := s.Listen("unix", slow, nil)
		stop.Store(true)
		if <-done {
			swapped++
		}
		info, lost := os.Lstat(victim)
		require.NoError(t, lost)
		require.Equal(t, fs.FileMode(0o600), info.Mode(), "try %d", try+1)
		if err != nil {
			refused++
			assert.ErrorIs(t, err, syscall.EADDRINUSE)
			assert.ErrorContains(t, err, "not the socket that was bound")
		} else {
			require.NoError(t, s.Close(nil))
			kit.Run(t, l)
		}
		_ = os.Remove(link)
		_ = os.Remove(path)
		require.Empty(t, evtest.FileNames(t, dir))
	}
	t.Logf("%d tries: %d swaps, %d refused by Listen", tries, swapped, refused)
}
