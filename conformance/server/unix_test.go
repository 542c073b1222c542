//go:build unix

package server_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// greeting returns the greeting of the server at path. It closes the servers and runs l to the end.
func greeting(t testing.TB, l *evnet.Loop, path string, servers ...*evnet.Server) string {
	received := ""
	c := kit.NewClient(l)
	c.On.Data(func(p []byte) { received += string(p) })
	c.On.Error(func(err error) { assert.NoError(t, err) })
	c.On.Close(func(bool) {
		for _, s := range servers {
			_ = s.Close(nil)
		}
	})
	c.Connect("unix", path)
	kit.Run(t, l)
	return received
}

// requireInUse checks the error of a Listen at a path that is in use.
func requireInUse(t testing.TB, err error, path string) {
	t.Helper()
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	assert.Equal(t, "EADDRINUSE", evnet.Code(err))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "listen", op.Op)
	assert.Equal(t, path, op.Addr.String())
	assert.Contains(t, err.Error(), path)
}

func TestUnixListenReplacesAStaleFile(t *testing.T) {
	l := evnet.NewLoop()
	path := evtest.SocketPath(t)
	evtest.LeaveStale(t, path)
	s := kit.Greeter(l, "new", nil)
	require.NoError(t, s.Listen("unix", path, nil))
	assert.Equal(t, []string{"s"}, evtest.FileNames(t, filepath.Dir(path)), "no other file is left")
	assert.Equal(t, path, s.Address().String())
	assert.Equal(t, "new", greeting(t, l, path, s))
	assert.Empty(t, evtest.FileNames(t, filepath.Dir(path)))
	assert.Equal(t, path, s.Address().String(), "kept after Close, as in Node")
}

// A stale file is detected in a directory whose path leaves no room for a longer name.
func TestUnixListenReplacesAStaleFileAtTheLongestPath(t *testing.T) {
	l := evnet.NewLoop()
	dir := evtest.SocketDir(t)
	room := len(syscall.RawSockaddrUnix{}.Path) - 1
	dir = filepath.Join(dir, strings.Repeat("d", room-len(dir)-len("//s")))
	require.NoError(t, os.Mkdir(dir, 0o700))
	path := filepath.Join(dir, "s")
	require.Len(t, path, room)
	evtest.LeaveStale(t, path)
	s := kit.Greeter(l, "new", nil)
	require.NoError(t, s.Listen("unix", path, nil))
	assert.Equal(t, "new", greeting(t, l, path, s))
	assert.Empty(t, evtest.FileNames(t, dir))
}

// Listen leaves a file unchanged if it is not a stale socket.
func TestUnixListen_KeepsOtherFiles(t *testing.T) {
	dir := evtest.SocketDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("file"), []byte("precious"), 0o600))
	require.NoError(t, os.Mkdir(in("dir"), 0o700))
	evtest.LeaveStale(t, in("stale"))
	require.NoError(t, os.Symlink("file", in("link-to-file")))
	require.NoError(t, os.Symlink("stale", in("link-to-stale")))
	require.NoError(t, os.Symlink("nothing", in("link-to-nothing")))
	live, err := net.Listen("unix", in("live"))
	require.NoError(t, err)
	defer live.Close()
	datagrams, err := net.ListenPacket("unixgram", in("datagrams"))
	require.NoError(t, err)
	defer datagrams.Close()
	bind(t, in("bound")) // by a server that is about to listen
	full := bind(t, in("full"))
	require.NoError(t, syscall.Listen(full, 0))
	fill(t, in("full"))

	before := map[string]fs.FileInfo{}
	for _, name := range evtest.FileNames(t, dir) {
		before[name], err = os.Lstat(in(name))
		require.NoError(t, err)
	}
	for name := range before {
		if name == "stale" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			s := kit.Greeter(l, "wrong", nil)
			requireInUse(t, s.Listen("unix", in(name), nil), in(name))
			assert.False(t, s.Listening())
			assert.Nil(t, s.Address())
			kit.Run(t, l)
			goleak.VerifyNone(t, ignore)
		})
	}
	assert.Len(t, evtest.FileNames(t, dir), len(before))
	for name, was := range before {
		now, err := os.Lstat(in(name))
		require.NoError(t, err, name)
		assert.True(t, os.SameFile(was, now), name)
		assert.Equal(t, was.Mode(), now.Mode(), name)
	}
	text, err := os.ReadFile(in("file"))
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
	require.NoError(t, live.(*net.UnixListener).SetDeadline(time.Now().Add(time.Millisecond)))
	_, err = live.Accept()
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "Listen does not connect to a running server")
}

// bind makes a socket at path that does not listen.
func bind(t testing.TB, path string) int {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	return fd
}

// fill connects until the backlog is full.
func fill(t testing.TB, path string) {
	for range 100 {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = syscall.Close(fd) })
		require.NoError(t, syscall.SetNonblock(fd, true))
		if syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}) != nil {
			return
		}
	}
	t.Fatal("the backlog never fills up")
}

func TestUnixListenWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root ignores permissions")
	}
	dir := evtest.SocketDir(t)
	path := filepath.Join(dir, "s")
	evtest.LeaveStale(t, path)
	require.NoError(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	l := evnet.NewLoop()
	s := kit.Greeter(l, "wrong", nil)
	requireInUse(t, s.Listen("unix", path, nil), path)
	assert.FileExists(t, path)
	err := s.Listen("unix", path+"2", nil)
	assert.ErrorIs(t, err, syscall.EACCES)
	assert.Contains(t, err.Error(), path+"2")
}

// Several servers find the same stale file at the same time. Exactly one gets the path, and it serves the path.
func TestUnixListen_Concurrently(t *testing.T) {
	dir := evtest.SocketDir(t)
	path := filepath.Join(dir, "s")
	for range 100 {
		evtest.LeaveStale(t, path)
		l := evnet.NewLoop()
		var servers []*evnet.Server
		for i := range 4 {
			servers = append(servers, kit.Greeter(l, fmt.Sprint(i), nil))
		}
		errs := make([]error, len(servers))
		var start, done sync.WaitGroup
		start.Add(1)
		for i, s := range servers {
			done.Go(func() {
				start.Wait()
				errs[i] = s.Listen("unix", path, nil)
			})
		}
		start.Done()
		done.Wait()
		winners := []string{}
		for i, err := range errs {
			if err == nil {
				winners = append(winners, fmt.Sprint(i))
			} else {
				requireInUse(t, err, path)
			}
		}
		require.Len(t, winners, 1)
		require.Equal(t, winners[0], greeting(t, l, path, servers...))
		require.Empty(t, evtest.FileNames(t, dir))
	}
}

func TestUnixCloseRemovesOnlyItsOwnFile(t *testing.T) {
	l := evnet.NewLoop()
	path := evtest.SocketPath(t)
	s := kit.Greeter(l, "first", nil)

	require.NoError(t, s.Listen("unix", path, nil))
	require.NoError(t, s.Close(nil))
	assert.NoFileExists(t, path, "removed when Close returns")
	require.NoError(t, s.Listen("unix", path, nil), "immediately in the same turn")
	assert.True(t, s.Listening())

	require.NoError(t, os.Remove(path))
	require.NoError(t, s.Close(nil), "the file is already removed")
	kit.Run(t, l)

	require.NoError(t, s.Listen("unix", path, nil))
	require.NoError(t, os.Remove(path))
	other := kit.Greeter(l, "other", nil)
	require.NoError(t, other.Listen("unix", path, nil))
	require.NoError(t, s.Close(nil))
	assert.FileExists(t, path)
	assert.Equal(t, "other", greeting(t, l, path, other))
	assert.NoFileExists(t, path)

	require.NoError(t, s.Listen("unix", path, nil))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.NoError(t, s.Close(nil))
	kit.Run(t, l)
	assert.FileExists(t, path)
	assert.Equal(t, []string{"s"}, evtest.FileNames(t, filepath.Dir(path)))
}

// Each way to end a server removes the file.
func TestUnixFile_IsRemovedWithTheServer(t *testing.T) {
	l := evnet.NewLoop()
	path := evtest.SocketPath(t)
	s := kit.Greeter(l, "", nil)
	s.Unref()
	require.NoError(t, s.Listen("unix", path, nil))
	kit.Run(t, l)
	assert.NoFileExists(t, path)
}

func TestUnixRelativePath(t *testing.T) {
	l := evnet.NewLoop()
	dir := evtest.SocketDir(t)
	t.Chdir(dir)
	evtest.LeaveStale(t, "s")
	s := kit.Greeter(l, "here", nil)
	require.NoError(t, s.Listen("unix", "s", nil))
	assert.Equal(t, "s", s.Address().String())
	assert.Equal(t, "here", greeting(t, l, "s", s))
	assert.Empty(t, evtest.FileNames(t, dir))

	require.NoError(t, s.Listen("unix", "s", nil))
	require.NoError(t, os.Mkdir("elsewhere", 0o700))
	t.Chdir("elsewhere")
	require.NoError(t, s.Close(nil))
	kit.Run(t, l)
	assert.NoFileExists(t, filepath.Join(dir, "s"), "the working directory has changed")
}

func TestUnixListenBadPath(t *testing.T) {
	dir := evtest.SocketDir(t)
	room := len(syscall.RawSockaddrUnix{}.Path) - 1
	long := dir + "/" + strings.Repeat("x", room-len(dir))
	require.Len(t, long, room+1)
	for path, want := range map[string]struct {
		err  error
		says []string
	}{
		long:                  {syscall.EINVAL, []string{fmt.Sprint(room + 1), fmt.Sprint(room)}},
		dir + "/a\x00b":       {syscall.EINVAL, []string{"NUL"}},
		dir + "/missing/s":    {syscall.ENOENT, nil},
		dir + "/s/":           {syscall.ENOENT, nil},
		"/dev/null/not-a-dir": {syscall.ENOTDIR, nil},
	} {
		l := evnet.NewLoop()
		err := kit.Greeter(l, "", nil).Listen("unix", path, nil)
		require.ErrorIs(t, err, want.err, "%q", path)
		for _, text := range append(want.says, "listen unix", path) {
			assert.Contains(t, err.Error(), text)
		}
		assert.Empty(t, evtest.FileNames(t, dir))

		c := kit.NewClient(l)
		c.On.Error(func(error) {})
		if want.says != nil {
			c.On.ConnectionAttempt(func(evnet.Attempt) { t.Errorf("%q was tried", path) })
		}
		c.Connect("unix", path)
		kit.Run(t, l)
		if want.says != nil {
			require.ErrorIs(t, c.Err(), want.err, "%q", path)
		}
		for _, text := range append(want.says, "dial unix", path) {
			assert.ErrorContains(t, c.Err(), text)
		}
	}
	evtest.LeaveStale(t, dir+"/s")
	requireInUse(t, kit.Greeter(evnet.NewLoop(), "", nil).Listen("unix", dir+"/s/", nil), dir+"/s/")
	assert.FileExists(t, dir+"/s", "no file can be created in its place")
}
