// Package nodecode returns Node's code for an error, such as "ECONNREFUSED".
//
// An error that evnet or dgram creates carries its code as an Error. Of also has the codes for errors of the operating
// system, of package net and of crypto/tls. The package knows neither sockets nor loops. Any goroutine may call it.
package nodecode

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// Error is an error with Node's code. Use pointers to it: errors.Is treats each pointer as a distinct error.
type Error struct {
	Text  string
	Code  string // if "", Of returns the code of Cause
	Cause error  // what Unwrap returns, not part of the text; may be nil
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// standard are the codes of errors that errors.Is finds. The first match counts.
var standard = []struct {
	err  error
	code string
}{
	{context.Canceled, "ABORT_ERR"},
	{context.DeadlineExceeded, "ETIMEDOUT"},
	{syscall.EACCES, "EACCES"},
	{syscall.EADDRINUSE, "EADDRINUSE"},
	{syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"},
	{syscall.EAFNOSUPPORT, "EAFNOSUPPORT"},
	{syscall.EALREADY, "EALREADY"},
	{syscall.EBADF, "EBADF"},
	{syscall.ECANCELED, "ECANCELED"},
	{syscall.ECONNABORTED, "ECONNABORTED"},
	{syscall.ECONNREFUSED, "ECONNREFUSED"},
	{syscall.ECONNRESET, "ECONNRESET"},
	{syscall.EDESTADDRREQ, "EDESTADDRREQ"},
	{syscall.EHOSTDOWN, "EHOSTDOWN"},
	{syscall.EHOSTUNREACH, "EHOSTUNREACH"},
	{syscall.EINVAL, "EINVAL"},
	{syscall.EISCONN, "EISCONN"},
	{syscall.ELOOP, "ELOOP"},
	{syscall.EMFILE, "EMFILE"},
	{syscall.EMSGSIZE, "EMSGSIZE"},
	{syscall.ENAMETOOLONG, "ENAMETOOLONG"},
	{syscall.ENETDOWN, "ENETDOWN"},
	{syscall.ENETUNREACH, "ENETUNREACH"},
	{syscall.ENFILE, "ENFILE"},
	{syscall.ENOBUFS, "ENOBUFS"},
	{syscall.ENODEV, "ENODEV"},
	{syscall.ENOENT, "ENOENT"},
	{syscall.ENOMEM, "ENOMEM"},
	{syscall.ENOPROTOOPT, "ENOPROTOOPT"},
	{syscall.ENOTCONN, "ENOTCONN"},
	{syscall.ENOTDIR, "ENOTDIR"},
	{syscall.ENOTSOCK, "ENOTSOCK"},
	{syscall.EOPNOTSUPP, "EOPNOTSUPP"},
	{syscall.EPERM, "EPERM"},
	{syscall.EPIPE, "EPIPE"},
	{syscall.EPROTONOSUPPORT, "EPROTONOSUPPORT"},
	{syscall.EPROTOTYPE, "EPROTOTYPE"},
	{syscall.EROFS, "EROFS"},
	{syscall.ETIMEDOUT, "ETIMEDOUT"},
	{syscall.ENOSYS, "ENOSYS"},
	{errors.ErrUnsupported, "ENOTSUP"},
}

// Of returns Node's code for err, or "" if err is nil or Node has none for it.
func Of(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) && !errors.Is(err, context.Canceled) {
		return dnsCode(dns) // even if it wraps an error of the connection to the name server
	}
	var own *Error
	if errors.As(err, &own) && own.Code != "" {
		return own.Code
	}
	for _, s := range standard {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	if code := platformCode(err); code != "" {
		return code
	}
	if code := tlsCode(err); code != "" {
		return code
	}
	var network net.UnknownNetworkError
	if errors.As(err, &network) {
		return "ERR_INVALID_ARG_VALUE"
	}
	var addr *net.AddrError
	if errors.As(err, &addr) {
		return addrCode(addr)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "ETIMEDOUT"
	}
	return ""
}

// dnsCode returns the code of getaddrinfo, on which Node's lookup is based.
func dnsCode(err *net.DNSError) string {
	switch {
	case err.Err == "unknown port":
		return "ERR_SOCKET_BAD_PORT"
	case err.IsNotFound:
		return "ENOTFOUND"
	case err.IsTemporary || err.IsTimeout:
		return "EAI_AGAIN"
	}
	return "EAI_FAIL"
}

// addrCode returns the code of an address that package net has refused.
func addrCode(err *net.AddrError) string {
	switch err.Err {
	case "invalid port":
		return "ERR_SOCKET_BAD_PORT"
	case "missing port in address":
		return "ERR_MISSING_ARGS"
	case "mismatched local address type":
		return "ERR_INVALID_IP_ADDRESS"
	}
	return "ERR_INVALID_ARG_VALUE"
}
