//go:build !windows

package nodecode

import "syscall"

// platformCode returns "": the numbers of the POSIX names are the kernel's own.
func platformCode(syscall.Errno) string { return "" }
