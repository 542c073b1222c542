//go:build !386 && !s390x

package netpoll

import "syscall"

// SysGetsockopt is the number of the getsockopt system call.
const SysGetsockopt = syscall.SYS_GETSOCKOPT
