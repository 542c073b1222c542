package evnet

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A reset that the reader has met is no EPIPE for a writer that comes second, under TLS as without.
func TestTLSResetWhileTheWriterFails(t *testing.T) {
	web := httptest.NewTLSServer(nil) // which has a certificate
	defer web.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	there, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err := ln.Accept()
	require.NoError(t, err)

	l := NewLoop()
	s := Wrap(here, &SocketOptions{Loop: l, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	told := ""
	meet := func() {
		_ = there.(*net.TCPConn).SetLinger(0)
		_ = there.Close()
		assert.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.tr.(*goTransport).full // the reader has met it, and waits for the loop
		}, time.Minute, time.Millisecond)
		s.mu.Lock()
		s.out.failed = true
		e := s.writeFailedLocked(os.NewSyscallError("write", syscall.EPIPE))
		s.mu.Unlock()
		e.run()
	}
	s.On.Data(func([]byte) { l.AfterFunc(0, meet) })
	s.On.Error(func(err error) { told += Code(err) })
	l.Ref()
	go func() {
		defer l.Unref()
		_, err := tls.Server(there, &tls.Config{Certificates: web.TLS.Certificates}).Write([]byte("x"))
		assert.NoError(t, err)
	}()
	l.Run()
	assert.Equal(t, "ECONNRESET", told)
}

// endsWithWords is a conn whose last bytes come with its end.
type endsWithWords struct {
	net.Conn
	reads int
}

func (c *endsWithWords) Read(p []byte) (int, error) {
	c.reads++
	return copy(p, "last"), io.EOF
}

// What comes with the end is not lost to it, and the end stays: the conn is not asked again.
func TestTLSBytesWithTheEnd(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &endsWithWords{Conn: here}
	b := &beneath{Conn: c, early: []byte("first")}
	p := make([]byte, 8)
	for _, want := range []string{"first", "last"} {
		n, err := b.Read(p)
		assert.Equal(t, want, string(p[:n]))
		assert.NoError(t, err)
	}
	for range 2 {
		n, err := b.Read(p)
		assert.Zero(t, n)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.NotEqual(t, io.EOF, err, "which package tls would take for a clean end")
	}
	assert.Equal(t, 1, c.reads)
}
