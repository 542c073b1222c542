package listen

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bindAt returns a socket that is bound to path. It calls prepare before.
func bindAt(t *testing.T, path string, prepare func(fd int) error) int {
	fd, err := unixSocket(syscall.SOCK_STREAM)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, prepare(fd))
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	return fd
}

func restricted(fd int) error { return restrict(fd, 0o666) }

func permissions(t *testing.T, path string) fs.FileMode {
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// Until SocketMode is set, no user has a permission, for any umask. Then all of its bits are set.
func TestSettleFile_StartsWithoutPermissions(t *testing.T) {
	umask := syscall.Umask(0)
	defer syscall.Umask(umask)
	t.Chdir(t.TempDir())
	fd := bindAt(t, "s", restricted)
	assert.Zero(t, permissions(t, "s"))
	before := descriptors(t)
	for _, fd := range []int{fd, -1} { // -1: the kernel does not report the file
		require.NoError(t, os.Chmod("s", 0))
		syscall.Umask(0o077)
		file, err := settleFile(fd, "s", 0o646)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o646), permissions(t, "s"))
		now, err := os.Lstat("s")
		require.NoError(t, err)
		assert.True(t, os.SameFile(file, now))
	}
	assert.Equal(t, before, descriptors(t))
}

// A file that replaces the socket between bind and SocketMode is refused, and stays as it was.
func TestSettleFile_RefusesAnotherFile(t *testing.T) {
	write := func(path string) error { return os.WriteFile(path, nil, 0o600) }
	for name, replace := range map[string]func(t *testing.T, path, victim string) error{
		"link to a file": func(_ *testing.T, path, victim string) error {
			_ = write(victim)
			return os.Symlink(victim, path)
		},
		"link to a socket": func(t *testing.T, path, victim string) error {
			bindAt(t, victim, restricted)
			return os.Symlink(victim, path)
		},
		"link to the socket": func(_ *testing.T, path, victim string) error {
			_ = os.Rename(path+".old", victim)
			return os.Symlink(victim, path)
		},
		"file": func(_ *testing.T, path, victim string) error {
			_ = write(victim)
			return os.Link(victim, path)
		},
		"directory": func(_ *testing.T, path, victim string) error {
			_ = write(victim)
			return os.Mkdir(path, 0o700)
		},
		"fifo": func(_ *testing.T, path, victim string) error {
			_ = write(victim)
			return syscall.Mkfifo(path, 0)
		},
		"hard link to a socket": func(t *testing.T, path, victim string) error {
			bindAt(t, victim, restricted)
			return os.Link(victim, path)
		},
		"socket in use": func(t *testing.T, path, victim string) error {
			_ = write(victim)
			bindAt(t, path, func(fd int) error { return syscall.Fchmod(fd, 0o600) })
			return nil
		},
	} {
		for _, reported := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Chdir(t.TempDir())
				fd := bindAt(t, "s", restricted)
				if !reported {
					fd = -1
				}
				require.NoError(t, os.Rename("s", "s.old"))
				require.NoError(t, replace(t, "s", "victim"))
				was, before := permissions(t, "victim"), permissions(t, "s")
				open := descriptors(t)
				file, err := settleFile(fd, "s", 0o666)
				assert.Nil(t, file)
				assert.ErrorIs(t, err, errReplaced)
				assert.ErrorIs(t, err, syscall.EADDRINUSE)
				assert.Equal(t, was, permissions(t, "victim"))
				assert.Equal(t, before, permissions(t, "s"))
				assert.Equal(t, open, descriptors(t))
			})
		}
	}
}

// Only the kernel can distinguish another restricted socket of the same user. It does so for a process with
// CAP_NET_ADMIN.
func TestSettleFile_RefusesAnotherRestrictedSocket(t *testing.T) {
	t.Chdir(t.TempDir())
	fd := bindAt(t, "s", restricted)
	if boundFile(fd) == nil {
		t.Skip("the process lacks CAP_NET_ADMIN, or the kernel lacks SIOCUNIXFILE")
	}
	require.NoError(t, os.Rename("s", "s.old"))
	bindAt(t, "s", restricted)
	_, err := settleFile(fd, "s", 0o666)
	assert.ErrorIs(t, err, errReplaced)
	assert.Zero(t, permissions(t, "s"))
	assert.Zero(t, permissions(t, "s.old"))
}

func TestSettleFile_WithoutAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	fd := bindAt(t, "s", restricted)
	require.NoError(t, os.Remove("s"))
	file, err := settleFile(fd, "s", 0o666)
	assert.Nil(t, file)
	assert.ErrorIs(t, err, syscall.ENOENT)
}

// Without /proc, a kernel that has fchmodat2 sets the permissions nevertheless.
func TestChmodOpened_WithoutProc(t *testing.T) {
	t.Chdir(t.TempDir())
	fd := bindAt(t, "s", restricted)
	f, _, err := openCreated(fd, "s", 0o666)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.Rename("s", "moved"))
	require.NoError(t, os.WriteFile("s", nil, 0o600))
	if err := chmodOpened(f, 0o666, filepath.Join(t.TempDir(), "fd")+"/"); err != nil {
		assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
		assert.ErrorContains(t, err, "SocketMode needs /proc")
		return
	}
	assert.Equal(t, fs.FileMode(0o666), permissions(t, "moved"))
	assert.Equal(t, fs.FileMode(0o600), permissions(t, "s"))
}
