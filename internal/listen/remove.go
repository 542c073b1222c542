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

// splitPath returns the directory and the name of a file. The directory stays the same one if the
// path leads to another later, as far as the platform allows.
func splitPath(path string) (directory, string) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "./"
	}
	return openDirectory(dir), name
}

// pathDirectory is a directory by its path, which ends with a separator. It serves where a directory
// cannot be opened: the process may lack the right to read it, or descriptors.
type pathDirectory string

func (d pathDirectory) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(string(d) + name) }
func (d pathDirectory) Rename(from, to string) error           { return os.Rename(string(d)+from, string(d)+to) }
func (d pathDirectory) Link(from, to string) error             { return os.Link(string(d)+from, string(d)+to) }
func (d pathDirectory) Remove(name string) error               { return os.Remove(string(d) + name) }
func (d pathDirectory) Close() error                           { return nil }

// removeStale removes a socket file that no socket is bound to. The error is the reason to keep it.
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
	// checkAbandoned goes by path, and may reach another file. It sends nothing, and its answer
	// removes only the file that was found.
	if err := checkAbandoned(path); err != nil {
		return err
	}
	return takeAway(dir, name, func(aside string, info fs.FileInfo) error {
		// A new file may have the inode number of a removed one: compare the time too. Then check
		// again, because a server that was starting has bound its socket by now.
		if !os.SameFile(info, found) || !info.ModTime().Equal(found.ModTime()) {
			return errors.New("it was replaced")
		}
		aside = strings.TrimSuffix(path, name) + aside
		if len(aside) > maxPath {
			return nil
		}
		return checkAbandoned(aside)
	})
}

// removeOwn removes the file at path if it is still the one that was made.
func removeOwn(path string, made fs.FileInfo) error {
	dir, name := splitPath(path)
	defer dir.Close()
	check := func(_ string, info fs.FileInfo) error {
		if !os.SameFile(info, made) {
			return errors.New("it was replaced")
		}
		return nil
	}
	now, err := dir.Lstat(name)
	if err != nil || check("", now) != nil {
		return nil
	}
	return takeAway(dir, name, check)
}

// takeAway removes a file if check returns nil for it. Another file may replace it between a check
// and a removal, so takeAway first renames it and then checks the new name. If the check fails,
// takeAway restores the name, unless another file has it.
func takeAway(dir directory, name string, check func(aside string, info fs.FileInfo) error) error {
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
			return fmt.Errorf("%w, and it remains in the directory as %s: %w", err, aside, failed)
		}
	}
	return errors.Join(err, dir.Remove(aside))
}

// unusedName returns a short name, so that a socket can connect to it.
func unusedName(dir directory) string {
	for {
		name := fmt.Sprintf(".ev%08x", rand.Uint32())
		if _, err := dir.Lstat(name); err != nil {
			return name
		}
	}
}
