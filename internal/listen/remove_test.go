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

// A file that fails the check gets its name back, but never replaces a file that has the name by then.
func TestRemoveIf_RestoresTheName(t *testing.T) {
	t.Run("opened", func(t *testing.T) { restoresTheName(t, openDirectory) })
	t.Run("by path", func(t *testing.T) {
		restoresTheName(t, func(path string) directory { return pathDirectory(path) })
	})
}

func restoresTheName(t *testing.T, open func(path string) directory) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	another := errors.New("another")
	remove := func(check func(aside string, info fs.FileInfo) error) error {
		in := open(dir + "/")
		defer in.Close()
		return removeIf(in, "s", check)
	}

	write("one")
	err := remove(func(aside string, _ fs.FileInfo) error {
		assert.NoFileExists(t, path)
		assert.Equal(t, "one", read(filepath.Join(dir, aside)))
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.Equal(t, "one", read(path))

	var moved string
	err = remove(func(aside string, _ fs.FileInfo) error {
		moved = filepath.Join(dir, aside)
		write("two")
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.ErrorIs(t, err, fs.ErrExist)
	assert.ErrorContains(t, err, filepath.Base(moved))
	assert.Equal(t, "two", read(path))
	assert.Equal(t, "one", read(moved), "the file stays: it belongs to another program")
	require.NoError(t, os.Remove(moved))

	require.NoError(t, remove(func(string, fs.FileInfo) error { return nil }))
	assert.NoError(t, remove(nil), "no file")
	remaining, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, remaining)
}

// A server must not remove the file of another one that has replaced it.
func TestRemoveOwn_KeepsAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	created, err := os.Lstat(path)
	require.NoError(t, err)
	require.NoError(t, os.Rename(path, path+"old"))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, removeOwn(path, created))
	assert.FileExists(t, path)
}

// If the path leads to another directory meanwhile, the files there stay.
func TestRemoveIf_StaysInItsDirectory(t *testing.T) {
	another := errors.New("another")
	for result, want := range map[error][]string{nil: {}, another: {"s"}} {
		t.Chdir(t.TempDir())
		require.NoError(t, os.Mkdir("dir", 0o700))
		require.NoError(t, os.Mkdir("other", 0o700))
		require.NoError(t, os.WriteFile("dir/s", nil, 0o600))
		dir, name := splitPath("dir/s")
		var renamed string
		err := removeIf(dir, name, func(aside string, _ fs.FileInfo) error {
			renamed = aside
			require.NoError(t, os.Rename("dir", "moved"))
			require.NoError(t, os.Symlink("other", "dir"))
			require.NoError(t, os.WriteFile("other/"+aside, nil, 0o600))
			return result
		})
		require.NoError(t, dir.Close())
		assert.ErrorIs(t, err, result)
		assert.Equal(t, want, namesIn(t, "moved"))
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
