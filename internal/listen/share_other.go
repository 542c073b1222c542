//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package listen

import (
	"errors"
	"fmt"
	"syscall"
)

// lockDirectory has no effect here. The other checks of Listen remain.
func lockDirectory(string) (unlock func()) { return func() {} }

// reusePort fails: the option is missing, or does not spread connections.
func reusePort(string, string, syscall.RawConn) error {
	return fmt.Errorf("ReusePort: %w", errors.ErrUnsupported)
}
