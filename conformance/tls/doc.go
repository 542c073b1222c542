// Package tls has the tests of TLS and StartTLS: handshakes, events, ends and failures, with peers of crypto/tls, Node and
// OpenSSL.
package tls
