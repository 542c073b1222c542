//go:build linux && (386 || s390x)

package evnet

const sysGetsockopt = 365 // since Linux 4.3; package syscall still uses socketcall
