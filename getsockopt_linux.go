//go:build !386 && !s390x

package evnet

import "syscall"

const sysGetsockopt = syscall.SYS_GETSOCKOPT
