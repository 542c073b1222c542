package consumers_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"go/build"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// secureConn has the methods of a *tls.Conn that the view of a TLS socket has too.
type secureConn interface {
	net.Conn
	ConnectionState() tls.ConnectionState
	HandshakeContext(ctx context.Context) error
}

// httpVersions are the protocols that a client offers, and the version that net/http reports.
var httpVersions = map[string]struct {
	offers  []string
	version string
}{
	"HTTP/1.1": {[]string{"http/1.1"}, "HTTP/1.1"},
	"HTTP/2":   {[]string{"h2", "http/1.1"}, "HTTP/2.0"},
}

// describeTLS answers with the version of HTTP and the state of TLS.
func describeTLS(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.TLS == nil {
		fmt.Fprintf(w, "%s without TLS: %s", r.Proto, body)
		return
	}
	fmt.Fprintf(w, "%s for %s: %s", r.Proto, r.TLS.ServerName, body)
}

// exchangeHTTPS sends one request with a body and checks the answer of describeTLS.
func exchangeHTTPS(t *testing.T, addr string, offers []string, version string) {
	config := evtest.NamedClientConfig()
	config.NextProtos = offers
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: len(offers) > 1}
	defer transport.CloseIdleConnections()
	for range 3 {
		r, err := (&http.Client{Transport: transport}).Post("https://"+addr, "", io.LimitReader(evtest.EndlessReader{}, 100_000))
		if !assert.NoError(t, err) {
			return
		}
		got, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		assert.NoError(t, err)
		assert.Equal(t, version, r.Proto)
		assert.Equal(t, version+" for localhost: "+string(make([]byte, 100_000)), string(got))
	}
}

// whileServing runs fn while srv serves the views of a server with the options.
func whileServing(t *testing.T, opts *evnet.ServerOptions, serve func(views net.Listener) error, shutdown func() error, fn func(addr string)) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, opts, nil)
	ln := newViews(server)
	wait := kit.RunInBackground(t, l)
	var accepting sync.WaitGroup
	accepting.Go(func() { assert.ErrorIs(t, serve(ln), http.ErrServerClosed) })
	fn(addr)
	assert.NoError(t, shutdown())
	accepting.Wait()
	wait()
}

// net/http does TLS on the views of sockets without TLS: it knows the state, and serves HTTP/2.
func TestBlockingConn_ServesTLSOfHTTP(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, c := range httpVersions {
			t.Run(name, func(t *testing.T) {
				srv := &http.Server{Handler: http.HandlerFunc(describeTLS), TLSConfig: evtest.ServerConfig()}
				whileServing(t, nil, func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") },
					func() error { return srv.Shutdown(t.Context()) },
					func(addr string) { exchangeHTTPS(t, addr, c.offers, c.version) })
			})
		}
	})
}

// The guide has this code: net/http serves HTTP/1 and HTTP/2 on sockets that use TLS themselves.

type tlsStateKey struct{}

// decryptedConn hides the methods of TLS, so that net/http looks for the preface of HTTP/2 in the decrypted data.
type decryptedConn struct{ net.Conn }

// decryptedListener returns the conns of another listener without their methods of TLS.
type decryptedListener struct{ net.Listener }

func (l decryptedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return decryptedConn{conn}, nil
}

func decryptedServer(handler http.Handler) *http.Server {
	srv := &http.Server{Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		state := conn.(decryptedConn).Conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
		return context.WithValue(ctx, tlsStateKey{}, &state)
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS, _ = r.Context().Value(tlsStateKey{}).(*tls.ConnectionState)
		handler.ServeHTTP(w, r)
	})
	return srv
}

func TestBlockingConn_ServesHTTPOnTLSSockets(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, c := range httpVersions {
			t.Run(name, func(t *testing.T) {
				config := evtest.ServerConfig()
				config.NextProtos = []string{"h2", "http/1.1"}
				srv := decryptedServer(http.HandlerFunc(describeTLS))
				whileServing(t, &evnet.ServerOptions{TLSConfig: config},
					func(ln net.Listener) error { return srv.Serve(decryptedListener{ln}) },
					func() error { return srv.Shutdown(t.Context()) },
					func(addr string) { exchangeHTTPS(t, addr, c.offers, c.version) })
			})
		}
	})
}

// From Go 1.26 on, net/http takes Request.TLS from the view itself.
func TestBlockingConn_SetsTLSOfRequests(t *testing.T) {
	if !slices.Contains(build.Default.ReleaseTags, "go1.26") {
		t.Skip("net/http of this version of Go expects a *tls.Conn")
	}
	srv := &http.Server{Handler: http.HandlerFunc(describeTLS)}
	whileServing(t, &evnet.ServerOptions{TLSConfig: evtest.ServerConfig()}, srv.Serve,
		func() error { return srv.Shutdown(t.Context()) },
		func(addr string) { exchangeHTTPS(t, addr, nil, "HTTP/1.1") })
}

// A view has the methods of TLS if its socket uses TLS: before, during and after the handshake, and as soon as StartTLS was
// called. The state is equal to Socket.TLS.
func TestBlockingConn_ReportsTLS(t *testing.T) {
	kinds := map[string]func(t *testing.T, l *evnet.Loop, use func(s *evnet.Socket)){
		"server": func(t *testing.T, l *evnet.Loop, use func(s *evnet.Socket)) {
			kit.MeetTLS(t, l, evnet.ServerOptions{}, use, kit.Consume)
		},
		"client before the handshake": func(t *testing.T, l *evnet.Loop, use func(s *evnet.Socket)) {
			kit.MeetTLS(t, l, evnet.ServerOptions{}, kit.Consume, func(c *evnet.Socket) {
				c.On.Connect(func() { use(c) })
			})
		},
		"wrapped": func(t *testing.T, l *evnet.Loop, use func(s *evnet.Socket)) {
			c, s := kit.TLSSockets(t, l)
			kit.Consume(s)
			l.Post(func() { use(c) })
		},
		"StartTLS": func(t *testing.T, l *evnet.Loop, use func(s *evnet.Socket)) {
			kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
				kit.Consume(a)
				assert.NoError(t, a.StartTLSServer(evtest.ServerConfig()))
				assert.NoError(t, c.StartTLS(evtest.NamedClientConfig()))
				use(c)
			})
		},
	}
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, connect := range kinds {
			t.Run(name, func(t *testing.T) {
				l := evnet.NewLoop()
				used := false
				connect(t, l, func(s *evnet.Socket) {
					used = true
					conn, err := s.BlockingConn()
					if !assert.NoError(t, err) {
						return
					}
					secure, ok := conn.(secureConn)
					assert.Implements(t, (*interface{ CloseWrite() error })(nil), conn)
					if !assert.True(t, ok) {
						s.Destroy(nil)
						return
					}
					if _, done := s.TLS(); !done {
						assert.False(t, secure.ConnectionState().HandshakeComplete)
						evtest.AssertOpError(t, secure.HandshakeContext(t.Context()), evnet.ErrOnLoop, "handshake")
					} else {
						assert.NoError(t, secure.HandshakeContext(t.Context()))
					}
					kit.Aside(l, func() {
						assert.NoError(t, secure.HandshakeContext(t.Context()))
						state, _ := s.TLS()
						assert.True(t, state.HandshakeComplete)
						got := secure.ConnectionState()
						assert.True(t, got.HandshakeComplete)
						assert.Equal(t, state.CipherSuite, got.CipherSuite)
						assert.Equal(t, state.PeerCertificates, got.PeerCertificates)
						assert.NoError(t, conn.Close())
						evtest.AssertOpError(t, secure.HandshakeContext(t.Context()), net.ErrClosed, "handshake")
					})
				})
				kit.Run(t, l)
				assert.True(t, used)
			})
		}
	})
}

// The view of a socket without TLS has none of the methods, so that packages do not take it for a TLS conn.
func TestBlockingConn_HasNoTLSMethodsWithoutTLS(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l)
	conn := kit.BlockingConn(t, s)
	assert.NotImplements(t, (*interface{ ConnectionState() tls.ConnectionState })(nil), conn)
	assert.NotImplements(t, (*interface {
		HandshakeContext(context.Context) error
	})(nil), conn)
	s.Destroy(nil)
	kit.Run(t, l)
}

// A handshake whose context ends, or whose socket is destroyed, fails with the cause.
func TestBlockingConn_HandshakeFails(t *testing.T) {
	for name, end := range map[string]struct {
		with func(s *evnet.Socket, cancel context.CancelFunc)
		err  error
	}{
		"context":   {func(_ *evnet.Socket, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"destroyed": {func(s *evnet.Socket, _ context.CancelFunc) { s.Destroy(nil) }, evnet.ErrDestroyed},
		"failed":    {func(s *evnet.Socket, _ context.CancelFunc) { s.Destroy(evtest.Boom("boom")) }, evtest.Boom("boom")},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.VerifyNoLeaks(t)
			l := evnet.NewLoop()
			here, there := evtest.TCPPair(t) // the peer does not answer
			defer there.Close()
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: evtest.NamedClientConfig()})
			conn := kit.BlockingConn(t, s).(secureConn)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			kit.Aside(l, func() {
				l.Post(func() { end.with(s, cancel) })
				evtest.AssertOpError(t, conn.HandshakeContext(ctx), end.err, "handshake")
			})
			kit.Run(t, l)
			assert.True(t, s.Destroyed())
		})
	}
}
