// Package listen binds listeners, accepts connections and passes them on.
//
// Listen returns a listener for TCP or for a Unix path. It replaces stale socket files, sets their permissions before a
// client can connect, and removes them at Close. An Acceptor accepts from any listener, on a goroutine of its owner, and
// passes each connection to the owner. A Handoff queues accepted connections for several receivers, in rotation, and
// skips a receiver that is closed or whose queue is full.
//
// Functions without a receiver may be called from any goroutine. Functions that bind may block for a short time. The
// package knows neither servers nor loops nor events. It reads and writes no data.
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
	"sync/atomic"
	"syscall"

	"evnet/internal/nodecode"
)

var (
	errSocketMode error = &nodecode.Error{
		Text: "SocketMode has bits that are not permissions", Code: "ERR_INVALID_ARG_VALUE"}
	errAbstractMode error = &nodecode.Error{
		Text: "SocketMode is set for an abstract name, which has no file", Code: "ERR_INVALID_ARG_VALUE"}
	// errReplaced reports that another file has the path.
	errReplaced error = &nodecode.Error{
		Text: "the file at the path is not the socket that was bound", Cause: syscall.EADDRINUSE}
)

// Config has the options of Listen. The zero value means none.
type Config struct {
	ReusePort  bool        // for TCP: share the port with other listeners that set it
	SocketMode fs.FileMode // the permissions of a socket file; 0 leaves them to the umask
}

// Listen binds and listens. network is "tcp", "tcp4", "tcp6" or "unix". At a Unix path it replaces a socket file
// that no socket is bound to; any other file is EADDRINUSE. Closing the listener removes the file that Listen has
// created, and no other.
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

// CheckPath returns an error for a Unix address that the kernel would truncate or misinterpret.
func CheckPath(address string) error {
	limit := maxPath
	switch {
	case address == "":
		return &net.AddrError{Err: "missing path", Addr: address} // the kernel would choose one
	case isAbstract(address):
		if runtime.GOOS != "linux" && runtime.GOOS != "android" {
			return fmt.Errorf("abstract names: %w", errors.ErrUnsupported)
		}
		limit++ // no NUL at the end
	case strings.IndexByte(address, 0) >= 0:
		return &nodecode.Error{Text: "the path contains a NUL byte", Cause: syscall.EINVAL}
	}
	if len(address) > limit {
		text := fmt.Sprintf("the path has %d bytes, %d fit", len(address), limit)
		return &nodecode.Error{Text: text, Cause: syscall.EINVAL}
	}
	return nil
}

// isAbstract reports whether a Unix address is one of Linux's names that have no file. It is not empty.
func isAbstract(address string) bool { return address[0] == 0 || address[0] == '@' }

// MayBlock reports whether methods of the listener may be the user's code, and so may block.
func MayBlock(ln net.Listener) bool {
	switch ln.(type) {
	case *net.TCPListener, *net.UnixListener, *fileListener:
		return false
	}
	return true
}

// fileListener removes the file that it has created, and no other. The embedded listener removes none.
type fileListener struct {
	*net.UnixListener
	path string // absolute, because the working directory may change before Close
	file fs.FileInfo
	keep atomic.Bool // Close does not remove the file
}

// SetUnlinkOnClose is the method of the embedded listener, for the file that Close removes.
func (l *fileListener) SetUnlinkOnClose(unlink bool) { l.keep.Store(!unlink) }

func (l *fileListener) Close() error {
	if l.keep.Load() {
		return l.UnixListener.Close()
	}
	// The open socket holds its inode, so that no other file can have that number yet.
	err := removeOwn(l.path, l.file)
	return errors.Join(err, l.UnixListener.Close())
}

// binding serializes the binds of this process, also where lockDirectory has no effect.
var binding sync.Mutex

// listenFile listens at a path. It replaces a stale socket file.
func listenFile(path string, mode fs.FileMode) (net.Listener, error) {
	full, err := absolute(path)
	if err != nil {
		return nil, err
	}
	binding.Lock()
	defer binding.Unlock()
	dir, _ := filepath.Split(full)
	defer lockDirectory(dir)()

	ln, file, err := bindFile(path, mode)
	if nodecode.Of(err) == "EADDRINUSE" && !errors.Is(err, errReplaced) {
		if kept := removeStale(path); kept != nil {
			return nil, fmt.Errorf("%w: %v", err, kept)
		}
		ln, file, err = bindFile(path, mode)
	}
	if err != nil {
		return nil, err
	}
	return &fileListener{UnixListener: ln, path: full, file: file}, nil
}
