//go:build !unix

package listen

import "syscall"

// setNonblocking does nothing: descriptors have no such flag.
func setNonblocking(syscall.RawConn) {}
