//go:build linux && (386 || s390x)

package netpoll

// SysGetsockopt is the number of the getsockopt system call, which exists since Linux 4.3. Package syscall still uses
// socketcall.
const SysGetsockopt = 365
