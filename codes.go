package evnet

import (
	"context"
	"errors"
	"net"
	"syscall"

	"evnet/internal/seam"
)

// codes are Node's codes for errors that errors.Is tells apart. The first that fits counts: what
// evnet says itself, then what it stands for.
var codes = []struct {
	err  error
	code string
}{
	{ErrWriteAfterEnd, "ERR_STREAM_WRITE_AFTER_END"},
	{ErrClosedBeforeConnect, "ERR_SOCKET_CLOSED_BEFORE_CONNECTION"},
	{ErrSocketClosed, "ERR_SOCKET_CLOSED"},
	{ErrDestroyed, "ERR_STREAM_DESTROYED"},
	{ErrServerAlreadyListening, "ERR_SERVER_ALREADY_LISTEN"},
	{ErrServerNotRunning, "ERR_SERVER_NOT_RUNNING"},
	{ErrUnknownEncoding, "ERR_UNKNOWN_ENCODING"},
	{ErrConsumed, "ERR_INVALID_STATE"},
	{ErrUnshiftAfterEnd, "ERR_STREAM_UNSHIFT_AFTER_END_EVENT"},
	{ErrInvalidTimeout, "ERR_OUT_OF_RANGE"},
	{ErrBlocked, "ERR_IP_BLOCKED"},
	{ErrInvalidAddress, "ERR_INVALID_ADDRESS"},
	{ErrInvalidRange, "ERR_INVALID_ARG_VALUE"},
	{ErrInvalidPrefix, "ERR_OUT_OF_RANGE"},
	{ErrNilArgument, "ERR_INVALID_ARG_TYPE"},
	{ErrWriteBufferFull, "ENOBUFS"},
	{errInvalidIP, "ERR_INVALID_IP_ADDRESS"},
	{errFamily, "ERR_INVALID_ARG_VALUE"},
	{errSocketMode, "ERR_INVALID_ARG_VALUE"},
	{errAbstractMode, "ERR_INVALID_ARG_VALUE"},
	{connectTimeout{}, "ERR_SOCKET_CONNECTION_TIMEOUT"},
	{errHandshakeTimeout, "ERR_TLS_HANDSHAKE_TIMEOUT"},
	{errCutOff, "ECONNRESET"},
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

// Code returns Node's code for err, such as "ECONNREFUSED" or "ERR_STREAM_WRITE_AFTER_END", and
// "" when err is nil or Node has no code for it. Any goroutine may call it. For a ConnectError it
// is the code of the first attempt. Node: error.code.
func Code(err error) string {
	var all *ConnectError
	if errors.As(err, &all) && len(all.Errs) > 0 {
		return Code(all.Errs[0])
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && !errors.Is(err, context.Canceled) {
		return dnsCode(dns) // whatever has failed on the way to the name server
	}
	var own *seam.Error
	if errors.As(err, &own) {
		return own.Code
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
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

// dnsCode is what getaddrinfo would have said.
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
