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

// maxPath is how long the path of a socket may be on Windows, less the NUL at its end.
const maxPath = 107

func absolute(path string) (string, error) { return filepath.Abs(path) }

// openDirectory goes by path: a socket file on Windows is a reparse point, and os.Root is not tested
// with those.
func openDirectory(path string) directory { return pathDirectory(path) }

// bindFile listens at a path that must be free. There are no permission bits here.
func bindFile(path string, mode fs.FileMode) (*net.UnixListener, fs.FileInfo, error) {
	if mode != 0 {
		return nil, nil, fmt.Errorf("SocketMode: %w", errors.ErrUnsupported)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	made, err := os.Lstat(path)
	if err != nil {
		_ = ln.Close()
		return nil, nil, err
	}
	ln.SetUnlinkOnClose(false) // fileListener does it
	return ln, made, nil
}

// checkAbandoned has no error if nobody listens at the socket file at path.
func checkAbandoned(path string) error {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return errors.New("somebody listens there")
	}
	if nodecode.Of(err) != "ECONNREFUSED" {
		return fmt.Errorf("somebody may listen there: %w", err)
	}
	return nil
}

func CheckListens(net.Listener) error { return nil }
