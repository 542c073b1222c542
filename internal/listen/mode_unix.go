//go:build unix && !linux

package listen

import (
	"fmt"
	"io/fs"
	"os"
)

// restrict does nothing: here fchmod refuses a socket, and bind ignores the socket's permissions.
func restrict(int, fs.FileMode) error { return nil }

// settleFile sets the permissions of the file at path to mode, unless mode is 0, and returns the file. The file is nil
// if it may not be the socket's. If settleFile returns a file and an error, the caller removes the file.
//
// Chmod follows a link, and a socket file cannot be opened. The checks before and after it report a file that was
// replaced, but they do not protect the file that Chmod may have changed instead. So ServerOptions.SocketMode requires
// that no other user has write permission for the directory.
func settleFile(_ int, path string, mode fs.FileMode) (fs.FileInfo, error) {
	file, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkCreated(file, false); err != nil {
		return nil, err
	}
	if mode == 0 {
		return file, nil
	}
	if err := os.Chmod(path, mode); err != nil {
		return file, err
	}
	now, err := os.Lstat(path)
	if err == nil && !os.SameFile(now, file) {
		err = fmt.Errorf("%w: it was replaced", errReplaced)
	}
	return file, err
}
