package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// directory holds the file of a socket. Names have no separators. A symbolic link is never followed.
type directory interface {
	Lstat(name string) (fs.FileInfo, error)
	Rename(from, to string) error
	Link(from, to string) error
	Remove(name string) error
	Close() error
}

// splitPath returns the directory and the name of a file. The directory stays the same if the path leads to another one
// later, as far as the platform allows.
func splitPath(path string) (directory, string) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "./"
	}
	return openDirectory(dir), name
}

// pathDirectory is a directory by its path, which ends with a separator. It is used if the directory cannot be opened:
// the process may lack the permission to read it, or descriptors.
type pathDirectory string

func (d pathDirectory) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(string(d) + name) }
func (d pathDirectory) Rename(from, to string) error           { return os.Rename(string(d)+from, string(d)+to) }
func (d pathDirectory) Link(from, to string) error             { return os.Link(string(d)+from, string(d)+to) }
func (d pathDirectory) Remove(name string) error               { return os.Remove(string(d) + name) }
func (d pathDirectory) Close() error                           { return nil }

// removeStale removes a socket file that no socket is bound to. The error says why it keeps the file.
func removeStale(path string) error {
	dir, name := splitPath(path)
	defer dir.Close()
	found, err := dir.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case found.Mode().Type() != fs.ModeSocket:
		return errors.New("it is not a socket")
	}
	// checkStale uses the path, and may reach another file. It sends nothing, and its result matters only for the
	// file that was found.
	if err := checkStale(path); err != nil {
		return err
	}
	return removeIf(dir, name, func(aside string, info fs.FileInfo) error {
		// A new file may have the inode number of a removed one: compare the time too. Then check again, because a
		// server that was starting may have bound its socket meanwhile.
		if !os.SameFile(info, found) || !info.ModTime().Equal(found.ModTime()) {
			return errors.New("it was replaced")
		}
		aside = strings.TrimSuffix(path, name) + aside
		if len(aside) > maxPath {
			return nil
		}
		return checkStale(aside)
	})
}

// removeOwn removes the file at path if it still is the file created.
func removeOwn(path string, created fs.FileInfo) error {
	dir, name := splitPath(path)
	defer dir.Close()
	check := func(_ string, info fs.FileInfo) error {
		if !os.SameFile(info, created) {
			return errors.New("it was replaced")
		}
		return nil
	}
	now, err := dir.Lstat(name)
	if err != nil || check("", now) != nil {
		return nil
	}
	return removeIf(dir, name, check)
}

// removeIf removes a file if check returns nil for it. Another file may replace it between a check and a removal, so
// removeIf first renames the file, then passes the new name to check. If the check fails, removeIf restores the name,
// unless another file has it by now.
func removeIf(dir directory, name string, check func(aside string, info fs.FileInfo) error) error {
	aside := unusedName(dir)
	if err := dir.Rename(name, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	info, err := dir.Lstat(aside)
	if err == nil {
		err = check(aside, info)
	}
	if err != nil {
		if failed := dir.Link(aside, name); failed != nil { // unlike Rename, Link never overwrites
			return fmt.Errorf("%w, and the file remains in the directory as %s: %w", err, aside, failed)
		}
	}
	return errors.Join(err, dir.Remove(aside))
}

// unusedName returns a name that no file in dir has. It is short, so that its path can be a socket's address.
func unusedName(dir directory) string {
	for {
		name := fmt.Sprintf(".ev%08x", rand.Uint32())
		if _, err := dir.Lstat(name); err != nil {
			return name
		}
	}
}
