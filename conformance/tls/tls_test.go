package tls_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Both sides emit the same events as Node, and data written before the handshake is sent at the same point.
func TestTLSEvents(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	var got, served kit.Notes
	written := false
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, nil)
	server.On.Connection(func(s *evnet.Socket) {
		served.Say("connection")()
		state, ok := s.TLS()
		assert.True(t, ok, "the handshake is done")
		assert.Equal(t, "localhost", state.ServerName)
		kit.NoteEvents(s, &served)
		s.On.Data(func([]byte) { _, _ = s.WriteString("hi") })
	})
	server.On.TLSClientError(func(err error, _ *evnet.Socket) { t.Error(err) })
	c := kit.ClientTLS(l)
	kit.NoteEvents(c, &got)
	c.On.SecureConnect(func() {
		state, ok := c.TLS()
		assert.True(t, ok)
		assert.Equal(t, evtest.Certificate().Certificate[0], state.PeerCertificates[0].Raw)
		assert.Len(t, state.VerifiedChains, 1)
	})
	c.On.Ready(func() {
		_, ok := c.TLS()
		assert.False(t, ok, "not yet")
		assert.Equal(t, evnet.StateOpen, c.ReadyState())
		assert.IsType(t, (*tls.Conn)(nil), c.Conn())
	})
	c.On.Data(func([]byte) { c.End() })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", "localhost:"+evtest.Port(addr))
	c.WriteThen([]byte("early"), func(err error) {
		assert.NoError(t, err)
		assert.Contains(t, got, "secureConnect")
		assert.NotContains(t, got, "finish")
		written = true
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"lookup <nil> 127.0.0.1 4 localhost", "attempt tcp4 " + addr + " 4", "connect", "ready",
		"secureConnect", "data hi", "finish", "end", "close false"}, got)
	assert.True(t, written)
	assert.Equal(t, kit.Notes{"connection", "data early", "end", "finish", "close false"}, served)
	_, ok := c.TLS()
	assert.True(t, ok, "also after Close")
}

// The name to verify is the host of the address, and the caller's config is not modified.
func TestTLSServerName(t *testing.T) {
	for address, want := range map[string]string{"localhost:": "localhost", ":": "localhost", "127.0.0.1:": "", "name.example:": "name.example"} {
		t.Run(address, func(t *testing.T) {
			l := evnet.NewLoop()
			config, requested := evtest.ClientConfig(), ""
			config.InsecureSkipVerify = want == "name.example"
			accepting := evtest.ServerConfig()
			accepting.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				requested = hello.ServerName
				return nil, nil
			}
			server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: accepting}, func(s *evnet.Socket) { s.End() })
			c := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig = config })
			kit.Consume(c)
			c.On.Close(func(bool) { _ = server.Close(nil) })
			c.Connect("tcp", address+evtest.Port(addr))
			kit.Run(t, l)
			assert.NoError(t, c.Err())
			assert.Equal(t, want, requested, "an IP address is verified, but not sent as the server name")
			assert.Empty(t, config.ServerName)
		})
	}
}

func TestTLSAgreesOnAProtocol(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	config := evtest.ServerConfig()
	config.NextProtos, config.MaxVersion = []string{"chat", "echo"}, tls.VersionTLS12
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: config}, func(s *evnet.Socket) {
		state, _ := s.TLS()
		assert.Equal(t, "echo", state.NegotiatedProtocol)
		s.End()
	})
	c := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig.NextProtos = []string{"other", "echo"} })
	kit.Consume(c)
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	kit.Run(t, l)
	require.NoError(t, c.Err())
	state, _ := c.TLS()
	assert.Equal(t, "echo", state.NegotiatedProtocol)
	assert.Equal(t, uint16(tls.VersionTLS12), state.Version)
}

// Either side may end and still receive the rest of the other side's data.
func TestTLSHalfClose(t *testing.T) {
	want := evtest.PatternBytes(evtest.Megabyte)
	answer := func(s *evnet.Socket) {
		s.SetAllowHalfOpen(true)
		got := kit.Collect(s)
		s.On.End(func() { _, _ = s.Write(got.Bytes()); s.End() })
	}
	var received []byte
	request := func(s *evnet.Socket) {
		got := kit.Collect(s)
		s.On.Close(func(hadError bool) { assert.False(t, hadError); received = got.Bytes() })
		_, _ = s.Write(want)
		s.End()
	}
	for name, play := range map[string]func(l *evnet.Loop){
		"client": func(l *evnet.Loop) {
			kit.MeetTLS(t, l, evnet.ServerOptions{}, answer, func(c *evnet.Socket) { c.On.Ready(func() { request(c) }) })
		},
		"server": func(l *evnet.Loop) { kit.MeetTLS(t, l, evnet.ServerOptions{}, request, answer) },
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			received = nil
			play(l)
			kit.Run(t, l)
			evtest.AssertEqualBytes(t, want, received)
		})
	}
}

// tlsPeer runs a TLS client of package tls on its own goroutine. The loop waits for it.
func tlsPeer(t testing.TB, l *evnet.Loop, addr string, play func(c *tls.Conn)) {
	kit.Aside(l, func() {
		c, err := net.Dial("tcp", addr)
		if !assert.NoError(t, err) {
			return
		}
		_ = c.SetDeadline(time.Now().Add(evtest.Patience))
		config := evtest.ClientConfig()
		config.ServerName = "localhost"
		s := tls.Client(c, config)
		play(s)
		_ = c.Close()
	})
}

// End sends close_notify and then ends the conn, as Node does. Destroy sends no close_notify: a stream with
// discarded data must not look complete.
func TestTLSHowItEnds(t *testing.T) {
	end := func(s *evnet.Socket) { s.End() }
	for name, play := range map[string]struct {
		leave func(*evnet.Socket)
		clean bool
	}{
		"End": {end, true}, "Close": {func(s *evnet.Socket) { _ = s.Close() }, true},
		"Destroy": {func(s *evnet.Socket) { s.Destroy(nil) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
				kit.Consume(s)
				s.WriteThen([]byte("hello"), func(error) { play.leave(s) })
			})
			tlsPeer(t, l, addr, func(c *tls.Conn) {
				defer server.Close(nil)
				recorder := &endRecorder{Conn: c.NetConn()}
				config := evtest.ClientConfig()
				config.ServerName = "localhost"
				c = tls.Client(recorder, config)
				got, err := io.ReadAll(c)
				assert.NoError(t, err) // package tls returns no error in either case
				assert.Equal(t, "hello", string(got))
				assert.Equal(t, play.clean, !recorder.ended, "close_notify came first")
				n, err := c.NetConn().Read(make([]byte, 1))
				assert.Zero(t, n)
				assert.ErrorIs(t, err, io.EOF, "the conn ends after close_notify")
			})
			kit.Run(t, l)
		})
	}
}

// endRecorder is a conn that records whether its end was read.
type endRecorder struct {
	net.Conn
	ended bool
}

func (c *endRecorder) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.ended = c.ended || err == io.EOF
	return n, err
}

// A peer that closes the connection without close_notify may have been cut off. That is an Error, after all
// data was delivered. On a record boundary, package tls itself reports a clean end.
func TestTLSTruncated(t *testing.T) {
	leave := map[string]func(c *tls.Conn){
		"between records": func(c *tls.Conn) {},
		"within a record": func(c *tls.Conn) { _, _ = c.NetConn().Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) },
		"":                func(c *tls.Conn) { _ = c.CloseWrite() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			var got kit.Notes
			var s *evnet.Socket
			server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{}, func(x *evnet.Socket) { s = x; kit.NoteEvents(s, &got) })
			tlsPeer(t, l, addr, func(c *tls.Conn) {
				_, _ = io.WriteString(c, "all of it")
				leave(c)
				_ = c.NetConn().(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c.NetConn())
				_ = server.Close(nil)
			})
			kit.Run(t, l)
			if name == "" {
				assert.Equal(t, kit.Notes{"data all of it", "end", "finish", "close false"}, got)
				return
			}
			assert.Equal(t, kit.Notes{"data all of it", "error ECONNRESET", "close true"}, got)
			assert.ErrorIs(t, s.Err(), io.ErrUnexpectedEOF)
			var op *net.OpError
			require.ErrorAs(t, s.Err(), &op)
			assert.Equal(t, "read", op.Op)
			assert.Equal(t, s.RemoteAddr(), op.Addr)
			assert.Contains(t, s.Err().Error(), "close_notify")
		})
	}
}

// Reset resets the connection under TLS too, and the peer can distinguish Destroy from a clean end.
func TestTLSResetAndDestroy(t *testing.T) {
	for name, play := range map[string]struct {
		leave func(*evnet.Socket)
		is    error
	}{
		"Reset":   {func(s *evnet.Socket) { s.Reset() }, syscall.ECONNRESET},
		"Destroy": {func(s *evnet.Socket) { s.Destroy(nil) }, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			var got kit.Notes
			c := kit.MeetTLS(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
				s.On.Data(func([]byte) { play.leave(s) })
			}, func(c *evnet.Socket) {
				c.On.SecureConnect(func() { _, _ = c.WriteString("go") })
				c.On.End(got.Say("end"))
				c.On.Error(func(error) {})
				kit.Consume(c)
			})
			kit.Run(t, l)
			assert.ErrorIs(t, c.Err(), play.is)
			assert.Equal(t, "ECONNRESET", evnet.Code(c.Err()))
			assert.Empty(t, got)
		})
	}
}

// The end waits for a peer that does not read until CloseTimeout. Package tls would give up after five
// seconds.
func TestTLS_EndWaitsForThePeer(t *testing.T) {
	for name, limit := range map[string]time.Duration{"no limit": 0, "CloseTimeout": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, began := evnet.NewLoop(), time.Now()
				here, there := net.Pipe()
				config := evtest.ClientConfig()
				config.ServerName = "localhost"
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: config, CloseTimeout: limit})
				kit.Consume(s)
				s.On.Error(func(error) {})
				s.On.SecureConnect(func() { s.End() })
				peer := tls.Server(there, evtest.ServerConfig())
				kit.Aside(l, func() {
					assert.NoError(t, peer.Handshake())
					time.Sleep(30 * time.Second)
					_, err := peer.Read(make([]byte, 1))
					assert.Equal(t, io.EOF, err)
					_ = peer.CloseWrite()
					_ = there.Close()
				})
				kit.Run(t, l)
				if limit == 0 {
					assert.NoError(t, s.Err())
					assert.Equal(t, 30*time.Second, time.Since(began))
				} else {
					assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
				}
			})
		})
	}
}
