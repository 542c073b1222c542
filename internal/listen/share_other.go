//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package listen

import (
	"errors"
	"fmt"
	"syscall"
)

// Without a lock on directories, servers of other processes are watched for as strangers are.
func lockDirectory(string) (unlock func()) { return func() {} }

func reusePort(string, string, syscall.RawConn) error {
	return fmt.Errorf("ReusePort: %w", errors.ErrUnsupported)
}
