package servers_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const proxied = 8 << 20

// proxyPair starts a proxy and returns the two ends of one connection through it.
func proxyPair(t *testing.T, im implementation) (client, upstream *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now().Add(timeout)))
	client = im.start(t, "-workload", "proxy", "-upstream", ln.Addr().String()).dial()
	c, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(timeout)))
	return client, c.(*net.TCPConn)
}

func TestProxyBothWaysSimultaneously(t *testing.T) {
	each(t, "proxy", func(t *testing.T, im implementation) {
		client, upstream := proxyPair(t, im)
		there, back := noise(proxied), noise(proxied+1)
		wroteThere := writeInPieces(client, there)
		wroteBack := writeInPieces(upstream, back)
		got := make(chan [sha256.Size]byte)
		go func() { got <- sum(upstream, len(there)) }()
		require.Equal(t, sha256.Sum256(back), sum(client, len(back)))
		require.Equal(t, sha256.Sum256(there), <-got)
		require.NoError(t, <-wroteThere)
		require.NoError(t, <-wroteBack)

		require.NoError(t, client.Close())
		n, err := io.Copy(io.Discard, upstream)
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// Bytes that were sent before the end arrive before the end, even if the other side is slow.
func TestProxyPassesTheEndOn(t *testing.T) {
	each(t, "proxy", func(t *testing.T, im implementation) {
		client, upstream := proxyPair(t, im)
		sent := noise(proxied)
		wrote := writeInPieces(client, sent)
		closed := make(chan error, 1)
		go func() {
			err := <-wrote
			client.Close()
			closed <- err
		}()
		time.Sleep(300 * time.Millisecond)
		got, err := io.ReadAll(upstream)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(sent), sha256.Sum256(got), "%d of %d bytes", len(got), len(sent))
		require.NoError(t, <-closed)
	})
}

func TestProxyPassesOnTheEndOfOneDirection(t *testing.T) {
	each(t, "proxy", func(t *testing.T, im implementation) {
		if !im.halfCloses {
			t.Skip("the library closes both directions together")
		}
		client, upstream := proxyPair(t, im)
		for _, pass := range []struct{ from, to *net.TCPConn }{{client, upstream}, {upstream, client}} {
			sent := noise(proxied)
			wrote := writeInPieces(pass.from, sent)
			ended := make(chan error, 1)
			go func() {
				err := <-wrote
				pass.from.CloseWrite()
				ended <- err
			}()
			got, err := io.ReadAll(pass.to)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(sent), sha256.Sum256(got))
			require.NoError(t, <-ended)
		}
	})
}

// If the upstream cannot be reached, the proxy closes the client's connection.
func TestProxyWithoutUpstream(t *testing.T) {
	each(t, "proxy", func(t *testing.T, im implementation) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		closedAddr := ln.Addr().String()
		require.NoError(t, ln.Close())
		s := im.start(t, "-workload", "proxy", "-upstream", closedAddr)
		client, err := net.Dial("tcp", s.addr)
		if errors.Is(err, syscall.ECONNRESET) {
			return // the proxy closed the connection while it was being established
		}
		require.NoError(t, err)
		defer client.Close()
		require.NoError(t, client.SetDeadline(time.Now().Add(timeout)))
		client.Write([]byte("hello"))
		_, err = client.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func sum(r io.Reader, n int) (s [sha256.Size]byte) {
	h := sha256.New()
	io.CopyN(h, r, int64(n)) // missing bytes change the sum
	h.Sum(s[:0])
	return s
}
