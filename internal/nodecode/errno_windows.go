package nodecode

import (
	"errors"
	"syscall"
)

// winsock are the codes of Windows errors. Their numbers differ from those that package syscall has for the POSIX names.
var winsock = map[syscall.Errno]string{
	2:     "ENOENT",
	3:     "ENOENT",
	5:     "EACCES",
	10009: "EBADF",
	10013: "EACCES",
	10022: "EINVAL",
	10024: "EMFILE",
	10037: "EALREADY",
	10038: "ENOTSOCK",
	10039: "EDESTADDRREQ",
	10040: "EMSGSIZE",
	10041: "EPROTOTYPE",
	10042: "ENOPROTOOPT",
	10043: "EPROTONOSUPPORT",
	10045: "EOPNOTSUPP",
	10047: "EAFNOSUPPORT",
	10048: "EADDRINUSE",
	10049: "EADDRNOTAVAIL",
	10050: "ENETDOWN",
	10051: "ENETUNREACH",
	10053: "ECONNABORTED",
	10054: "ECONNRESET",
	10055: "ENOBUFS",
	10056: "EISCONN",
	10057: "ENOTCONN",
	10060: "ETIMEDOUT",
	10061: "ECONNREFUSED",
	10064: "EHOSTDOWN",
	10065: "EHOSTUNREACH",
}

// platformCode returns the code of a Windows error.
func platformCode(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return winsock[errno]
	}
	return ""
}
