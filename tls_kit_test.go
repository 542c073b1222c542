package evnet_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// What the tests of TLS need: certificates that are made while they run, and never expire in a file.

// authority is who the tests trust, and an intermediate of theirs.
var authority = sync.OnceValue(func() (a struct{ root, middle tls.Certificate }) {
	ca := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames, c.IPAddresses = true, true, x509.KeyUsageCertSign, nil, nil
		c.ExtKeyUsage = nil
	}
	a.root = issue(nil, func(c *x509.Certificate) { ca(c); c.Subject.CommonName = "root" })
	a.middle = issue(&a.root, func(c *x509.Certificate) { ca(c); c.Subject.CommonName = "middle" })
	return a
})

// issue makes a certificate for localhost, 127.0.0.1 and ::1, or as change has it, signed by whom or by itself.
func issue(by *tls.Certificate, change func(*x509.Certificate)) tls.Certificate {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	must(err)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "evnet"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0), // the first test may have a clock of its own
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// trusted is a certificate of the authority.
var trusted = sync.OnceValue(func() tls.Certificate {
	root := authority().root
	return issue(&root, nil)
})

func serving() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{trusted()}} }

func roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(authority().root.Leaf)
	return pool
}

func trusting() *tls.Config { return &tls.Config{RootCAs: roots()} }

// certificateFiles are for other programs: the authority's certificate, the server's and its key.
func certificateFiles(t testing.TB) (ca, cert, key string) {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(trusted().PrivateKey)
	require.NoError(t, err)
	return write("ca.pem", "CERTIFICATE", authority().root.Certificate[0]),
		write("cert.pem", "CERTIFICATE", trusted().Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}

// serveTLS makes a server on l that speaks TLS.
func serveTLS(t testing.TB, l *evnet.Loop, opts evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	t.Helper()
	if opts.TLSConfig == nil {
		opts.TLSConfig = serving()
	}
	return serve(t, l, &opts, onConnection)
}

// clientTLS makes a socket on l that speaks TLS once it is connected.
func clientTLS(l *evnet.Loop, change ...func(*evnet.SocketOptions)) *evnet.Socket {
	opts := evnet.SocketOptions{Loop: l, TLSConfig: trusting(), Resolver: ips("127.0.0.1")}
	for _, c := range change {
		c(&opts)
	}
	return evnet.NewSocket(&opts)
}

// meetTLS makes one connection, as meet does. The server ends with it, also where it comes to nothing.
func meetTLS(t testing.TB, l *evnet.Loop, opts evnet.ServerOptions, accepted, connecting func(*evnet.Socket)) *evnet.Socket {
	t.Helper()
	server, addr := serveTLS(t, l, opts, accepted)
	c := clientTLS(l)
	if connecting != nil {
		connecting(c)
	}
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	return c
}

// leavesNothing checks at the end of the test that no goroutine of it is left.
func leavesNothing(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
