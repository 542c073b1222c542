package evnet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The events of both sides, and when what was written early leaves, as in Node.
func TestTLSEvents(t *testing.T) {
	leavesNothing(t)
	l := evnet.NewLoop()
	var got, served notes
	written := false
	server, addr := serveTLS(t, l, evnet.ServerOptions{}, nil)
	server.On.Connection(func(s *evnet.Socket) {
		served.say("connection")()
		state, ok := s.TLS()
		assert.True(t, ok, "the handshake is done")
		assert.Equal(t, "localhost", state.ServerName)
		watch(s, &served)
		s.On.Data(func([]byte) { _, _ = s.WriteString("hi") })
	})
	server.On.TLSClientError(func(err error, _ *evnet.Socket) { t.Error(err) })
	c := clientTLS(l)
	watch(c, &got)
	c.On.SecureConnect(func() {
		state, ok := c.TLS()
		assert.True(t, ok)
		assert.Equal(t, trusted().Certificate[0], state.PeerCertificates[0].Raw)
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
	c.Connect("tcp", "localhost:"+port(addr))
	c.WriteThen([]byte("early"), func(err error) {
		assert.NoError(t, err)
		assert.Contains(t, got, "secureConnect")
		assert.NotContains(t, got, "finish")
		written = true
	})
	run(t, l)
	assert.Equal(t, notes{"lookup <nil> 127.0.0.1 4 localhost", "attempt tcp4 " + addr + " 4", "connect", "ready",
		"secureConnect", "data hi", "finish", "end", "close false"}, got)
	assert.True(t, written)
	assert.Equal(t, notes{"connection", "data early", "end", "finish", "close false"}, served)
	_, ok := c.TLS()
	assert.True(t, ok, "also afterwards")
}

// The name to be verified is that of the address, and the caller's config stays as it was.
func TestTLSServerName(t *testing.T) {
	for address, want := range map[string]string{"localhost:": "localhost", ":": "localhost", "127.0.0.1:": "", "name.example:": "name.example"} {
		t.Run(address, func(t *testing.T) {
			l := evnet.NewLoop()
			config, asked := trusting(), ""
			config.InsecureSkipVerify = want == "name.example"
			accepting := serving()
			accepting.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				asked = hello.ServerName
				return nil, nil
			}
			server, addr := serveTLS(t, l, evnet.ServerOptions{TLSConfig: accepting}, func(s *evnet.Socket) { s.End() })
			c := clientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig = config })
			consume(c)
			c.On.Close(func(bool) { _ = server.Close(nil) })
			c.Connect("tcp", address+port(addr))
			run(t, l)
			assert.NoError(t, c.Err())
			assert.Equal(t, want, asked, "an IP address is verified, and not asked for")
			assert.Empty(t, config.ServerName)
		})
	}
}

func TestTLSAgreesOnAProtocol(t *testing.T) {
	leavesNothing(t)
	l := evnet.NewLoop()
	config := serving()
	config.NextProtos, config.MaxVersion = []string{"chat", "echo"}, tls.VersionTLS12
	server, addr := serveTLS(t, l, evnet.ServerOptions{TLSConfig: config}, func(s *evnet.Socket) {
		state, _ := s.TLS()
		assert.Equal(t, "echo", state.NegotiatedProtocol)
		s.End()
	})
	c := clientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig.NextProtos = []string{"other", "echo"} })
	consume(c)
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.Connect("tcp", addr)
	run(t, l)
	require.NoError(t, c.Err())
	state, _ := c.TLS()
	assert.Equal(t, "echo", state.NegotiatedProtocol)
	assert.Equal(t, uint16(tls.VersionTLS12), state.Version)
}

// One side ends and hears what the other still has to say, whichever it is.
func TestTLSHalfClose(t *testing.T) {
	want := pattern(payload)
	answer := func(s *evnet.Socket) {
		s.SetAllowHalfOpen(true)
		got := collect(s)
		s.On.End(func() { _, _ = s.Write(got.Bytes()); s.End() })
	}
	var heard []byte
	ask := func(s *evnet.Socket) {
		got := collect(s)
		s.On.Close(func(hadError bool) { assert.False(t, hadError); heard = got.Bytes() })
		_, _ = s.Write(want)
		s.End()
	}
	for name, play := range map[string]func(l *evnet.Loop){
		"client": func(l *evnet.Loop) {
			meetTLS(t, l, evnet.ServerOptions{}, answer, func(c *evnet.Socket) { c.On.Ready(func() { ask(c) }) })
		},
		"server": func(l *evnet.Loop) { meetTLS(t, l, evnet.ServerOptions{}, ask, answer) },
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			l := evnet.NewLoop()
			heard = nil
			play(l)
			run(t, l)
			equalBytes(t, want, heard)
		})
	}
}

// tlsPeer is a TLS client of package tls, on a goroutine of its own, which the loop waits for.
func tlsPeer(t testing.TB, l *evnet.Loop, addr string, play func(c *tls.Conn)) {
	aside(l, func() {
		c, err := net.Dial("tcp", addr)
		if !assert.NoError(t, err) {
			return
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		config := trusting()
		config.ServerName = "localhost"
		s := tls.Client(c, config)
		play(s)
		_ = c.Close()
	})
}

// End sends close_notify, then the end of the conn, as Node does; Destroy neither: what it has dropped must not
// look whole.
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
			leavesNothing(t)
			l := evnet.NewLoop()
			server, addr := serveTLS(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
				consume(s)
				s.WriteThen([]byte("hello"), func(error) { play.leave(s) })
			})
			tlsPeer(t, l, addr, func(c *tls.Conn) {
				defer server.Close(nil)
				told := &telling{Conn: c.NetConn()}
				config := trusting()
				config.ServerName = "localhost"
				c = tls.Client(told, config)
				got, err := io.ReadAll(c)
				assert.NoError(t, err) // which package tls says either way
				assert.Equal(t, "hello", string(got))
				assert.Equal(t, play.clean, !told.ended, "close_notify came first")
				n, err := c.NetConn().Read(make([]byte, 1))
				assert.Zero(t, n)
				assert.ErrorIs(t, err, io.EOF, "then the end of the conn")
			})
			run(t, l)
		})
	}
}

// telling is a conn that remembers whether its end was read.
type telling struct {
	net.Conn
	ended bool
}

func (c *telling) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.ended = c.ended || err == io.EOF
	return n, err
}

// A peer that closes the connection without the end of TLS may have been cut off: that is an Error, once
// everything was delivered. On a record's boundary package tls itself would call it a clean end.
func TestTLSTruncated(t *testing.T) {
	leave := map[string]func(c *tls.Conn){
		"between records": func(c *tls.Conn) {},
		"within a record": func(c *tls.Conn) { _, _ = c.NetConn().Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) },
		"":                func(c *tls.Conn) { _ = c.CloseWrite() },
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			l := evnet.NewLoop()
			var got notes
			var s *evnet.Socket
			server, addr := serveTLS(t, l, evnet.ServerOptions{}, func(x *evnet.Socket) { s = x; watch(s, &got) })
			tlsPeer(t, l, addr, func(c *tls.Conn) {
				_, _ = io.WriteString(c, "all of it")
				leave(c)
				_ = c.NetConn().(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c.NetConn())
				_ = server.Close(nil)
			})
			run(t, l)
			if name == "" {
				assert.Equal(t, notes{"data all of it", "end", "finish", "close false"}, got)
				return
			}
			assert.Equal(t, notes{"data all of it", "error ECONNRESET", "close true"}, got)
			assert.ErrorIs(t, s.Err(), io.ErrUnexpectedEOF)
			var op *net.OpError
			require.ErrorAs(t, s.Err(), &op)
			assert.Equal(t, "read", op.Op)
			assert.Equal(t, s.RemoteAddr(), op.Addr)
			assert.Contains(t, s.Err().Error(), "close_notify")
		})
	}
}

// A reset is one under TLS too, and a Destroy is told apart from an end by the peer.
func TestTLSResetAndDestroy(t *testing.T) {
	for name, play := range map[string]struct {
		leave func(*evnet.Socket)
		is    error
	}{
		"Reset":   {func(s *evnet.Socket) { s.Reset() }, syscall.ECONNRESET},
		"Destroy": {func(s *evnet.Socket) { s.Destroy(nil) }, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			l := evnet.NewLoop()
			var got notes
			c := meetTLS(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
				s.On.Data(func([]byte) { play.leave(s) })
			}, func(c *evnet.Socket) {
				c.On.SecureConnect(func() { _, _ = c.WriteString("go") })
				c.On.End(got.say("end"))
				c.On.Error(func(error) {})
				consume(c)
			})
			run(t, l)
			assert.ErrorIs(t, c.Err(), play.is)
			assert.Equal(t, "ECONNRESET", evnet.Code(c.Err()))
			assert.Empty(t, got)
		})
	}
}

// The end waits for a peer that does not read, as long as CloseTimeout lets it: package tls would give up
// after five seconds.
func TestTLSEndIsPatient(t *testing.T) {
	for name, limit := range map[string]time.Duration{"no limit": 0, "CloseTimeout": 20 * second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, began := evnet.NewLoop(), time.Now()
				here, there := net.Pipe()
				config := trusting()
				config.ServerName = "localhost"
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, TLSConfig: config, CloseTimeout: limit})
				consume(s)
				s.On.Error(func(error) {})
				s.On.SecureConnect(func() { s.End() })
				peer := tls.Server(there, serving())
				aside(l, func() {
					assert.NoError(t, peer.Handshake())
					time.Sleep(30 * second)
					_, err := peer.Read(make([]byte, 1))
					assert.Equal(t, io.EOF, err)
					_ = peer.CloseWrite()
					_ = there.Close()
				})
				run(t, l)
				if limit == 0 {
					assert.NoError(t, s.Err())
					assert.Equal(t, 30*second, time.Since(began))
				} else {
					assert.ErrorIs(t, s.Err(), os.ErrDeadlineExceeded)
				}
			})
		})
	}
}

// Wrap with TLSConfig is a client over any conn, and leaves a *tls.Conn as it is.
func TestTLSWrap(t *testing.T) {
	leavesNothing(t)
	l := evnet.NewLoop()
	a, b := net.Pipe()
	config := trusting()
	config.ServerName = "localhost"
	c := evnet.Wrap(a, &evnet.SocketOptions{Loop: l, TLSConfig: config})
	s := evnet.Wrap(tls.Server(b, serving()), &evnet.SocketOptions{Loop: l, TLSConfig: config})
	s.Pipe(s)
	want := pattern(payload)
	got := collect(c)
	c.On.Data(func([]byte) {
		if got.Len() == len(want) {
			c.End()
		}
	})
	_, _ = c.Write(want)
	run(t, l)
	require.NoError(t, errors.Join(c.Err(), s.Err()))
	equalBytes(t, want, got.Bytes())
}

// What Serve is given may speak TLS itself: then TLSConfig has nothing to do, but Connection waits.
func TestTLSServeATLSListener(t *testing.T) {
	for name, config := range map[string]*tls.Config{"bare": nil, "TLSConfig": serving()} {
		t.Run(name, func(t *testing.T) {
			leavesNothing(t)
			l := evnet.NewLoop()
			ln, err := tls.Listen("tcp", "127.0.0.1:0", serving())
			require.NoError(t, err)
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, TLSConfig: config})
			server.On.Connection(func(s *evnet.Socket) {
				_, done := s.TLS()
				assert.Equal(t, config != nil, done)
				s.Pipe(s)
			})
			require.NoError(t, server.Serve(ln))
			c := clientTLS(l)
			got := collect(c)
			c.On.Data(func([]byte) { c.End() })
			c.On.Close(func(bool) { _ = server.Close(nil) })
			c.Connect("tcp", ln.Addr().String())
			_, _ = c.WriteString("x")
			run(t, l)
			assert.Equal(t, "x", got.String())
			assert.NoError(t, c.Err())
		})
	}
}

// A server that has no certificate does not listen.
func TestTLSServerWithoutCertificate(t *testing.T) {
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{evnet.NewLoop()}, TLSConfig: &tls.Config{}})
	err := server.Listen("tcp", "127.0.0.1:0", nil)
	assert.ErrorIs(t, err, evnet.ErrNilArgument)
	assert.ErrorContains(t, err, "127.0.0.1:0")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	err = server.Serve(ln)
	assert.ErrorIs(t, err, evnet.ErrNilArgument)
	assert.ErrorContains(t, err, "GetCertificate")
}

// A socket may be connected again, and starts clean.
func TestTLSConnectAgain(t *testing.T) {
	leavesNothing(t)
	l := evnet.NewLoop()
	server, addr := serveTLS(t, l, evnet.ServerOptions{}, echo)
	c := clientTLS(l, func(o *evnet.SocketOptions) { o.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	var got notes
	c.On.Data(func(p []byte) { got.chunk("data ")(p); c.End() })
	c.On.SecureConnect(func() {
		state, _ := c.TLS()
		if state.DidResume {
			got.say("resumed")()
		}
		_, _ = c.WriteString("x")
	})
	c.Once.Close(func(bool) {
		c.Connect("tcp", addr)
		_, ok := c.TLS()
		assert.False(t, ok)
		c.Once.Close(func(bool) { _ = server.Close(nil) })
	})
	c.Connect("tcp", addr)
	run(t, l)
	assert.Equal(t, notes{"data x", "resumed", "data x"}, got)
}

// The options of the conn under TLS are set as on any other, and Detach gives the *tls.Conn.
func TestTLSOptionsAndDetach(t *testing.T) {
	leavesNothing(t)
	l := evnet.NewLoop()
	meetTLS(t, l, evnet.ServerOptions{NoDelay: true, KeepAlive: time.Minute}, func(s *evnet.Socket) {
		_, _ = s.WriteString("held")
		s.Pipe(s)
	}, func(c *evnet.Socket) {
		c.On.Ready(func() {
			_, _, err := c.Detach()
			assert.ErrorIs(t, err, evnet.ErrSocketClosed, "the handshake is not done")
		})
		c.On.Data(func(p []byte) {
			assert.NoError(t, c.SetNoDelay(false))
			assert.NoError(t, c.SetKeepAlive(true, time.Minute))
			conn, rest, err := c.Detach()
			require.NoError(t, err)
			aside(l, func() {
				require.IsType(t, (*tls.Conn)(nil), conn)
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err := io.WriteString(conn, "blocking")
				assert.NoError(t, err)
				back := make([]byte, 8)
				_, err = io.ReadFull(io.MultiReader(bytes.NewReader(rest), conn), back)
				assert.NoError(t, err)
				assert.Equal(t, "blocking", string(back))
				assert.NoError(t, conn.Close())
			})
		})
	})
	run(t, l)
}

// A context ends the handshake: that of the socket's life, and that of the attempt.
func TestTLSContextEndsTheHandshake(t *testing.T) {
	for _, life := range []bool{true, false} {
		leavesNothing(t)
		l := evnet.NewLoop()
		ln, err := net.Listen("tcp", "127.0.0.1:0") // which never says a word
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		c := clientTLS(l, func(o *evnet.SocketOptions) {
			if life {
				o.Context = ctx
			}
		})
		var got notes
		watch(c, &got)
		c.On.Ready(cancel)
		if life {
			c.Connect("tcp", ln.Addr().String())
		} else {
			c.ConnectContext(ctx, "tcp", ln.Addr().String())
		}
		run(t, l)
		assert.Equal(t, notes{"attempt tcp4 " + ln.Addr().String() + " 4", "connect", "ready", "error ABORT_ERR", "close true"}, got)
		assert.ErrorIs(t, c.Err(), context.Canceled)
		_ = ln.Close()
	}
}

// Once the handshake is done the attempt's context has no effect.
func TestTLSContextOfTheAttemptIsLetGo(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(t.Context())
	server, addr := serveTLS(t, l, evnet.ServerOptions{}, echo)
	c := clientTLS(l)
	c.On.SecureConnect(func() { cancel(); _, _ = c.WriteString("x") })
	c.On.Data(func([]byte) { c.End() })
	c.On.Close(func(bool) { _ = server.Close(nil) })
	c.ConnectContext(ctx, "tcp", addr)
	run(t, l)
	assert.NoError(t, c.Err())
}
