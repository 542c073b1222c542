package nodecode

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"reflect"
	"time"
)

// tlsCode returns the code of Node or OpenSSL for a TLS failure.
func tlsCode(err error) string {
	var host x509.HostnameError
	if errors.As(err, &host) {
		return "ERR_TLS_CERT_ALTNAME_INVALID"
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		return invalidCode(invalid)
	}
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return chainCode(err)
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return recordCode(record)
	}
	var op *net.OpError
	for rest := err; errors.As(rest, &op); rest = op.Err {
		if op.Op == "remote error" {
			return alertCode(op.Err)
		}
	}
	if errors.As(err, &op) && op.Op == "handshake" {
		return "EPROTO"
	}
	return ""
}

// invalidCode returns the code for a certificate that fails verification.
func invalidCode(err x509.CertificateInvalidError) string {
	switch err.Reason {
	case x509.Expired:
		if err.Cert != nil && time.Now().Before(err.Cert.NotBefore) {
			return "CERT_NOT_YET_VALID"
		}
		return "CERT_HAS_EXPIRED"
	case x509.TooManyIntermediates:
		return "PATH_LENGTH_EXCEEDED"
	case x509.IncompatibleUsage:
		return "INVALID_PURPOSE"
	}
	return "CERT_REJECTED"
}

// chainCode returns the code for a chain of certificates whose issuer is unknown.
func chainCode(err error) string {
	var failed *tls.CertificateVerificationError
	if !errors.As(err, &failed) || len(failed.UnverifiedCertificates) == 0 {
		return "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
	}
	chain := failed.UnverifiedCertificates
	top := chain[len(chain)-1]
	switch selfSigned := bytes.Equal(top.RawIssuer, top.RawSubject); {
	case len(chain) == 1 && selfSigned:
		return "DEPTH_ZERO_SELF_SIGNED_CERT"
	case len(chain) == 1:
		return "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
	case selfSigned:
		return "SELF_SIGNED_CERT_IN_CHAIN"
	}
	return "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
}

// recordCode returns the code for a peer that does not speak TLS.
func recordCode(err tls.RecordHeaderError) string {
	for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT "} {
		if bytes.HasPrefix(err.RecordHeader[:], []byte(method)) {
			return "ERR_SSL_HTTP_REQUEST"
		}
	}
	if string(err.RecordHeader[:]) == "CONNE" {
		return "ERR_SSL_HTTPS_PROXY_REQUEST"
	}
	return "ERR_SSL_WRONG_VERSION_NUMBER"
}

// alerts are OpenSSL's names of the alerts that a peer sends, by their number in TLS.
var alerts = map[uint64]string{
	10:  "SSLV3_ALERT_UNEXPECTED_MESSAGE",
	20:  "SSLV3_ALERT_BAD_RECORD_MAC",
	22:  "TLSV1_ALERT_RECORD_OVERFLOW",
	40:  "SSLV3_ALERT_HANDSHAKE_FAILURE",
	42:  "SSLV3_ALERT_BAD_CERTIFICATE",
	43:  "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
	44:  "SSLV3_ALERT_CERTIFICATE_REVOKED",
	45:  "SSLV3_ALERT_CERTIFICATE_EXPIRED",
	46:  "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
	47:  "SSLV3_ALERT_ILLEGAL_PARAMETER",
	48:  "TLSV1_ALERT_UNKNOWN_CA",
	49:  "TLSV1_ALERT_ACCESS_DENIED",
	50:  "TLSV1_ALERT_DECODE_ERROR",
	51:  "TLSV1_ALERT_DECRYPT_ERROR",
	70:  "TLSV1_ALERT_PROTOCOL_VERSION",
	71:  "TLSV1_ALERT_INSUFFICIENT_SECURITY",
	80:  "TLSV1_ALERT_INTERNAL_ERROR",
	86:  "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
	90:  "TLSV1_ALERT_USER_CANCELLED",
	100: "TLSV1_ALERT_NO_RENEGOTIATION",
	109: "TLSV13_ALERT_MISSING_EXTENSION",
	110: "TLSV1_UNSUPPORTED_EXTENSION",
	112: "TLSV1_UNRECOGNIZED_NAME",
	113: "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
	116: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
	120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}

// alertCode returns the code for an alert. Package tls has an unexported integer type for it; the exported tls.AlertError
// is for QUIC only.
func alertCode(err error) string {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Uint8 {
		if name := alerts[v.Uint()]; name != "" {
			return "ERR_SSL_" + name
		}
	}
	return "EPROTO"
}
