package nodecode

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests compare Of with testdata/codes.json, the codes that Node reports when testdata/codes.js makes it fail.

var record = flag.Bool("record", false, "write testdata/codes.json")

const codesFile = "testdata/codes.json"

// nodeCodes are the codes of one version of Node, by the name of the failure.
type nodeCodes struct {
	Node    string `json:"node"`
	OpenSSL string `json:"openssl"`
	Errno   struct {
		Names  map[string]int `json:"names"`  // of os.constants.errno
		System map[string]int `json:"system"` // of util.getSystemErrorMap
	} `json:"errno"`
	Alerts       map[string]string `json:"alerts"`       // received by a client
	ToClient     map[string]string `json:"toClient"`     // bytes that a client receives
	ToServer     map[string]string `json:"toServer"`     // bytes that a server receives
	Server       map[string]string `json:"server"`       // settings of both sides that do not fit together
	Certificates map[string]string `json:"certificates"` // that a client refuses
}

func readJSON[T any](t testing.TB, file string) (v T) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &v))
	return v
}

// askNode runs testdata/codes.js.
func askNode(t *testing.T) []byte {
	ca, _, _ := evtest.CertificateFiles(t)
	dir := filepath.Dir(ca)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bad"), 0o700))
	for name, cert := range badCertificates() {
		var chain bytes.Buffer
		for _, der := range cert.Certificate {
			require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		require.NoError(t, err)
		at := filepath.Join(dir, "bad", name)
		require.NoError(t, os.WriteFile(at+"-cert.pem", chain.Bytes(), 0o600))
		require.NoError(t, os.WriteFile(at+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	}
	program := evtest.Command(t, "node", "testdata/codes.js", dir)
	var problems strings.Builder
	program.Stderr = &problems
	printed, err := program.Output()
	require.NoError(t, err, problems.String())
	return printed
}

func TestCodesFile_IsWhatNodeReports(t *testing.T) {
	printed := askNode(t)
	if *record {
		require.NoError(t, os.WriteFile(codesFile, printed, 0o600))
	}
	var now nodeCodes
	require.NoError(t, json.Unmarshal(printed, &now))
	checkErrnos(t, &now)
	recorded := readJSON[nodeCodes](t, codesFile)
	if now.OpenSSL[:2] != recorded.OpenSSL[:2] || now.Node[:4] != recorded.Node[:4] {
		t.Skipf("%s was recorded with Node %s, not %s", codesFile, recorded.Node, now.Node)
	}
	now.Node, now.OpenSSL, now.Errno = recorded.Node, recorded.OpenSSL, recorded.Errno
	assert.Equal(t, recorded, now)
}

func TestOf_NamesSystemErrorsLikeNode(t *testing.T) {
	if runtime.GOOS != "linux" || strings.HasPrefix(runtime.GOARCH, "mips") {
		t.Skip("the numbers were recorded on Linux")
	}
	recorded := readJSON[nodeCodes](t, codesFile)
	require.NotEmpty(t, recorded.Errno.System)
	checkErrnos(t, &recorded)
}

// checkErrnos checks the codes of the errors of the operating system that Node knows.
func checkErrnos(t *testing.T, codes *nodeCodes) {
	if runtime.GOOS == "windows" {
		return // the C library has its own numbers, which no system call returns
	}
	known := map[int]bool{}
	for name, number := range codes.Errno.System {
		known[number] = true
		assert.Equal(t, name, Of(os.NewSyscallError("call", syscall.Errno(number))), "%d", number)
	}
	for name, number := range codes.Errno.Names {
		if !known[number] && Of(syscall.Errno(number)) != name {
			assert.Contains(t, []string{"EOPNOTSUPP", "EWOULDBLOCK"}, name, "%d", number)
		}
	}
}

func TestOf_NamesAlertsLikeNode(t *testing.T) {
	recorded := readJSON[nodeCodes](t, codesFile)
	require.NotEmpty(t, recorded.Alerts)
	for alert := range 256 {
		want := recorded.Alerts[strconv.Itoa(alert)]
		if want == "" {
			want = "ECONNRESET"
		}
		assert.Equal(t, want, Of(wrap("handshake", wrap("remote error", recordAlert(alert)))), "%d", alert)
	}
}

// handshake returns the error of a handshake, of config's side, with a peer that plays on the other end.
func handshake(t *testing.T, side func(net.Conn, *tls.Config) *tls.Conn, config *tls.Config, play func(net.Conn)) error {
	here, there := evtest.TCPPair(t)
	require.NoError(t, here.SetDeadline(time.Now().Add(evtest.Patience)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		play(there)
		_ = there.CloseWrite()
		_, _ = io.Copy(io.Discard, there)
	}()
	conn := side(here, config)
	err := conn.Handshake()
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	require.NoError(t, here.Close())
	<-done
	require.NoError(t, there.Close())
	return err
}

// coarser are the codes of failures about which package tls reports less than OpenSSL.
var coarser = map[string]string{
	"malformed ServerHello":   "EPROTO",
	"malformed ClientHello":   "EPROTO",
	"wrong version":           "ERR_SSL_UNEXPECTED_MESSAGE",
	"corrupt record, TLS 1.2": "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
}

// checkFailure checks the code of err, wrapped as a socket does it.
func checkFailure(t *testing.T, name, want string, err error) {
	if own := coarser[name]; own != "" {
		want = own
	}
	require.NotEmpty(t, want, name)
	assert.Equal(t, want, Of(wrap("handshake", err)), "%s: %v", name, err)
}

func TestOf_NamesFailuresOfTLSLikeNode(t *testing.T) {
	recorded := readJSON[nodeCodes](t, codesFile)
	failures := readJSON[struct{ ToClient, ToServer map[string]string }](t, "testdata/failures.json")
	sends := func(text string, afterHello bool) func(net.Conn) {
		p, err := hex.DecodeString(text)
		require.NoError(t, err)
		return func(there net.Conn) {
			if afterHello {
				_, _ = io.ReadFull(there, make([]byte, 1))
			}
			_, _ = there.Write(p)
		}
	}
	for name, text := range failures.ToClient {
		err := handshake(t, tls.Client, evtest.NamedClientConfig(), sends(text, true))
		checkFailure(t, name, recorded.ToClient[name], err)
	}
	for name, text := range failures.ToServer {
		err := handshake(t, tls.Server, evtest.ServerConfig(), sends(text, false))
		checkFailure(t, name, recorded.ToServer[name], err)
	}
}

// disagreements are settings of a server and a client that do not fit together.
var disagreements = map[string]func(server, client *tls.Config){
	"no client certificate, TLS 1.2": func(s, _ *tls.Config) {
		s.ClientAuth, s.ClientCAs, s.MaxVersion = tls.RequireAndVerifyClientCert, evtest.Roots(), tls.VersionTLS12
	},
	"no client certificate, TLS 1.3": func(s, _ *tls.Config) {
		s.ClientAuth, s.ClientCAs = tls.RequireAndVerifyClientCert, evtest.Roots()
	},
	"unsupported version": func(s, c *tls.Config) { s.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 },
	"no shared cipher": func(s, c *tls.Config) {
		s.MaxVersion = tls.VersionTLS12
		s.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
		c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	},
	"no shared group, TLS 1.2": func(s, c *tls.Config) {
		s.MaxVersion = tls.VersionTLS12
		s.CurvePreferences, c.CurvePreferences = []tls.CurveID{tls.CurveP384}, []tls.CurveID{tls.CurveP521}
	},
	"no shared group, TLS 1.3": func(s, c *tls.Config) {
		s.CurvePreferences, c.CurvePreferences = []tls.CurveID{tls.CurveP384}, []tls.CurveID{tls.CurveP521}
	},
	"no shared protocol": func(s, c *tls.Config) { s.NextProtos, c.NextProtos = []string{"a"}, []string{"b"} },
	"no certificate": func(s, _ *tls.Config) {
		s.Certificates = nil
		s.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
	},
	"no shared signature algorithm": func(s, _ *tls.Config) {
		s.Certificates[0].SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}
	},
	"corrupt record, TLS 1.2": func(s, _ *tls.Config) { s.MaxVersion = tls.VersionTLS12 },
	"corrupt record, TLS 1.3": func(*tls.Config, *tls.Config) {},
}

// corruptingConn corrupts what it writes from some time on.
type corruptingConn struct {
	net.Conn
	corrupting bool
}

func (c *corruptingConn) Write(p []byte) (int, error) {
	if c.corrupting {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	return c.Conn.Write(p)
}

func TestOf_NamesDisagreementsOfTLSLikeNode(t *testing.T) {
	recorded := readJSON[nodeCodes](t, codesFile)
	for name := range recorded.Server {
		assert.Contains(t, disagreements, name)
	}
	for name, set := range disagreements {
		server, client := evtest.ServerConfig(), evtest.NamedClientConfig()
		set(server, client)
		err := handshake(t, tls.Server, server, func(there net.Conn) {
			conn := &corruptingConn{Conn: there}
			c := tls.Client(conn, client)
			if c.Handshake() == nil && strings.HasPrefix(name, "corrupt") {
				conn.corrupting = true
				_, _ = c.Write([]byte("x"))
			}
		})
		checkFailure(t, name, recorded.Server[name], err)
	}
}

// badCertificates are certificates for localhost that a client refuses.
func badCertificates() map[string]tls.Certificate {
	root, middle := evtest.Authority().Root, evtest.Authority().Middle
	issue := func(change func(*x509.Certificate)) tls.Certificate { return evtest.Issue(&root, change) }
	with := func(leaf tls.Certificate, chain ...tls.Certificate) tls.Certificate {
		for _, c := range chain {
			leaf.Certificate = append(leaf.Certificate, c.Certificate...)
		}
		return leaf
	}
	ca := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
			c.DNSNames, c.IPAddresses, c.Subject.CommonName = nil, nil, name
		}
	}
	unknown := evtest.Issue(nil, ca("unknown"))
	short := evtest.Issue(&root, func(c *x509.Certificate) { ca("short")(c); c.MaxPathLenZero = true })
	second := evtest.Issue(&short, ca("second"))
	narrow := evtest.Issue(&root, func(c *x509.Certificate) {
		ca("narrow")(c)
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.org"}
	})
	noCA := issue(func(c *x509.Certificate) { c.Subject.CommonName = "no CA" })
	return map[string]tls.Certificate{
		"expired":            issue(func(c *x509.Certificate) { c.NotAfter = time.Unix(1e9, 0) }),
		"not valid yet":      issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) }),
		"another name":       issue(func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} }),
		"another purpose":    issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }),
		"self-signed":        evtest.Issue(nil, nil),
		"unknown issuer":     evtest.Issue(&unknown, nil),
		"unknown chain":      with(evtest.Issue(&unknown, nil), unknown),
		"incomplete chain":   evtest.Issue(&middle, nil),
		"chain too long":     with(evtest.Issue(&second, nil), second, short),
		"name not permitted": with(evtest.Issue(&narrow, nil), narrow),
		"issuer is not a CA": with(evtest.Issue(&noCA, nil), noCA),
		"critical extension": issue(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}),
		"signature is broken": broken(issue(nil)),
	}
}

// broken changes the signature of a certificate.
func broken(cert tls.Certificate) tls.Certificate {
	der := bytes.Clone(cert.Certificate[0])
	der[len(der)-1] ^= 1
	cert.Certificate = [][]byte{der}
	return cert
}

func TestOf_NamesBadCertificatesLikeNode(t *testing.T) {
	recorded := readJSON[nodeCodes](t, codesFile)
	for name, cert := range badCertificates() {
		err := handshake(t, tls.Client, evtest.NamedClientConfig(), func(there net.Conn) {
			_ = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		})
		checkFailure(t, name, recorded.Certificates[name], err)
		assert.True(t, errors.As(err, new(*tls.CertificateVerificationError)), name)
	}
}
