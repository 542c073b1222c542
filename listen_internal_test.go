//go:build unix

package evnet

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
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	another := errors.New("another")

	write("one")
	err := takeAway(path, func(aside string, _ fs.FileInfo) error {
		assert.NoFileExists(t, path)
		assert.Equal(t, "one", read(aside))
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.Equal(t, "one", read(path))

	var moved string
	err = takeAway(path, func(aside string, _ fs.FileInfo) error {
		moved = aside
		write("two")
		return another
	})
	assert.ErrorIs(t, err, another)
	assert.ErrorIs(t, err, fs.ErrExist)
	assert.ErrorContains(t, err, moved)
	assert.Equal(t, "two", read(path))
	assert.Equal(t, "one", read(moved), "kept: it is not ours to delete")
	require.NoError(t, os.Remove(moved))

	require.NoError(t, takeAway(path, func(string, fs.FileInfo) error { return nil }))
	assert.NoError(t, takeAway(path, nil), "nothing there")
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
