package nodecode

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// wrap puts an error into an operation, as package net does.
func wrap(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

func TestOf(t *testing.T) {
	own := &Error{Text: "own", Code: "ERR_OWN", Cause: syscall.EPIPE}
	tests := []struct {
		err  error
		want string
	}{
		{nil, ""},
		{io.ErrUnexpectedEOF, ""},
		{net.ErrClosed, ""},

		{own, "ERR_OWN"},
		{wrap("write", fmt.Errorf("more: %w", own)), "ERR_OWN"},
		{fmt.Errorf("%w: %w", context.Canceled, own), "ERR_OWN"},
		{&Error{Text: "own", Cause: syscall.EPIPE}, "EPIPE"},
		{&Error{Text: "own"}, ""},

		{syscall.ECONNREFUSED, "ECONNREFUSED"},
		{wrap("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "EHOSTUNREACH"},
		{wrap("dial", context.Canceled), "ABORT_ERR"},
		{context.DeadlineExceeded, "ETIMEDOUT"},
		{os.ErrDeadlineExceeded, "ETIMEDOUT"},
		{errors.ErrUnsupported, "ENOTSUP"},

		{&net.DNSError{Err: "no such host", IsNotFound: true}, "ENOTFOUND"},
		{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, "EAI_AGAIN"},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true, UnwrapErr: context.DeadlineExceeded}, "EAI_AGAIN"},
		{&net.DNSError{Err: "server failure"}, "EAI_FAIL"},
		{&net.DNSError{Err: "unknown port", IsNotFound: true}, "ERR_SOCKET_BAD_PORT"},
		{&net.DNSError{Err: "connection refused", IsTemporary: true, UnwrapErr: syscall.ECONNREFUSED}, "EAI_AGAIN"},
		{&net.DNSError{Err: "canceled", UnwrapErr: context.Canceled}, "ABORT_ERR"},

		{net.UnknownNetworkError("tcp5"), "ERR_INVALID_ARG_VALUE"},
		{&net.AddrError{Err: "invalid port"}, "ERR_SOCKET_BAD_PORT"},
		{&net.AddrError{Err: "missing port in address"}, "ERR_MISSING_ARGS"},
		{&net.AddrError{Err: "mismatched local address type"}, "ERR_INVALID_IP_ADDRESS"},
		{&net.AddrError{Err: "too many colons in address"}, "ERR_INVALID_ARG_VALUE"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, Of(tt.err), "%v", tt.err)
	}
}

// recordAlert is a type like the one that package tls has for an alert.
type recordAlert uint8

func (recordAlert) Error() string { return "alert" }

func TestOf_TLS(t *testing.T) {
	now := time.Now()
	certificate := func(issuer, subject string) *x509.Certificate {
		return &x509.Certificate{RawIssuer: []byte(issuer), RawSubject: []byte(subject)}
	}
	unverified := func(chain ...*x509.Certificate) error {
		return wrap("handshake", &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: x509.UnknownAuthorityError{}})
	}
	invalid := func(reason x509.InvalidReason, from time.Time) error {
		return x509.CertificateInvalidError{Cert: &x509.Certificate{NotBefore: from}, Reason: reason}
	}
	record := func(header string) error {
		e := tls.RecordHeaderError{Msg: "not TLS"}
		copy(e.RecordHeader[:], header)
		return wrap("handshake", e)
	}
	tests := []struct {
		err  error
		want string
	}{
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, "ERR_TLS_CERT_ALTNAME_INVALID"},
		{invalid(x509.Expired, now.Add(-time.Hour)), "CERT_HAS_EXPIRED"},
		{invalid(x509.Expired, now.Add(time.Hour)), "CERT_NOT_YET_VALID"},
		{invalid(x509.TooManyIntermediates, now), "PATH_LENGTH_EXCEEDED"},
		{invalid(x509.IncompatibleUsage, now), "INVALID_PURPOSE"},
		{invalid(x509.NotAuthorizedToSign, now), "INVALID_PURPOSE"},
		{x509.UnknownAuthorityError{}, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"},
		{unverified(certificate("a", "a")), "DEPTH_ZERO_SELF_SIGNED_CERT"},
		{unverified(certificate("a", "b")), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"},
		{unverified(certificate("a", "b"), certificate("a", "a")), "SELF_SIGNED_CERT_IN_CHAIN"},
		{unverified(certificate("a", "b"), certificate("c", "a")), "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
		{record("GET / HTTP/1.1"), "ERR_SSL_HTTP_REQUEST"},
		{record("CONNECT"), "ERR_SSL_HTTPS_PROXY_REQUEST"},
		{record("SSH-2"), "ERR_SSL_WRONG_VERSION_NUMBER"},
		{wrap("remote error", recordAlert(40)), "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"},
		{wrap("read", wrap("remote error", recordAlert(116))), "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"},
		{wrap("remote error", recordAlert(255)), "ECONNRESET"},
		{wrap("local error", recordAlert(20)), "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC"},
		{wrap("local error", recordAlert(50)), "EPROTO"},
		{wrap("remote error", errors.New("other")), "EPROTO"},
		{wrap("handshake", errors.New("other")), "EPROTO"},
		{wrap("read", errors.New("other")), ""},
		{wrap("read", errors.New("tls: too many ignored records")), "EPROTO"},
		{wrap("handshake", io.EOF), "ECONNRESET"},
		{wrap("handshake", io.ErrUnexpectedEOF), "ECONNRESET"},
		{wrap("read", io.ErrUnexpectedEOF), ""},
		{&tls.CertificateVerificationError{Err: x509.UnhandledCriticalExtension{}}, "UNSPECIFIED"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, Of(tt.err), "%v", tt.err)
	}
}

// An Error is itself and its cause for errors.Is, and has its own text.
func TestError(t *testing.T) {
	e := &Error{Text: "own", Code: "ERR_OWN", Cause: net.ErrClosed}
	same := &Error{Text: "own", Code: "ERR_OWN", Cause: net.ErrClosed}
	assert.EqualError(t, e, "own")
	assert.ErrorIs(t, fmt.Errorf("wrapped: %w", e), e)
	assert.ErrorIs(t, e, net.ErrClosed)
	assert.NotErrorIs(t, e, same)
}
