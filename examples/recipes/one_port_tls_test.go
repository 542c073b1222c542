package recipes_test

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnePortTLS_ServesBoth(t *testing.T) {
	_, cert, key := evtest.CertificateFiles(t)
	r := start(t, "one-port-tls", "-cert", cert, "-key", key)

	plain := r.dial()
	secure := tls.Client(r.dial(), evtest.NamedClientConfig())
	for range 2 {
		send(t, plain, "hello\n")
		receive(t, plain, "plain text: hello\n")
		send(t, secure, "hello\n")
		receive(t, secure, "TLS 1.3: hello\n")
	}
	assert.Equal(t, "closed\n", r.stop())
}

// The byte that decides may arrive alone.
func TestOnePortTLS_ReadsTheFirstByteAlone(t *testing.T) {
	r := start(t, "one-port-tls")
	plain := r.dial()
	send(t, plain, "h")
	send(t, plain, "ello\n")
	receive(t, plain, "plain text: hello\n")

	secure := tls.Client(bytewise{r.dial()}, &tls.Config{InsecureSkipVerify: true})
	send(t, secure, "hello\n")
	receive(t, secure, "TLS 1.3: hello\n")
	assert.Equal(t, "closed\n", r.stop())
}

// bytewise is a conn that writes one byte at a time.
type bytewise struct{ net.Conn }

func (c bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestOnePortTLS_RejectsWhatIsNeither(t *testing.T) {
	r := start(t, "one-port-tls")
	c := r.dial()
	send(t, c, "\x16, but not a handshake")
	assert.Contains(t, r.line(), "first record does not look like a TLS handshake")
	long := r.dial()
	send(t, long, strings.Repeat("x", 5000))
	assert.Contains(t, r.line(), "token too long")
	receiveEnd(t, long)
	assert.Equal(t, "closed\n", r.stop())
}

func TestOnePortTLS_WithNetcatAndOpenSSL(t *testing.T) {
	evtest.RequireProgram(t, "openssl")
	evtest.RequireProgram(t, "nc")
	r := start(t, "one-port-tls")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "plain text: hello\n", client(t, "hello\n", "nc", "-N", host, port))

	command := evtest.Command(t, "openssl", "s_client", "-quiet", "-connect", r.address)
	stdin, err := command.StdinPipe() // which stays open until the answer has been read
	require.NoError(t, err)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	_, err = stdin.Write([]byte("hello\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "TLS 1.3: hello\n", line)
	_ = command.Process.Kill()
	_ = command.Wait()
}

func TestOnePortTLS_MissingCertificate(t *testing.T) {
	code, printed := launch(t, "one-port-tls", "-cert", "missing.pem").end()
	assert.Equal(t, 1, code)
	assert.Contains(t, printed, "missing.pem")
}
