//go:build unix

package listen

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What turns out to be another file once it was moved aside goes back where it was, but never over
// what has come there meanwhile.
func TestTakeAwayPutsBack(t *testing.T) {
	t.Run("opened", func(t *testing.T) { takeAwayPutsBack(t, openDirectory) })
	t.Run("by path", func(t *testing.T) {
		takeAwayPutsBack(t, func(path string) directory { return pathDirectory(path) })
	})
}

func takeAwayPutsBack(t *testing.T, open func(path string) directory) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	another := errors.New("another")
	takeAway := func(check func(aside string, info fs.FileInfo) error) error {
		in := open(dir + "/")
		defer in.Close()
		return takeAway(in, "s", check)
	}

	write("one")
	err := takeAway(func(aside string, _ fs.FileInfo) error {
		assert.NoFileExists(t, path)
		assert.Equal(t, "one", read(filepath.Join(dir, aside)))
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.Equal(t, "one", read(path))

	var moved string
	err = takeAway(func(aside string, _ fs.FileInfo) error {
		moved = filepath.Join(dir, aside)
		write("two")
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.ErrorIs(t, err, fs.ErrExist)
	assert.ErrorContains(t, err, filepath.Base(moved))
	assert.Equal(t, "two", read(path))
	assert.Equal(t, "one", read(moved), "kept: it is not ours to delete")
	require.NoError(t, os.Remove(moved))

	require.NoError(t, takeAway(func(string, fs.FileInfo) error { return nil }))
	assert.NoError(t, takeAway(nil), "nothing there")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A server that another has replaced must not remove that one's file, whenever it came.
func TestRemoveOwnFindsAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	made, err := os.Lstat(path)
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+"old"))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, removeOwn(path, made))
	assert.FileExists(t, path)
}

// A path that leads to another directory meanwhile does no harm to the files there.
func TestTakeAwayStaysInItsDirectory(t *testing.T) {
	another := errors.New("another")
	for result, left := range map[error][]string{nil: {}, another: {"s"}} {
		t.Chdir(t.TempDir())
		require.NoError(t, os.Mkdir("dir", 0o700))
		require.NoError(t, os.Mkdir("other", 0o700))
		require.NoError(t, os.WriteFile("dir/s", nil, 0o600))
		dir, name := splitPath("dir/s")
		var renamed string
		err := takeAway(dir, name, func(aside string, _ fs.FileInfo) error {
			renamed = aside
			require.NoError(t, os.Rename("dir", "moved"))
			require.NoError(t, os.Symlink("other", "dir"))
			require.NoError(t, os.WriteFile("other/"+aside, nil, 0o600))
			return result
		})
		require.NoError(t, dir.Close())
		assert.ErrorIs(t, err, result)
		assert.Equal(t, left, namesIn(t, "moved"))
		assert.Equal(t, []string{renamed}, namesIn(t, "other"))
	}
}

func namesIn(t *testing.T, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
