package evnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

var (
	errSocketMode   = errors.New("SocketMode has bits that are not permissions")
	errAbstractMode = errors.New("an abstract name has no file for SocketMode")
)

// open makes the listener that Listen asks for.
func (s *Server) open(ctx context.Context, network, address string) (net.Listener, error) {
	var config net.ListenConfig
	if network != "unix" {
		if s.opts.ReusePort {
			config.Control = reusePort
		}
		return config.Listen(ctx, network, address)
	}
	if err := checkPath(address); err != nil {
		return nil, err
	}
	mode := s.opts.SocketMode
	switch {
	case mode&^fs.ModePerm != 0:
		return nil, fmt.Errorf("%w: %v", errSocketMode, mode)
	case !isAbstract(address):
		return listenFile(address, mode)
	case mode != 0:
		return nil, errAbstractMode
	}
	return config.Listen(ctx, network, address)
}

// isAbstract reports whether a Unix address is a name of Linux's that has no file.
func isAbstract(address string) bool { return address[0] == 0 || address[0] == '@' }

// checkPath refuses the Unix addresses that the system would cut short or take for another.
func checkPath(address string) error {
	room := maxPath
	switch {
	case isAbstract(address):
		if runtime.GOOS != "linux" && runtime.GOOS != "android" {
			return fmt.Errorf("abstract names: %w", errors.ErrUnsupported)
		}
		room++ // no NUL at the end
	case strings.IndexByte(address, 0) >= 0:
		return wrappedError{"the path has a NUL byte in it", syscall.EINVAL}
	}
	if len(address) > room {
		return wrappedError{fmt.Sprintf("the path has %d bytes, %d fit", len(address), room), syscall.EINVAL}
	}
	return nil
}

// fileListener removes the file that it has made, and no other. The listener inside removes none.
type fileListener struct {
	*net.UnixListener
	path string // absolute: the working directory may be another at Close
	made fs.FileInfo
}

func (l *fileListener) Close() error {
	// The open socket holds its inode, so that no other file can have that number yet.
	err := removeOwn(l.path, l.made)
	return errors.Join(err, l.UnixListener.Close())
}

// binding keeps apart the servers of this process that start at once, where the directory's lock
// cannot.
var binding sync.Mutex

// listenFile listens at a path, in the place of a socket file that nobody answers at.
func listenFile(path string, mode fs.FileMode) (net.Listener, error) {
	full, err := absolute(path)
	if err != nil {
		return nil, err
	}
	binding.Lock()
	defer binding.Unlock()
	dir, _ := filepath.Split(full)
	defer lockDirectory(dir)()

	ln, made, err := bindFile(path, mode)
	if Code(err) == "EADDRINUSE" {
		if why := removeStale(path); why != nil {
			return nil, fmt.Errorf("%w: %v", err, why)
		}
		ln, made, err = bindFile(path, mode)
	}
	if err != nil {
		return nil, err
	}
	return &fileListener{ln, full, made}, nil
}

// removeStale frees a path of a socket file that no socket is bound to. The error says why it stays.
func removeStale(path string) error {
	found, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case found.Mode().Type() != fs.ModeSocket:
		return errors.New("it is not a socket")
	}
	if err := checkAbandoned(path); err != nil {
		return err
	}
	return takeAway(path, func(aside string, info fs.FileInfo) error {
		// The number of a removed file may be that of the next one already: hence the time, and
		// a second question, which no starting server can be too slow to answer.
		if !os.SameFile(info, found) || !info.ModTime().Equal(found.ModTime()) {
			return errors.New("it was replaced")
		}
		if len(aside) > maxPath {
			return nil
		}
		return checkAbandoned(aside)
	})
}

// removeOwn removes the file at path if it still is the one that was made.
func removeOwn(path string, made fs.FileInfo) error {
	check := func(_ string, info fs.FileInfo) error {
		if !os.SameFile(info, made) {
			return errors.New("it was replaced")
		}
		return nil
	}
	now, err := os.Lstat(path)
	if err != nil || check(path, now) != nil {
		return nil
	}
	return takeAway(path, check)
}

// takeAway removes the file at path if check, which is shown it under another name, has no error.
// Between a look at a path and its removal another file may come there: what was moved aside stays
// what it is. A file that is to stay is put back, unless the path was taken meanwhile.
func takeAway(path string, check func(aside string, info fs.FileInfo) error) error {
	aside := unusedName(path)
	if err := os.Rename(path, aside); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	info, err := os.Lstat(aside)
	if err == nil {
		err = check(aside, info)
	}
	if err != nil {
		if failed := os.Link(aside, path); failed != nil { // which never overwrites, as Rename does
			return fmt.Errorf("%w, and it is left at %s: %w", err, aside, failed)
		}
	}
	return errors.Join(err, os.Remove(aside))
}

// unusedName is short, so that it can be connected to if path can.
func unusedName(path string) string {
	dir, _ := filepath.Split(path)
	for {
		name := fmt.Sprintf("%s.ev%08x", dir, rand.Uint32())
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
}
