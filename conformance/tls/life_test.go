package tls_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every feature of a socket works under TLS.

// Backpressure works under TLS: NeedDrain, Drain, MaxWriteBuffer, and a peer that pauses.
func TestTLSBackpressure(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	const size = 64 << 20
	var drained kit.Notes
	var received int
	var c *evnet.Socket
	c = kit.MeetTLS(t, l, evnet.ServerOptions{MaxWriteBuffer: 1 << 20, IdleTimeout: evtest.Patience}, func(s *evnet.Socket) {
		_, err := s.Write(make([]byte, size))
		assert.NoError(t, err)
		assert.True(t, s.NeedDrain())
		_, err = s.WriteString("one too many")
		assert.ErrorIs(t, err, evnet.ErrWriteBufferFull)
		s.On.Drain(func() {
			drained.Say("drain")()
			assert.Zero(t, s.BufferedAmount())
			s.End()
		})
		l.AfterFunc(20*time.Millisecond, func() { assert.True(t, s.NeedDrain(), "the peer does not read"); c.Resume() })
	}, func(c *evnet.Socket) {
		c.Pause()
		chunks := 0
		c.On.Data(func(p []byte) {
			received += len(p)
			if chunks++; chunks%100 == 0 {
				c.Pause()
				l.Post(c.Resume)
			}
		})
	})
	kit.Run(t, l)
	assert.NoError(t, c.Err())
	assert.Equal(t, size, received)
	assert.Equal(t, kit.Notes{"drain"}, drained)
}

// Each way to read and forward works between TLS and plain sockets: Scan, OnRead, Chunks, Pipe, ReadFrom, Relay.
func TestTLSReadingAndPassingOn(t *testing.T) {
	want := evtest.PatternBytes(3 << 20)
	for name, read := range map[string]func(c *evnet.Socket, received *bytes.Buffer){
		"Data": func(c *evnet.Socket, received *bytes.Buffer) { c.On.Data(func(p []byte) { received.Write(p) }) },
		"OnRead": func(c *evnet.Socket, received *bytes.Buffer) {
			_ = c.OnRead(func(p []byte) bool { received.Write(p); return true })
		},
		"Pipe": func(c *evnet.Socket, received *bytes.Buffer) { c.Pipe(received) },
		"Scan": func(c *evnet.Socket, received *bytes.Buffer) {
			_ = c.Scan(func(p []byte, _ bool) (int, []byte, error) {
				if len(p) == 0 {
					return 0, nil, nil
				}
				return min(len(p), 1000), p[:min(len(p), 1000)], nil
			}, 0, func(p []byte) { received.Write(p) })
		},
		"Chunks": func(c *evnet.Socket, received *bytes.Buffer) {
			kit.Aside(c.Loop(), func() {
				for p := range c.Chunks() {
					received.Write(p)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			back, backAddr := kit.ServeTLS(t, l, evnet.ServerOptions{AllowHalfOpen: true}, func(s *evnet.Socket) { s.Pipe(s) })
			front, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { // a plain port in front of a TLS server
				to := kit.ClientTLS(l)
				evnet.Relay(s, to, func(err error) { assert.NoError(t, err) })
				to.Connect("tcp", backAddr)
			})
			var received bytes.Buffer
			c := kit.NewClient(l)
			c.On.Close(func(hadError bool) { assert.False(t, hadError); _, _ = back.Close(nil), front.Close(nil) })
			read(c, &received)
			c.On.Ready(func() {
				kit.Aside(l, func() {
					_, err := c.ReadFrom(bytes.NewReader(want))
					assert.NoError(t, err)
					c.End()
				})
			})
			c.Connect("tcp", addr)
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, want, received.Bytes())
		})
	}
}

// A relay forwards an error as a reset, also from TLS: a truncated stream must not look complete.
func TestTLSRelayOfATruncatedStream(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	a, b := evtest.TCPPair(t)
	var reported error
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
		evnet.Relay(s, evnet.Wrap(a, &evnet.SocketOptions{Loop: l}), func(err error) { reported = err })
	})
	c := kit.ClientTLS(l)
	c.On.SecureConnect(func() { c.WriteThen([]byte("half"), func(error) { c.Destroy(nil) }) })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	kit.Aside(l, func() {
		_ = b.SetDeadline(time.Now().Add(evtest.Patience))
		_, err := io.ReadAll(b)
		assert.Error(t, err, "a reset")
		_ = b.Close()
	})
	kit.Run(t, l)
	assert.ErrorIs(t, reported, io.ErrUnexpectedEOF)
}

// Traffic under TLS counts as activity for the timeouts. The handshake counts when it completes, not before.
func TestTLSTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, began := evnet.NewLoop(), time.Now()
		at := func() time.Duration { return time.Since(began) }
		here, there := net.Pipe()
		c := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig(), IdleTimeout: 10 * time.Second})
		c.On.Error(func(error) {})
		var reported []time.Duration
		require.NoError(t, c.SetTimeout(3*time.Second))
		c.On.Timeout(func() { reported = append(reported, at()) })
		kit.Consume(c)
		l.AfterFunc(5*time.Second, func() {
			s := evnet.Wrap(there, &evnet.SocketOptions{Loop: l, TLSConfig: nil})
			assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
			s.On.Error(func(error) {})
			l.AfterFunc(2*time.Second, func() { _, _ = s.WriteString("x") })
		})
		kit.Run(t, l)
		assert.Equal(t, []time.Duration{3 * time.Second, 10 * time.Second}, reported, "before the handshake, and 3 s after the last byte")
		assert.Equal(t, 17*time.Second, at(), "10 s after it")
		assert.Equal(t, "ETIMEDOUT", evnet.Code(c.Err()))
	})
}

// HandshakeTimeout is 120 s by default, as in Node. A negative value means no limit.
func TestTLSHandshakeTimeout(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{0: 120 * time.Second, 7 * time.Second: 7 * time.Second, -1: 1000 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			l, began := evnet.NewLoop(), time.Now()
			here, there := net.Pipe()
			go io.Copy(io.Discard, there)
			c := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig(), HandshakeTimeout: limit})
			c.On.Error(func(error) {})
			cut := l.AfterFunc(1000*time.Second, func() { c.Destroy(nil) })
			c.On.Close(func(bool) { cut.Stop() })
			l.Run() // longer than the limit of kit.Run
			assert.Equal(t, want, time.Since(began))
			if limit >= 0 {
				assert.Equal(t, "ERR_TLS_HANDSHAKE_TIMEOUT", evnet.Code(c.Err()))
			}
			_ = there.Close()
		})
	}
}
