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

// proxyRecord is a record in the proxy's log.
type proxyRecord struct {
	Level, Msg, Address, Client, Server, Result, Err, Signal string

	Received, Sent, Duration int64
	Open, Reset              int
}

type proxyProcess struct {
	*exec.Cmd
	t       *testing.T
	output  *bufio.Reader
	address string
}

// startProxy starts a proxy and returns when it is listening.
func startProxy(t *testing.T, args ...string) *proxyProcess {
	t.Helper()
	p := &proxyProcess{t: t, Cmd: program(t, "proxy", append([]string{"-listen", "127.0.0.1:0", "-log", "json"}, args...)...)}
	stdout, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = os.Stderr
	require.NoError(t, p.Start())
	p.output = bufio.NewReader(stdout)
	p.address = p.next("listening").Address
	return p
}

// next returns the next record and checks its message.
func (p *proxyProcess) next(msg string) proxyRecord {
	p.t.Helper()
	line, err := p.output.ReadString('\n')
	require.NoError(p.t, err)
	var r proxyRecord
	require.NoError(p.t, json.Unmarshal([]byte(line), &r), line)
	require.Equal(p.t, msg, r.Msg, line)
	return r
}

// closed waits for the record of a closed connection and checks its result.
func (p *proxyProcess) closed(result string) proxyRecord {
	p.t.Helper()
	r := p.next("connection closed")
	assert.Equal(p.t, result, r.Result, "%+v", r)
	return r
}

// exits checks the last record of the proxy and its exit code.
func (p *proxyProcess) exits(resets int) {
	p.t.Helper()
	assert.Equal(p.t, resets, p.next("stopped").Reset)
	_, _ = io.Copy(io.Discard, p.output)
	_ = p.Wait()
	assert.Equal(p.t, min(resets, 1), p.ProcessState.ExitCode())
}

func (p *proxyProcess) dial() *net.TCPConn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(p.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// proxyBackend starts a server that calls serve for each connection, and returns its address.
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

// echoBack sends all data back and returns when the other side ends.
func echoBack(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// heldConns starts a server that passes its connections to the test.
func heldConns(t *testing.T) (address string, conns chan *net.TCPConn) {
	conns = make(chan *net.TCPConn, 10)
	return proxyBackend(t, func(conn *net.TCPConn) {
		conns <- conn
		<-t.Context().Done()
	}), conns
}

// relayed returns both ends of a connection through the proxy, after one byte was relayed in each direction.
func (p *proxyProcess) relayed(conns chan *net.TCPConn) (client, server *net.TCPConn) {
	p.t.Helper()
	client = p.dial()
	_, err := client.Write([]byte("?"))
	require.NoError(p.t, err)
	select {
	case server = <-conns:
	case <-time.After(patience):
		require.Fail(p.t, "the connection was not relayed")
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

// randomBytes returns n bytes that cannot be compressed.
func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

// readByCalls returns the number of bytes that a process has copied from the kernel, or 0 if the operating system does
// not report it.
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

// certificateFiles writes a certificate for these names, or for localhost, and its key.
func certificateFiles(t *testing.T, names ...string) (cert, key string, pool *x509.CertPool) {
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
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(parsed)
	return file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", secret), pool
}
