//go:build !386 && !s390x

package netpoll

import "syscall"

// Numbers of system calls. SysGetsockopt is also for other packages.
const (
	SysGetsockopt = syscall.SYS_GETSOCKOPT
	sysSendto     = syscall.SYS_SENDTO
	sysSendmsg    = syscall.SYS_SENDMSG
	sysRecvfrom   = syscall.SYS_RECVFROM
)
