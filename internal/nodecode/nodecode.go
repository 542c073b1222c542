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
	switch {
	case errors.Is(err, context.Canceled):
		return "ABORT_ERR"
	case errors.Is(err, context.DeadlineExceeded):
		return "ETIMEDOUT"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errnoCode(errno)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return "ENOTSUP"
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
