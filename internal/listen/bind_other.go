//go:build !unix

package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"evnet/internal/nodecode"
)

// maxPath is the maximum length of a socket's path on Windows, without the NUL at its end.
const maxPath = 107

func absolute(path string) (string, error) { return filepath.Abs(path) }

// openDirectory returns a directory by its path: a socket file on Windows is a reparse point, and os.Root is not tested
// with those.
func openDirectory(path string) directory { return pathDirectory(path) }

// bindFile listens at a path that must be free, and returns the socket's file. Windows has no permission bits.
func bindFile(path string, mode fs.FileMode) (*net.UnixListener, fs.FileInfo, error) {
	if mode != 0 {
		return nil, nil, fmt.Errorf("SocketMode: %w", errors.ErrUnsupported)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		_ = ln.Close()
		return nil, nil, err
	}
	ln.SetUnlinkOnClose(false) // fileListener removes the file
	return ln, file, nil
}

// checkStale returns nil if no socket listens at the file at path.
func checkStale(path string) error {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return errors.New("a socket is bound to it")
	}
	if nodecode.Of(err) != "ECONNREFUSED" {
		return fmt.Errorf("a socket may be bound to it: %w", err)
	}
	return nil
}

// CheckListening accepts every listener: Windows does not report whether a socket listens.
func CheckListening(net.Listener) error { return nil }
