package nodecode

import (
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
)

// Failures of the TLS protocol. testdata/codes.json has the codes that Node reports for them.

// received are OpenSSL's names of the alerts that a peer sends, by their number in TLS.
var received = map[uint64]string{
	10:  "SSLV3_ALERT_UNEXPECTED_MESSAGE",
	20:  "SSLV3_ALERT_BAD_RECORD_MAC",
	21:  "TLSV1_ALERT_DECRYPTION_FAILED",
	22:  "TLSV1_ALERT_RECORD_OVERFLOW",
	30:  "SSLV3_ALERT_DECOMPRESSION_FAILURE",
	40:  "SSLV3_ALERT_HANDSHAKE_FAILURE",
	41:  "SSLV3_ALERT_NO_CERTIFICATE",
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
	60:  "TLSV1_ALERT_EXPORT_RESTRICTION",
	70:  "TLSV1_ALERT_PROTOCOL_VERSION",
	71:  "TLSV1_ALERT_INSUFFICIENT_SECURITY",
	80:  "TLSV1_ALERT_INTERNAL_ERROR",
	86:  "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
	90:  "TLSV1_ALERT_USER_CANCELLED",
	100: "TLSV1_ALERT_NO_RENEGOTIATION",
	109: "TLSV13_ALERT_MISSING_EXTENSION",
	110: "TLSV1_UNSUPPORTED_EXTENSION",
	111: "TLSV1_CERTIFICATE_UNOBTAINABLE",
	112: "TLSV1_UNRECOGNIZED_NAME",
	113: "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
	114: "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
	115: "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
	116: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
	120: "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
}

// sent are OpenSSL's names of failures for which package tls has no error but the alert that it sends.
var sent = map[uint64]string{
	10: "UNEXPECTED_MESSAGE",
	20: "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
}

// reasons are OpenSSL's names of failures, by the beginning of the error's text in package tls.
var reasons = []struct{ text, name string }{
	{"client didn't provide a certificate", "PEER_DID_NOT_RETURN_A_CERTIFICATE"},
	{"client offered only unsupported versions", "UNSUPPORTED_PROTOCOL"},
	{"server selected unsupported protocol version", "UNSUPPORTED_PROTOCOL"},
	{"no cipher suite supported by both", "NO_SHARED_CIPHER"},
	{"no key exchanges supported by both", "NO_SUITABLE_KEY_SHARE"},
	{"client requested unsupported application protocols", "NO_APPLICATION_PROTOCOL"},
	{"no certificates configured", "NO_SUITABLE_SIGNATURE_ALGORITHM"},
	{"peer doesn't support any of the certificate's signature algorithms", "NO_SUITABLE_SIGNATURE_ALGORITHM"},
	{"peer doesn't support the certificate custom signature algorithms", "NO_SUITABLE_SIGNATURE_ALGORITHM"},
	{"client using inappropriate protocol fallback", "INAPPROPRIATE_FALLBACK"},
	{"downgrade attempt detected", "INAPPROPRIATE_FALLBACK"},
	{"server chose an unconfigured cipher suite", "WRONG_CIPHER_RETURNED"},
	{"server selected unsupported compression format", "UNSUPPORTED_COMPRESSION_ALGORITHM"},
	{"server advertised unrequested ALPN extension", "UNSOLICITED_EXTENSION"},
	{"server did not echo the legacy session ID", "INVALID_SESSION_ID"},
	{"received unexpected", "UNEXPECTED_MESSAGE"},
	{"handshake message of length", "EXCESSIVE_MESSAGE_SIZE"},
}

// protocolCode returns the code for an error that contains an alert, an error of package tls, or a handshake that has
// failed in another way.
func protocolCode(err error) string {
	handshake := false
	for rest := err; rest != nil; rest = errors.Unwrap(rest) {
		if op, ok := rest.(*net.OpError); ok {
			switch op.Op {
			case "remote error":
				return alertCode(op.Err, received, "ECONNRESET") // Node ignores an unknown alert, but not that the peer ends
			case "local error":
				return alertCode(op.Err, sent, "EPROTO")
			case "handshake":
				handshake = true
			}
			continue
		}
		text, ours := strings.CutPrefix(rest.Error(), "tls: ")
		if !ours {
			continue
		}
		for _, r := range reasons {
			if strings.HasPrefix(text, r.text) {
				return "ERR_SSL_" + r.name
			}
		}
		return "EPROTO"
	}
	switch {
	case !handshake:
		return ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "ECONNRESET"
	}
	return "EPROTO"
}

// alertCode returns the code for an alert, or unknown. Package tls has an unexported integer type for it; the exported
// tls.AlertError is for QUIC only.
func alertCode(err error, names map[uint64]string, unknown string) string {
	if v := reflect.ValueOf(err); v.Kind() == reflect.Uint8 {
		if name := names[v.Uint()]; name != "" {
			return "ERR_SSL_" + name
		}
		return unknown
	}
	return "EPROTO"
}
