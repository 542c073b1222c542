package evtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// NonconformingConn violates the contract of net.Conn, or uses freedoms of it that few callers expect.
type NonconformingConn struct {
	net.Conn
	EOFWithData  bool // one Read returns the last bytes and io.EOF
	ZeroReads    bool // some Reads return 0 bytes and no error
	ShortWrites  bool // Write writes a part and returns no error
	NoDeadlines  bool // deadlines are refused, so that Read cannot be interrupted
	CloseSlowly  time.Duration
	OnRead       func(n int32)
	reads        atomic.Int32
	readAhead    []byte
	readAheadErr error
}

func (c *NonconformingConn) Read(p []byte) (int, error) {
	n := c.reads.Add(1)
	if c.OnRead != nil {
		c.OnRead(n)
	}
	if c.ZeroReads && n%2 == 0 {
		return 0, nil
	}
	if !c.EOFWithData {
		return c.Conn.Read(p)
	}
	if c.readAhead == nil && c.readAheadErr == nil {
		c.readAhead, c.readAheadErr = io.ReadAll(c.Conn)
	}
	copied := copy(p, c.readAhead)
	if c.readAhead = c.readAhead[copied:]; len(c.readAhead) > 0 {
		return copied, nil
	}
	return copied, io.EOF
}

func (c *NonconformingConn) Write(p []byte) (int, error) {
	if c.ShortWrites {
		p = p[:min(len(p), 1000)]
	}
	return c.Conn.Write(p)
}

func (c *NonconformingConn) SetReadDeadline(t time.Time) error {
	if c.NoDeadlines {
		return errors.ErrUnsupported
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *NonconformingConn) Close() error {
	time.Sleep(c.CloseSlowly)
	return c.Conn.Close()
}

// TCPPair returns a connected pair.
func TCPPair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	s, err := ln.Accept()
	require.NoError(t, err)
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// TLSPair returns a pair before its handshake.
func TLSPair(t testing.TB) (client, server *tls.Conn) {
	c, s := TCPPair(t)
	roots := x509.NewCertPool()
	roots.AddCert(SelfSigned().Leaf)
	return tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost"}),
		tls.Server(s, &tls.Config{Certificates: []tls.Certificate{SelfSigned()}})
}

// ScramblingConn embeds a *net.TCPConn. Access to the descriptor would bypass the methods of ScramblingConn.
type ScramblingConn struct {
	*net.TCPConn
}

func (c ScramblingConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	for i := range p[:n] {
		p[i] ^= 0x55
	}
	return n, err
}

func (c ScramblingConn) Write(p []byte) (int, error) {
	q := make([]byte, len(p))
	for i := range p {
		q[i] = p[i] ^ 0x55
	}
	return c.TCPConn.Write(q)
}

// EndlessReader is a Reader that never returns io.EOF.
type EndlessReader struct{}

func (EndlessReader) Read(p []byte) (int, error) { return len(p), nil }

// UnixPair returns a connected pair.
func UnixPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", SocketPath(t))
	require.NoError(t, err)
	defer ln.Close()
	client, err = net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	return client, server
}

// ConnKinds makes pairs of each kind that a socket handles differently.
var ConnKinds = map[string]func(testing.TB) (here, there net.Conn){
	"tcp":  func(t testing.TB) (net.Conn, net.Conn) { return TCPPair(t) },
	"unix": UnixPair,
	"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	"tls": func(t testing.TB) (net.Conn, net.Conn) {
		c, s := TLSPair(t)
		return s, c
	},
}

// RequireOpen checks that conn is open and has no expired deadline.
func RequireOpen(t testing.TB, conn, peer net.Conn) {
	t.Helper()
	go func() { _, _ = io.WriteString(peer, "still here") }()
	got := make([]byte, len("still here"))
	_, err := io.ReadFull(conn, got)
	assert.NoError(t, err)
	assert.Equal(t, "still here", string(got))
}

// CloseWrite ends the outgoing side of c.
func CloseWrite(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

// EndOf reads to the end and returns the error that ended the stream.
func EndOf(c net.Conn) error {
	for p := make([]byte, 64<<10); ; {
		if _, err := c.Read(p); err != nil {
			return err
		}
	}
}

// FileOf makes a file that contains p, open for reading.
func FileOf(t testing.TB, p []byte) *os.File {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, p, 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// ClosingConn is a conn that calls Closed after its Close.
type ClosingConn struct {
	net.Conn
	Closed func()
}

func (c ClosingConn) Close() error {
	defer c.Closed()
	return c.Conn.Close()
}

// HalfCloser is a conn whose CloseWrite does nothing.
type HalfCloser struct{ net.Conn }

func (HalfCloser) CloseWrite() error { return nil }
