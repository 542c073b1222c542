package examples_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// proxyRecord is a line of the proxy's log.
type proxyRecord struct {
	Level, Msg, Address, Client, Server, End, Err, Signal string

	Received, Sent, Duration int64
	Open, Cut                int
}

type proxyProcess struct {
	*exec.Cmd
	t       *testing.T
	said    *bufio.Reader
	address string
}

// startProxy returns once the proxy listens.
func startProxy(t *testing.T, args ...string) *proxyProcess {
	t.Helper()
	p := &proxyProcess{t: t, Cmd: program(t, "proxy", append([]string{"-listen", "127.0.0.1:0", "-log", "json"}, args...)...)}
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = os.Stderr
	require.NoError(t, p.Start())
	p.said = bufio.NewReader(stdout)
	p.address = p.next("listening").Address
	return p
}

// next is the next record, which is to have that message.
func (p *proxyProcess) next(msg string) proxyRecord {
	p.t.Helper()
	line, err := p.said.ReadString('\n')
	require.NoError(p.t, err)
	var r proxyRecord
	require.NoError(p.t, json.Unmarshal([]byte(line), &r), line)
	require.Equal(p.t, msg, r.Msg, line)
	return r
}

// ends waits for the record of a connection.
func (p *proxyProcess) ends(want string) proxyRecord {
	p.t.Helper()
	r := p.next("connection")
	assert.Equal(p.t, want, r.End, "%+v", r)
	return r
}

// exits checks what the proxy says last, and its exit code.
func (p *proxyProcess) exits(cut int) {
	p.t.Helper()
	assert.Equal(p.t, cut, p.next("stopped").Cut)
	_, _ = io.Copy(io.Discard, p.said)
	_ = p.Wait()
	assert.Equal(p.t, min(cut, 1), p.ProcessState.ExitCode())
}

func (p *proxyProcess) dial() *net.TCPConn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(p.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// proxyBackend is a server that does the same with each connection.
func proxyBackend(t *testing.T, serve func(conn *net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return ln.Addr().String()
}

// echoBack sends everything back as it comes, and ends when the other side does.
func echoBack(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// heldConns gives the connections to the test.
func heldConns(t *testing.T) (address string, conns chan *net.TCPConn) {
	conns = make(chan *net.TCPConn, 10)
	return proxyBackend(t, func(conn *net.TCPConn) {
		conns <- conn
		<-t.Context().Done()
	}), conns
}

// joined is a connection through the proxy, of which a byte has gone each way.
func (p *proxyProcess) joined(conns chan *net.TCPConn) (client, server *net.TCPConn) {
	p.t.Helper()
	client = p.dial()
	_, err := client.Write([]byte("?"))
	require.NoError(p.t, err)
	select {
	case server = <-conns:
	case <-time.After(patience):
		require.Fail(p.t, "the connection was not passed on")
	}
	readExactly(p.t, server, "?")
	_, err = server.Write([]byte("!"))
	require.NoError(p.t, err)
	readExactly(p.t, client, "!")
	return client, server
}

func readExactly(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// randomBytes are so many bytes that nothing compresses.
func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

// readByCalls is how much a process has copied out of the kernel; 0 where that is not told.
func readByCalls(t *testing.T, pid int) int {
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	var n int
	_, err = fmt.Sscanf(string(io), "rchar: %d", &n)
	require.NoError(t, err)
	return n
}

// certificateFiles makes one for these names, or for localhost.
func certificateFiles(t *testing.T, names ...string) (cert, key string, trusted *x509.CertPool) {
	t.Helper()
	if len(names) == 0 {
		names = []string{"localhost"}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	trusted = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	trusted.AddCert(parsed)
	return file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", secret), trusted
}
