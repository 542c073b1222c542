//go:build !linux

package nodecode

import "syscall"

// platformNamed are the errors that only some systems have.
var platformNamed []struct {
	errno syscall.Errno
	code  string
}
