package tls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// A record that was changed on its way is reported with OpenSSL's code, by the socket that receives it.
func TestTLSCorruptRecord(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig(),
		Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil }})
	got := kit.NoteLife(s)
	kit.Consume(s)
	kit.Aside(l, func() {
		var record bytes.Buffer
		through := &writerConn{Conn: there, to: there}
		conn := tls.Server(through, evtest.ServerConfig())
		assert.NoError(t, conn.Handshake())
		through.to = &record
		_, err := conn.Write([]byte("x"))
		assert.NoError(t, err)
		p := record.Bytes()
		p[len(p)-1] ^= 1
		_, err = there.Write(p)
		assert.NoError(t, err)
		_, _ = io.Copy(io.Discard, there)
		assert.NoError(t, there.Close())
	})
	s.Connect("tcp", "localhost:1")
	kit.Run(t, l)
	assert.Equal(t, "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", evnet.Code(s.Err()), "%v", s.Err())
	assert.Contains(t, *got, "error ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC")
}

// writerConn is a conn that writes to another writer.
type writerConn struct {
	net.Conn
	to io.Writer
}

func (c *writerConn) Write(p []byte) (int, error) { return c.to.Write(p) }
