//go:build unix && !linux

package listen

import (
	"fmt"
	"io/fs"
	"os"
)

// restrict does nothing: here fchmod refuses a socket, and bind ignores the socket's permissions.
func restrict(int, fs.FileMode) error { return nil }

// settleFile gives the file at path the permissions mode, if there are any, and returns the file.
// The file is nil if it may not be the socket's; an error with a file leaves the file to the caller.
//
// Chmod follows a link, and a socket file cannot be opened. The checks before and after report a file
// that was replaced, but they do not protect the one that Chmod may have reached: ServerOptions
// says that nobody else may write to the directory.
func settleFile(_ int, path string, mode fs.FileMode) (fs.FileInfo, error) {
	made, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkMade(made, false); err != nil {
		return nil, err
	}
	if mode == 0 {
		return made, nil
	}
	if err := os.Chmod(path, mode); err != nil {
		return made, err
	}
	now, err := os.Lstat(path)
	if err == nil && !os.SameFile(now, made) {
		err = fmt.Errorf("%w: it was replaced", errReplaced)
	}
	return made, err
}
