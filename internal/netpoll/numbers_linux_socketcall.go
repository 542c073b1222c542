//go:build linux && (386 || s390x)

package netpoll

// Numbers of system calls that exist since Linux 4.3. Package syscall still uses socketcall. SysGetsockopt is also for
// other packages.
const (
	SysGetsockopt = 365
	sysSendto     = 369
	sysSendmsg    = 370
	sysRecvfrom   = 371
)
