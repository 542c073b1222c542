package evnet

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A reset that the reader has met is not reported as EPIPE by a writer that fails later, with TLS as without.
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
	reported := ""
	meet := func() {
		_ = there.(*net.TCPConn).SetLinger(0)
		_ = there.Close()
		eventually := func(condition func() bool) {
			assert.Eventually(t, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return condition()
			}, time.Minute, time.Millisecond)
		}
		eventually(func() bool { // the reader has met it, and waits for the loop
			unread, _ := s.stream.Unread()
			return unread
		})
		done := make(chan struct{})
		go func() { // not in the callback, which would make it wait
			defer close(done)
			_, err := s.Write([]byte("x"))
			assert.NoError(t, err)
		}()
		<-done
		eventually(func() bool { return s.stream.DeferredFailure() != nil })
	}
	s.On.Data(func([]byte) { l.AfterFunc(0, meet) })
	s.On.Error(func(err error) { reported += Code(err) })
	l.Ref()
	go func() {
		defer l.Unref()
		_, err := tls.Server(there, &tls.Config{Certificates: web.TLS.Certificates}).Write([]byte("x"))
		assert.NoError(t, err)
	}()
	l.Run()
	assert.Equal(t, "ECONNRESET", reported)
}
