package conns_test

import (
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"evnet/conformance/wraptest"
	"evnet/internal/evtest"
)

// gzipConn compresses the data of a TCP connection. It supports no deadlines, because the decompressor keeps a
// timeout error and could not read on.
type gzipConn struct {
	net.Conn // not a *net.TCPConn: its other methods would bypass gzipConn
	r        *gzip.Reader
	mu       sync.Mutex
	w        *gzip.Writer // guarded by mu
}

func newGzipConn(conn *net.TCPConn) *gzipConn {
	return &gzipConn{Conn: conn, w: gzip.NewWriter(conn)}
}

func (c *gzipConn) Read(p []byte) (n int, err error) {
	if c.r == nil {
		if c.r, err = gzip.NewReader(c.Conn); err != nil {
			return 0, err
		}
	}
	return c.r.Read(p)
}

func (c *gzipConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.w.Write(p)
	if err == nil {
		err = c.w.Flush()
	}
	return n, err
}

// CloseWrite ends the compressed stream first.
func (c *gzipConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.w.Close(), c.Conn.(*net.TCPConn).CloseWrite())
}

// Close also ends the compressed stream, unless that would block.
func (c *gzipConn) Close() error {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	if c.mu.TryLock() {
		_ = c.w.Close()
		c.mu.Unlock()
	}
	return c.Conn.Close()
}

func (c *gzipConn) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }
func (c *gzipConn) SetDeadline(time.Time) error     { return errors.ErrUnsupported }

// bufferedTCP is more than the kernel buffers between two ends of a TCP connection.
const bufferedTCP = 8 * evtest.Megabyte

func TestWrapKernelAndPipe(t *testing.T) {
	evtest.OnBothTransportsIfLong(t, func(t *testing.T) {
		for name, kind := range map[string]wraptest.Kind{
			"tcp":  {Pair: evtest.ConnKinds["tcp"], HalfCloses: true, Holds: bufferedTCP},
			"unix": {Pair: evtest.ConnKinds["unix"], HalfCloses: true, Holds: evtest.Megabyte},
			"pipe": {Pair: evtest.ConnKinds["pipe"]},
		} {
			t.Run(name, func(t *testing.T) { wraptest.Run(t, kind) })
		}
	})
}

func TestWrapTLS(t *testing.T) {
	for name, kind := range map[string]wraptest.Kind{
		"tcp":  {Pair: evtest.ConnKinds["tcp"], HalfCloses: true, Holds: bufferedTCP},
		"pipe": {Pair: evtest.ConnKinds["pipe"], HalfCloses: true},
	} {
		for _, end := range []string{"client", "server"} {
			t.Run(end+" over "+name, func(t *testing.T) {
				over := kind
				over.Pair = func(t testing.TB) (net.Conn, net.Conn) {
					c, s := kind.Pair(t)
					roots := x509.NewCertPool()
					roots.AddCert(evtest.SelfSigned().Leaf)
					here := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost"})
					there := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{evtest.SelfSigned()}})
					if end == "server" {
						here, there = there, here
					}
					go func() { _ = there.Handshake() }() // also for a peer that neither reads nor writes
					return here, there
				}
				wraptest.Run(t, over)
			})
		}
	}
}

func TestWrapGzip(t *testing.T) {
	wraptest.Run(t, wraptest.Kind{HalfCloses: true, Holds: bufferedTCP, Pair: func(t testing.TB) (net.Conn, net.Conn) {
		here, there := evtest.TCPPair(t)
		return newGzipConn(here), newGzipConn(there)
	}})
}
