package nodecode

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
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
	var authority x509.UnknownAuthorityError
	if errors.As(err, &authority) {
		return chainCode(err, authority.Error())
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return recordCode(record)
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return "UNSPECIFIED"
	}
	return protocolCode(err)
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
	case x509.IncompatibleUsage, x509.NotAuthorizedToSign:
		return "INVALID_PURPOSE"
	}
	return "UNSPECIFIED"
}

// chainCode returns the code for a chain of certificates whose issuer is unknown. text is the text of the x509 error, which
// alone says why a known issuer did not match.
func chainCode(err error, text string) string {
	switch {
	case strings.Contains(text, "verification failure"), strings.Contains(text, "verification error"):
		return "CERT_SIGNATURE_FAILURE"
	case strings.Contains(text, "cannot sign this kind of certificate"):
		return "INVALID_PURPOSE"
	}
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

// recordCode returns the code for a record that is not one of TLS, or not the first of a handshake.
func recordCode(err tls.RecordHeaderError) string {
	if strings.HasPrefix(err.Msg, "oversized record") {
		return "ERR_SSL_PACKET_LENGTH_TOO_LONG"
	}
	if err.RecordHeader[1] == 3 { // the major version of TLS
		return "ERR_SSL_UNEXPECTED_MESSAGE"
	}
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
