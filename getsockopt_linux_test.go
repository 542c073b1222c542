//go:build !386

package evnet

import "syscall"

const sysGetsockopt = syscall.SYS_GETSOCKOPT
