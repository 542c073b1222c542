package tls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Bad input to TLS: the error is on the right socket and names the cause, and the server keeps serving.

// judged is the result of a failed handshake on both sides.
type judged struct {
	client   error // an error type of package tls or x509 that errors.As finds; nil means any
	code     string
	says     string // a part of the client's error text
	server   string // the code of the error that TLSClientError reports
	config   func() *tls.Config
	trusting func(*tls.Config)
}

func with(cert ...tls.Certificate) func() *tls.Config {
	return func() *tls.Config {
		c := cert[0]
		for _, more := range cert[1:] {
			c.Certificate = append(c.Certificate[:len(c.Certificate):len(c.Certificate)], more.Certificate...)
		}
		return &tls.Config{Certificates: []tls.Certificate{c}}
	}
}

func TestTLSBadCertificates(t *testing.T) {
	a := evtest.Authority()
	of := func(change func(*x509.Certificate)) func() *tls.Config { return with(evtest.Issue(&a.Root, change)) }
	unknownRoot := evtest.Issue(nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid = true, true
		c.Subject.CommonName = "unknown root"
	})
	unknownLeaf := evtest.Issue(&unknownRoot, nil)
	sign := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.ExtKeyUsage = true, true, nil }
	short := evtest.Issue(nil, func(c *x509.Certificate) { sign(c); c.MaxPathLenZero = true; c.Subject.CommonName = "short" })
	second := evtest.Issue(&short, func(c *x509.Certificate) { sign(c); c.Subject.CommonName = "second" })
	const bad = "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE"
	for name, j := range map[string]judged{
		"self-signed":           {&x509.UnknownAuthorityError{}, "DEPTH_ZERO_SELF_SIGNED_CERT", "unknown authority", bad, with(evtest.Issue(nil, nil)), nil},
		"of an unknown issuer":  {&x509.UnknownAuthorityError{}, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unknown authority", bad, with(unknownLeaf), nil},
		"an unknown chain":      {&x509.UnknownAuthorityError{}, "SELF_SIGNED_CERT_IN_CHAIN", "unknown authority", bad, with(unknownLeaf, unknownRoot), nil},
		"a chain without a top": {&x509.UnknownAuthorityError{}, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "unknown authority", bad, with(evtest.Issue(&a.Middle, nil), a.Middle), func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }},
		"wrong name":            {&x509.HostnameError{}, "ERR_TLS_CERT_ALTNAME_INVALID", "not 127.0.0.1", bad, of(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 9, 8, 7}} }), nil},
		"expired":               {&x509.CertificateInvalidError{}, "CERT_HAS_EXPIRED", "expired", "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", of(func(c *x509.Certificate) { c.NotAfter = time.Unix(1e9, 0) }), nil},
		"not valid yet": {&x509.CertificateInvalidError{}, "CERT_NOT_YET_VALID", "not yet valid", bad, of(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
		}), nil},
		"for another purpose": {&x509.CertificateInvalidError{}, "INVALID_PURPOSE", "incompatible key usage", bad, of(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }), nil},
		"too long a chain":    {&x509.CertificateInvalidError{}, "PATH_LENGTH_EXCEEDED", "too many intermediates", bad, with(evtest.Issue(&second, nil), second), func(c *tls.Config) { c.RootCAs.AddCert(short.Leaf) }},
		"no common version":   {nil, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "protocol version", "ERR_SSL_UNSUPPORTED_PROTOCOL", evtest.ServerConfig, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }},
		"no common protocol": {nil, "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "no application protocol", "ERR_SSL_NO_APPLICATION_PROTOCOL",
			func() *tls.Config { c := evtest.ServerConfig(); c.NextProtos = []string{"a"}; return c }, func(c *tls.Config) { c.NextProtos = []string{"b"} }},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			var got, served kit.Notes
			server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: j.config()}, func(*evnet.Socket) { served.Say("connection")() })
			server.On.TLSClientError(func(err error, s *evnet.Socket) {
				served.Say("reported " + evnet.Code(err))()
				assert.True(t, s.Destroyed())
				assert.Equal(t, err, s.Err())
				assert.ErrorContains(t, err, "handshake tcp "+addr)
				s.On.Error(func(err error) { t.Error(err) })
				s.On.Close(func(hadError bool) {
					assert.True(t, hadError)
					served.Say("closed")()
					assert.Zero(t, server.Connections())
					assert.True(t, server.Listening(), "it keeps listening")
					_ = server.Close(nil)
				})
			})
			c := kit.ClientTLS(l, func(o *evnet.SocketOptions) {
				if j.trusting != nil {
					j.trusting(o.TLSConfig)
				}
			})
			kit.NoteEvents(c, &got)
			c.Connect("tcp", addr)
			var reported error
			c.WriteThen([]byte("secret"), func(err error) { reported = err })
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"attempt tcp4 " + addr + " 4", "connect", "ready", "error " + j.code, "close true"}, got)
			assert.Equal(t, kit.Notes{"reported " + j.server, "closed"}, served)
			assert.ErrorContains(t, c.Err(), j.says)
			assert.ErrorContains(t, c.Err(), "handshake tcp ")
			assert.ErrorContains(t, c.Err(), addr)
			assert.ErrorIs(t, reported, c.Err())
			switch j.client.(type) {
			case *x509.UnknownAuthorityError:
				assert.ErrorAs(t, c.Err(), new(x509.UnknownAuthorityError))
			case *x509.HostnameError:
				assert.ErrorAs(t, c.Err(), new(x509.HostnameError))
			case *x509.CertificateInvalidError:
				assert.ErrorAs(t, c.Err(), new(x509.CertificateInvalidError))
			}
		})
	}
}

// A server that requires a certificate reports that there is none. The client, whose handshake has succeeded,
// gets the error from the server's alert.
func TestTLSNoClientCertificate(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	l := evnet.NewLoop()
	config := evtest.ServerConfig()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, evtest.Roots()
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: config}, func(s *evnet.Socket) {
		state, _ := s.TLS()
		assert.Len(t, state.VerifiedChains, 1)
		s.End()
	})
	var reported []error
	server.On.TLSClientError(func(err error, _ *evnet.Socket) { reported = append(reported, err) })
	var got kit.Notes
	c := kit.ClientTLS(l)
	kit.NoteEvents(c, &got)
	c.RemoveAllListeners(evnet.EventConnectionAttempt)
	c.Connect("tcp", addr)
	good := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig.Certificates = []tls.Certificate{evtest.Certificate()} })
	kit.Consume(good)
	good.On.Close(func(bool) { _ = server.Close(nil) })
	c.On.Close(func(bool) { good.Connect("tcp", addr) })
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"connect", "ready", "secureConnect", "error ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "close true"}, got)
	assert.ErrorContains(t, c.Err(), "read tcp "+c.LocalAddr().String()+"->"+addr)
	assert.NoError(t, good.Err())
	require.Len(t, reported, 1)
	assert.ErrorContains(t, reported[0], "certificate")
	assert.Equal(t, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", evnet.Code(reported[0]))
}

// The server reports an error for each peer that fails its handshake. None of them prevents a good client
// from connecting.
func TestTLSBadPeers(t *testing.T) {
	evtest.VerifyNoLeaks(t)
	hello := func(c *net.TCPConn) { _, _ = c.Write([]byte{22, 3, 1, 0, 200, 1}) } // the start of a ClientHello
	for name, bad := range map[string]struct {
		play func(c *net.TCPConn)
		code string
		is   error
		says string
	}{
		"a browser without TLS": {func(c *net.TCPConn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") }, "ERR_SSL_HTTP_REQUEST", nil, "does not look like a TLS handshake"},
		"a proxy's client":      {func(c *net.TCPConn) { _, _ = io.WriteString(c, "CONNECT x:1 HTTP/1.1\r\n\r\n") }, "ERR_SSL_HTTPS_PROXY_REQUEST", nil, ""},
		"plain text":            {func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello there, this is plain\r\n") }, "ERR_SSL_WRONG_VERSION_NUMBER", nil, "does not look like a TLS handshake"},
		"rubbish":               {func(c *net.TCPConn) { _, _ = c.Write(append([]byte{22, 3, 1, 0, 4}, "\x01\x00\x00\x00"...)) }, "EPROTO", nil, ""},
		"closes immediately":    {func(c *net.TCPConn) { _ = c.CloseWrite() }, "ECONNRESET", io.ErrUnexpectedEOF, "close_notify"},
		"closes in the middle":  {func(c *net.TCPConn) { hello(c); _ = c.CloseWrite() }, "ECONNRESET", io.ErrUnexpectedEOF, "close_notify"},
		"resets":                {func(c *net.TCPConn) { hello(c); _ = c.SetLinger(0); _ = c.Close() }, "ECONNRESET", syscall.ECONNRESET, "reset"},
		"says nothing":          {func(c *net.TCPConn) {}, "ERR_TLS_HANDSHAKE_TIMEOUT", os.ErrDeadlineExceeded, "TLS handshake timeout"},
		"stops in the middle":   {hello, "ERR_TLS_HANDSHAKE_TIMEOUT", os.ErrDeadlineExceeded, "TLS handshake timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := evnet.NewLoop()
			limit := evtest.Patience
			if bad.code == "ERR_TLS_HANDSHAKE_TIMEOUT" {
				limit = 2 * time.Second // the limit also applies to the good client
			}
			var opts evnet.ServerOptions
			opts.HandshakeTimeout = limit
			server, addr := kit.ServeTLS(t, l, opts, kit.Echo)
			var reported error
			good := kit.ClientTLS(l)
			server.On.TLSClientError(func(err error, s *evnet.Socket) {
				assert.NoError(t, reported, "once")
				reported = err
				assert.NotNil(t, s.RemoteAddr())
				assert.ErrorContains(t, err, s.RemoteAddr().String())
				good.Connect("tcp", addr)
			})
			kit.Aside(l, func() {
				c, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				bad.play(c.(*net.TCPConn))
				_ = c.SetReadDeadline(time.Now().Add(evtest.Patience))
				_, _ = io.Copy(io.Discard, c) // until the server closes the connection
				_ = c.Close()
			})
			good.On.SecureConnect(func() { _, _ = good.WriteString("x") })
			good.On.Data(func([]byte) { good.End() })
			good.On.Close(func(bool) { _ = server.Close(nil) })
			kit.Run(t, l)
			assert.NoError(t, good.Err())
			assert.Equal(t, bad.code, evnet.Code(reported), "%v", reported)
			assert.ErrorContains(t, reported, bad.says)
			if bad.is != nil {
				assert.ErrorIs(t, reported, bad.is)
			}
			var timeout net.Error
			assert.Equal(t, bad.is == os.ErrDeadlineExceeded, errors.As(reported, &timeout) && timeout.Timeout())
		})
	}
}

// A client reports an error when the server does not speak TLS.
func TestTLSBadServers(t *testing.T) {
	for name, bad := range map[string]struct {
		play func(s *evnet.Socket)
		code string
	}{
		"plain text":   {func(s *evnet.Socket) { _, _ = s.WriteString("220 mail.example ready\r\n") }, "ERR_SSL_WRONG_VERSION_NUMBER"},
		"closes":       {func(s *evnet.Socket) { s.Resume(); s.End() }, "ECONNRESET"},
		"resets":       {func(s *evnet.Socket) { s.On.Data(func([]byte) { s.Reset() }) }, "ECONNRESET"},
		"says nothing": {func(s *evnet.Socket) {}, "ERR_TLS_HANDSHAKE_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { s.On.Error(func(error) {}); bad.play(s) })
			c := kit.ClientTLS(l, func(o *evnet.SocketOptions) {
				if bad.code == "ERR_TLS_HANDSHAKE_TIMEOUT" {
					o.HandshakeTimeout = 50 * time.Millisecond
				}
			})
			var got kit.Notes
			kit.NoteEvents(c, &got)
			c.On.Close(func(bool) { server.CloseAllConnections(); _ = server.Close(nil) })
			c.Connect("tcp", addr)
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"attempt tcp4 " + addr + " 4", "connect", "ready", "error " + bad.code, "close true"}, got)
			assert.ErrorContains(t, c.Err(), "->"+addr)
		})
	}
}

// A server without TLS receives a ClientHello as ordinary data.
func TestTLSToAPlainPort(t *testing.T) {
	l := evnet.NewLoop()
	first := byte(0)
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		s.On.Data(func(p []byte) { first = p[0]; s.Destroy(nil) })
	})
	c := kit.ClientTLS(l)
	c.On.Error(func(error) {})
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	kit.Run(t, l)
	assert.EqualValues(t, 22, first)
	assert.Equal(t, "ECONNRESET", evnet.Code(c.Err()), "%v", c.Err())
}

// Without a TLSClientError listener, a failed handshake is one log record. Its level is debug if the peer only
// closed the connection.
func TestTLS_ErrorsWithoutListener(t *testing.T) {
	for text, level := range map[string]string{"plain text": "WARN", "": "DEBUG"} {
		l := evnet.NewLoop()
		var log evtest.Records
		server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{Logger: slog.New(&log)}, nil)
		kit.Aside(l, func() {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
			_ = server.Close(nil)
		})
		kit.Run(t, l)
		require.Len(t, log.List, 1)
		assert.Equal(t, level, log.List[0].Level.String())
	}
}

// A panic or a Goexit in a callback of the user's config becomes the socket's error.
func TestTLSPanicsInTheConfig(t *testing.T) {
	for name, arrange := range map[string]func(server, client *tls.Config, burst func()){
		"GetCertificate": func(s, _ *tls.Config, burst func()) {
			s.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { burst(); return nil, nil }
		},
		"GetConfigForClient": func(s, _ *tls.Config, burst func()) {
			s.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { burst(); return nil, nil }
		},
		"VerifyConnection": func(s, _ *tls.Config, burst func()) {
			s.VerifyConnection = func(tls.ConnectionState) error { burst(); return nil }
		},
		"VerifyPeerCertificate": func(_, c *tls.Config, burst func()) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { burst(); return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			times := 0
			burst := func() {
				if times++; times == 1 {
					panic(evtest.Boom("on purpose"))
				}
			}
			accepting, calling := evtest.ServerConfig(), evtest.ClientConfig()
			if name == "GetCertificate" {
				cert := evtest.Certificate()
				accepting.Certificates = nil
				accepting.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { burst(); return &cert, nil }
			} else {
				arrange(accepting, calling, burst)
			}
			server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: accepting}, func(s *evnet.Socket) { s.End() })
			var failed error
			server.On.TLSClientError(func(err error, _ *evnet.Socket) {
				if name != "VerifyPeerCertificate" {
					failed = err
				}
			})
			c := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig = calling })
			kit.Consume(c)
			c.On.Error(func(error) {})
			c.Once.Close(func(bool) {
				if name == "VerifyPeerCertificate" {
					failed = c.Err()
				}
				c.Connect("tcp", addr)
				c.On.Close(func(bool) { _ = server.Close(nil) })
			})
			c.Connect("tcp", addr)
			kit.Run(t, l)
			var p *evnet.PanicError
			require.ErrorAs(t, failed, &p)
			assert.Equal(t, evtest.Boom("on purpose"), p.Value)
			assert.NoError(t, c.Err(), "the next connection is served")
		})
	}
}

// A socket that ends during its handshake leaks nothing, even while a callback of the config blocks.
func TestTLSEndedInTheHandshake(t *testing.T) {
	for name, end := range map[string]func(c *evnet.Socket){
		"Destroy":        func(c *evnet.Socket) { c.Destroy(nil) },
		"Destroy(err)":   func(c *evnet.Socket) { c.Destroy(evtest.Boom("x")) },
		"Reset":          func(c *evnet.Socket) { c.Reset() },
		"End, timeout":   func(c *evnet.Socket) { c.End() },
		"Close, timeout": func(c *evnet.Socket) { _ = c.Close() },
	} {
		for _, in := range []string{"Connect", "Ready", "later"} {
			t.Run(name+" in "+in, func(t *testing.T) {
				evtest.VerifyNoLeaks(t)
				l := evnet.NewLoop()
				config := evtest.ServerConfig()
				waiting := make(chan struct{})
				config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					close(waiting)
					<-hello.Context().Done() // done when the socket is destroyed
					return nil, context.Cause(hello.Context())
				}
				server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{TLSConfig: config}, func(*evnet.Socket) { t.Error("connection") })
				reported := 0
				server.On.TLSClientError(func(error, *evnet.Socket) { reported++ })
				c := kit.ClientTLS(l, func(o *evnet.SocketOptions) { o.CloseTimeout = 50 * time.Millisecond })
				c.On.Error(func(error) {})
				switch in {
				case "Connect":
					c.On.Connect(func() { end(c) })
				case "Ready":
					c.On.Ready(func() { end(c) })
				default:
					kit.Aside(l, func() { <-waiting; end(c) })
				}
				c.On.SecureConnect(func() { t.Error("secureConnect") })
				c.On.Close(func(bool) { server.CloseAllConnections(); _ = server.Close(nil) })
				c.Connect("tcp", addr)
				kit.Run(t, l)
				assert.LessOrEqual(t, reported, 1)
			})
		}
	}
}
