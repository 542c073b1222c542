package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"evnet/internal/nodecode"
)

var (
	errSocketMode   error = &nodecode.Error{Text: "SocketMode has bits that are not permissions", Code: "ERR_INVALID_ARG_VALUE"}
	errAbstractMode error = &nodecode.Error{Text: "an abstract name has no file for SocketMode", Code: "ERR_INVALID_ARG_VALUE"}
	// errReplaced is EADDRINUSE: another file has the path.
	errReplaced error = wrappedError{"the file at the path is not the socket that was bound", syscall.EADDRINUSE}
)

// Config is what Listen takes of ServerOptions.
type Config struct {
	ReusePort  bool
	SocketMode fs.FileMode
}

// Listen makes the listener that Server.Listen asks for.
func Listen(ctx context.Context, network, address string, c Config) (net.Listener, error) {
	var config net.ListenConfig
	if network != "unix" {
		if c.ReusePort {
			config.Control = reusePort
		}
		return config.Listen(ctx, network, address)
	}
	if err := CheckPath(address); err != nil {
		return nil, err
	}
	mode := c.SocketMode
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

// CheckPath refuses the Unix addresses that the system would cut short or take for another.
func CheckPath(address string) error {
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
	if nodecode.Of(err) == "EADDRINUSE" && !errors.Is(err, errReplaced) {
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

// wrappedError is a sentinel with a cause that does not show in its text.
type wrappedError struct {
	text  string
	cause error
}

func (e wrappedError) Error() string { return e.text }
func (e wrappedError) Unwrap() error { return e.cause }
