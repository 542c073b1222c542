package evnet

import (
	"errors"
	"syscall"
)

// Winsock has numbers of its own for what the syscall package names after POSIX.
var winsock = map[syscall.Errno]string{
	10013: "EACCES",
	10022: "EINVAL",
	10024: "EMFILE",
	10037: "EALREADY",
	10048: "EADDRINUSE",
	10049: "EADDRNOTAVAIL",
	10051: "ENETUNREACH",
	10053: "ECONNABORTED",
	10054: "ECONNRESET",
	10056: "EISCONN",
	10057: "ENOTCONN",
	10060: "ETIMEDOUT",
	10061: "ECONNREFUSED",
	10065: "EHOSTUNREACH",
}

func platformCode(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return winsock[errno]
	}
	return ""
}
