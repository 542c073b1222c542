package evtest

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

	"github.com/stretchr/testify/require"
)

// SelfSigned returns a self-signed certificate for "localhost", made once for all tests.
var SelfSigned = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		DNSNames:  []string{"localhost"},
		NotBefore: time.Unix(0, 0),
		NotAfter:  time.Unix(1<<32, 0), // the first test may run under a fake clock
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

func NamedClientConfig() *tls.Config {
	config := ClientConfig()
	config.ServerName = "localhost"
	return config
}

// Authority returns the root that the tests trust, and an intermediate of it.
var Authority = sync.OnceValue(func() (a struct{ Root, Middle tls.Certificate }) {
	ca := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames, c.IPAddresses = true, true, x509.KeyUsageCertSign, nil, nil
		c.ExtKeyUsage = nil
	}
	a.Root = Issue(nil, func(c *x509.Certificate) { ca(c); c.Subject.CommonName = "root" })
	a.Middle = Issue(&a.Root, func(c *x509.Certificate) { ca(c); c.Subject.CommonName = "middle" })
	return a
})

// Issue makes a certificate for localhost, 127.0.0.1 and ::1, which change may modify. by signs it; if by is nil, it
// is self-signed.
func Issue(by *tls.Certificate, change func(*x509.Certificate)) tls.Certificate {
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
		NotAfter:     time.Unix(1<<32, 0), // the first test may run under a fake clock
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

// Certificate returns a server certificate issued by the authority.
var Certificate = sync.OnceValue(func() tls.Certificate {
	root := Authority().Root
	return Issue(&root, nil)
})

func ServerConfig() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{Certificate()}} }

func Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(Authority().Root.Leaf)
	return pool
}

func ClientConfig() *tls.Config { return &tls.Config{RootCAs: Roots()} }

// CertificateFiles writes files for other programs: the authority's certificate, the server's and its key.
func CertificateFiles(t testing.TB) (ca, cert, key string) {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	der, err := x509.MarshalPKCS8PrivateKey(Certificate().PrivateKey)
	require.NoError(t, err)
	return write("ca.pem", "CERTIFICATE", Authority().Root.Certificate[0]),
		write("cert.pem", "CERTIFICATE", Certificate().Certificate[0]), write("key.pem", "PRIVATE KEY", der)
}
