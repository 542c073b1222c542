package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cert.pem")
	server := program(t, "tls", "-listen", "127.0.0.1:0", "-cert", file)
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	var errs strings.Builder
	server.Stderr = &errs
	require.NoError(t, server.Start())
	printed := bufio.NewReader(stdout)
	line := func() string {
		text, err := printed.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSpace(text)
	}
	address := strings.TrimPrefix(line(), "listening on ")
	for range 2 {
		code, out, stderr := result(t, "tls", "-connect", address, "-cert", file, "-say", "olá")
		assert.Equal(t, 0, code)
		assert.Equal(t, "connected: protocol echo\nolá\n", out)
		assert.Empty(t, stderr)
		assert.Equal(t, "connected: TLS 1.3", line())
		assert.Equal(t, "disconnected", line())
	}

	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	code, out, stderr := result(t, "tls", "-connect", "localhost:"+port, "-cert", file) // not a name of the certificate
	assert.Equal(t, 1, code)
	assert.Empty(t, out)
	assert.Contains(t, stderr, "ERR_TLS_CERT_ALTNAME_INVALID")

	conn, err := net.Dial("tcp", address) // does not speak TLS
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()

	if runtime.GOOS == "windows" {
		return // Windows has no signal to stop it
	}
	require.NoError(t, server.Process.Signal(os.Interrupt))
	assert.Equal(t, "closed", line())
	_, _ = io.Copy(io.Discard, printed)
	require.NoError(t, server.Wait())
	assert.Contains(t, errs.String(), "bad certificate")
	assert.Contains(t, errs.String(), "does not look like a TLS handshake")
}

func TestTLSBadUse(t *testing.T) {
	for want, args := range map[string][]string{
		"exactly one of":        {},
		"unexpected argument":   {"-listen", "127.0.0.1:0", "now"},
		"open ":                 {"-connect", "127.0.0.1:1", "-cert", filepath.Join(t.TempDir(), "none")},
		"missing port":          {"-listen", "127.0.0.1"},
		"-cert file":            {"-h"},
		"no certificate found":  {"-connect", "127.0.0.1:1", "-cert", "tls_test.go"},
		"listen tcp 127.0.0.1:": {"-listen", taken(t), "-cert", filepath.Join(t.TempDir(), "c")},
	} {
		code, out, stderr := result(t, "tls", args...)
		assert.Empty(t, out)
		assert.Contains(t, stderr, want)
		switch want {
		case "-cert file":
			assert.Zero(t, code)
		case "exactly one of", "unexpected argument":
			assert.Equal(t, 2, code)
		default:
			assert.Equal(t, 1, code, want)
		}
	}
}

// taken returns an address that is in use.
func taken(t *testing.T) string {
	port, _ := takenPort(t, "127.0.0.1")
	return "127.0.0.1:" + port
}

// A signal ends a client that is waiting for the handshake.
func TestTLSClientInterrupted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cert.pem")
	server := running(t, program(t, "tls", "-listen", "127.0.0.1:0", "-cert", file))
	server.after("listening on ")
	for _, sig := range signals(t) {
		ln := listen(t, "tcp", "127.0.0.1:0")
		client := running(t, program(t, "tls", "-connect", ln.Addr().String(), "-cert", file))
		c, err := ln.Accept()
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1)) // the handshake has begun
		require.NoError(t, err)
		client.interrupt(sig, "")
		_ = c.Close()
	}
	server.stop()
}
