package tls_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowConn accepts little data at a time and takes time for it, once slow is closed.
type slowConn struct {
	net.Conn
	slow chan struct{}
}

func (c slowConn) Write(p []byte) (int, error) {
	select {
	case <-c.slow:
		time.Sleep(40 * time.Millisecond) // in the bubble: no real time passes
		return c.Conn.Write(p[:min(len(p), 1000)])
	default:
		return c.Conn.Write(p)
	}
}

// wholeWriter repeats the Writes of a conn that accepts only a part.
type wholeWriter struct{ slowConn }

func (c wholeWriter) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.slowConn.Write(p[n:])
		n += m
	}
	return n, err
}

const briefly = 300 * time.Millisecond // less than one record takes

// The bytes below TLS count as activity. A socket is not idle while a record arrives slowly, or while the peer reads it slowly.
func TestTLSActivity_IsOnTheWire(t *testing.T) {
	want := evtest.RandomBytes(100_000)
	for _, direction := range []string{"received", "sent"} {
		t.Run(direction, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := net.Pipe()
				slow := make(chan struct{})
				s := evnet.Wrap(slowConn{here, slow}, &evnet.SocketOptions{
					Loop: l, TLSConfig: evtest.NamedClientConfig(), IdleTimeout: briefly, WriteTimeout: briefly,
				})
				peer := tls.Server(wholeWriter{slowConn{there, slow}}, evtest.ServerConfig())
				require.NoError(t, s.SetTimeout(briefly))
				s.On.Timeout(func() { t.Error("timeout") })
				got := kit.Collect(s)
				s.On.SecureConnect(func() {
					close(slow)
					if direction == "sent" {
						_, _ = s.Write(want)
					}
					s.End()
				})
				read := make(chan []byte)
				go func() {
					p, err := io.ReadAll(peer)
					assert.NoError(t, err)
					read <- p
				}()
				kit.Aside(l, func() {
					<-slow
					if direction == "received" {
						_, err := peer.Write(want)
						assert.NoError(t, err)
					}
					sent := <-read
					assert.NoError(t, peer.Close())
					if direction == "sent" {
						assert.True(t, bytes.Equal(want, sent))
					}
				})
				kit.Run(t, l)
				assert.NoError(t, s.Err())
				if direction == "received" {
					assert.True(t, bytes.Equal(want, got.Bytes()))
				}
			})
		})
	}
}

// After Timeout, the next byte below TLS restarts the time, although it completes no record.
func TestTLSActivity_RestartsTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig()})
		kit.Consume(s)
		began := time.Now()
		var at []time.Duration
		s.On.Timeout(func() { at = append(at, time.Since(began)) })
		s.On.SecureConnect(func() { require.NoError(t, s.SetTimeout(2*time.Second)) })
		l.AfterFunc(9*time.Second, func() { s.Destroy(nil) })
		kit.Aside(l, func() {
			defer there.Close()
			assert.NoError(t, tls.Server(there, evtest.ServerConfig()).HandshakeContext(t.Context()))
			time.Sleep(3 * time.Second)
			_, _ = there.Write([]byte{23, 3, 3}) // the beginning of a record
			_, _ = there.Read(make([]byte, 1))
		})
		kit.Run(t, l)
		assert.Equal(t, []time.Duration{2 * time.Second, 5 * time.Second}, at)
	})
}

// Silence is detected although a record is not complete.
func TestTLSActivity_EndsInAnIncompleteRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig(), IdleTimeout: 2 * time.Second})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, os.ErrDeadlineExceeded) })
		kit.Consume(s)
		began := time.Now()
		kit.Aside(l, func() {
			defer there.Close()
			assert.NoError(t, tls.Server(there, evtest.ServerConfig()).HandshakeContext(t.Context()))
			time.Sleep(time.Second)
			_, _ = there.Write([]byte{23, 3, 3})
			_, _ = there.Read(make([]byte, 1))
		})
		kit.Run(t, l)
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

// FirstByteTimeout spares a peer whose first record arrives slowly, and ends one that sends nothing after the handshake.
func TestTLSActivity_CountsForFirstByteTimeout(t *testing.T) {
	for name, sends := range map[string]bool{"sends slowly": true, "is silent": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				ln := evtest.NewMemoryListener()
				there := ln.Dial()
				server := evnet.NewServer(&evnet.ServerOptions{
					Loops: []*evnet.Loop{l}, TLSConfig: evtest.ServerConfig(), FirstByteTimeout: briefly,
				})
				var failed error
				var got *bytes.Buffer
				server.On.Connection(func(s *evnet.Socket) {
					got = kit.Collect(s)
					s.On.Error(func(err error) { failed = err })
					s.On.Close(func(bool) { _ = server.Close(nil) })
				})
				require.NoError(t, server.Serve(ln))
				slow := make(chan struct{})
				kit.Aside(l, func() {
					defer there.Close()
					peer := tls.Client(wholeWriter{slowConn{there, slow}}, evtest.NamedClientConfig())
					go func() { _, _ = io.Copy(io.Discard, peer) }()
					assert.NoError(t, peer.HandshakeContext(t.Context()))
					close(slow)
					if sends {
						_, err := peer.Write(make([]byte, 16_000))
						assert.NoError(t, err)
						_ = peer.Close()
						return
					}
					time.Sleep(time.Second)
				})
				kit.Run(t, l)
				if sends {
					assert.NoError(t, failed)
					assert.Equal(t, 16_000, got.Len())
				} else {
					assert.ErrorIs(t, failed, os.ErrDeadlineExceeded)
				}
			})
		})
	}
}
