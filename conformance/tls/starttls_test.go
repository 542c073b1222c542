package tls_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mail is a line-based server that upgrades to TLS on request.
func mail(t testing.TB, s *evnet.Socket, got *kit.Notes) {
	s.On.Error(func(error) {})
	s.On.SecureConnect(got.Say("secure"))
	s.On.End(got.Say("end"))
	_, _ = s.WriteString("220 ready\r\n")
	assert.NoError(t, s.Scan(nil, 0, func(line []byte) {
		got.Chunk("> ")(line)
		switch string(line) {
		case "STARTTLS":
			_, _ = s.WriteString("220 go\r\n")
			assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
		default:
			_, _ = s.WriteString("250 " + string(line) + "\r\n")
		}
	}))
}

// A mail dialogue with both sides in this process: the upgrade starts inside Scan, and the client takes the
// server name from the address.
func TestStartTLS(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		var served, got kit.Notes
		server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { mail(t, s, &served) })
		config := evtest.ClientConfig()
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.IPs("127.0.0.1")})
		c.On.SecureConnect(func() {
			got.Say("secure")()
			state, ok := c.TLS()
			assert.True(t, ok)
			assert.Equal(t, "localhost", state.ServerName)
			assert.IsType(t, (*tls.Conn)(nil), c.Conn())
		})
		assert.NoError(t, c.Scan(nil, 0, func(line []byte) {
			got.Chunk("< ")(line)
			switch string(line) {
			case "220 ready":
				_, _ = c.WriteString("STARTTLS\r\n")
			case "220 go":
				_, ok := c.TLS()
				assert.False(t, ok)
				assert.NoError(t, c.StartTLS(config))
				_, _ = c.WriteString("secret\r\n") // queued until the handshake is done
			case "250 secret":
				c.End()
			}
		}))
		c.On.Close(func(hadError bool) { assert.False(t, hadError); _ = server.Close(nil) })
		c.Connect("tcp", "localhost:"+evtest.Port(addr))
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"< 220 ready", "< 220 go", "secure", "< 250 secret"}, got)
		assert.Equal(t, kit.Notes{"> STARTTLS", "secure", "> secret", "end"}, served)
		assert.Empty(t, config.ServerName)
		assert.Equal(t, addr, c.RemoteAddr().String())
	})
}

// pairs are the kinds of conns under a socket that upgrades to TLS.
var turnPairs = map[string]func(testing.TB) (here, there net.Conn){
	"tcp":      func(t testing.TB) (net.Conn, net.Conn) { return evtest.TCPPair(t) },
	"net.Pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	"embedded": func(t testing.TB) (net.Conn, net.Conn) {
		a, b := evtest.TCPPair(t)
		return evtest.ScramblingConn{TCPConn: a}, evtest.ScramblingConn{TCPConn: b}
	},
}

// Data written before StartTLS is sent first and as plain text, in any size, corked or not. Data written
// afterwards is sent under TLS. The answer arrives complete.
func TestStartTLSOrderOfWrites(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, pair := range turnPairs {
			for _, size := range []int{0, 10, 100_000, 20_000_000} {
				after := 300_000
				if size == 10 {
					after = 0 // only the end
				}
				l := evnet.NewLoop()
				here, there := pair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: -1})
				plain, encrypted := bytes.Repeat([]byte("plain"), size/5), evtest.PatternBytes(after)
				calls := 0
				written := func(err error) { assert.NoError(t, err); calls++ }
				back := kit.Collect(s)
				l.Post(func() {
					s.Cork()
					s.WriteThen(plain, written)
					require.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
					s.WriteThen(encrypted, written)
					s.End()
				})
				kit.Aside(l, func() {
					got := make([]byte, len(plain))
					_, err := io.ReadFull(there, got)
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(plain, got))
					peer := tls.Server(there, evtest.ServerConfig())
					got, err = io.ReadAll(peer)
					assert.NoError(t, err)
					evtest.AssertEqualBytes(t, encrypted, got)
					_, err = peer.Write(encrypted)
					assert.NoError(t, err)
					assert.NoError(t, peer.CloseWrite())
					_ = there.Close()
				})
				kit.Run(t, l)
				require.NoError(t, s.Err(), "%s %d", name, size)
				evtest.AssertEqualBytes(t, encrypted, back.Bytes())
				assert.Equal(t, 2, calls)
				assert.Zero(t, s.BufferedAmount())
			}
		}
	})
}

// StartTLS uncorks the socket, and a file that ReadFrom sends leaves under TLS, even if ReadFrom starts immediately.
func TestStartTLSCorkAndFile(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte("of a file"), 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		s.On.Data(func([]byte) { s.End() })
		l.Post(func() {
			s.Cork()
			_, _ = s.WriteString("plain")
			require.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
			sent := make(chan error)
			go func() {
				_, err := s.ReadFrom(file)
				sent <- err
			}()
			assert.NoError(t, <-sent) // in this callback: TLS has not begun
		})
		kit.Aside(l, func() {
			got := make([]byte, 5)
			_, err := io.ReadFull(there, got)
			assert.NoError(t, err)
			assert.Equal(t, "plain", string(got))
			peer := tls.Server(there, evtest.ServerConfig())
			got = make([]byte, 9)
			_, err = io.ReadFull(peer, got)
			assert.NoError(t, err)
			assert.Equal(t, "of a file", string(got))
			_, _ = io.WriteString(peer, "x")
			_, _ = io.Copy(io.Discard, peer)
			_ = peer.Close()
		})
		kit.Run(t, l)
		assert.NoError(t, s.Err())
	})
}

// No plain text is delivered after StartTLS, even while earlier writes are still queued, or before the first
// read.
func TestStartTLSDeliversNoPlainText(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, start := range map[string]func(l *evnet.Loop, s *evnet.Socket, upgrade func()){
			"in the callback": func(l *evnet.Loop, s *evnet.Socket, upgrade func()) { upgrade() },
			"posted":          func(l *evnet.Loop, s *evnet.Socket, upgrade func()) { l.Post(upgrade) },
			"and Resume": func(l *evnet.Loop, s *evnet.Socket, upgrade func()) {
				l.Post(func() { upgrade(); s.Pause(); s.Resume() })
			},
		} {
			l := evnet.NewLoop()
			here, there := evtest.TCPPair(t)
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			s.On.Error(func(error) {})
			s.On.Data(func(p []byte) { t.Errorf("%s: %q", name, p) })
			start(l, s, func() {
				_, _ = s.Write(make([]byte, 20_000_000))
				assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
			})
			kit.Aside(l, func() {
				_, _ = io.WriteString(there, "plain text")
				_, _ = io.Copy(io.Discard, there)
				_ = there.Close()
			})
			kit.Run(t, l)
			assert.Equal(t, "ERR_SSL_WRONG_VERSION_NUMBER", evnet.Code(s.Err()), "%s: %v", name, s.Err())
		}
	})
}

// turnConsumers are the ways in which a server reads until the client requests TLS. Each then calls upgrade and hands
// back the surplus bytes.
var turnConsumers = map[string]func(s *evnet.Socket, upgrade func(), received func([]byte)){
	"Scan": func(s *evnet.Socket, upgrade func(), received func([]byte)) {
		_ = s.Scan(nil, 0, func(line []byte) {
			if received(line); string(line) == "STARTTLS" {
				upgrade()
			}
		})
	},
	"Scan with an encoding": func(s *evnet.Socket, upgrade func(), received func([]byte)) {
		_ = s.SetEncoding(evnet.UTF8)
		_ = s.Scan(nil, 0, func(line []byte) {
			if received(line); string(line) == "STARTTLS" {
				upgrade()
			}
		})
	},
	"Data and Unshift": func(s *evnet.Socket, upgrade func(), received func([]byte)) {
		s.On.Data(func(p []byte) {
			line, rest, found := bytes.Cut(p, []byte("\r\n"))
			if received(line); found && string(line) == "STARTTLS" {
				_ = s.Unshift(rest)
				upgrade()
			}
		})
	},
	"OnRead and Unshift afterwards": func(s *evnet.Socket, upgrade func(), received func([]byte)) {
		_ = s.OnRead(func(p []byte) bool {
			line, rest, found := bytes.Cut(p, []byte("\r\n"))
			if received(line); found && string(line) == "STARTTLS" {
				upgrade()
				_ = s.Unshift(rest)
			}
			return true
		})
	},
	"Scan, paused": func(s *evnet.Socket, upgrade func(), received func([]byte)) {
		_ = s.Scan(nil, 0, func(line []byte) {
			if received(line); string(line) == "STARTTLS" {
				s.Pause()
				s.Loop().AfterFunc(time.Millisecond, upgrade)
				s.Once.SecureConnect(s.Resume)
			}
		})
	},
}

// hasty is a conn that sends first in front of the first write, in one piece.
type hasty struct {
	*net.TCPConn
	first string
}

func (c *hasty) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(append([]byte(c.first), p...))
	n -= len(c.first)
	c.first = ""
	return n, err
}

// A client may start the handshake without waiting for the answer: the bytes read early are kept.
func TestStartTLSKeepsEarlyBytes(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, consume := range turnConsumers {
			if name == "Scan with an encoding" {
				continue // it decodes the bytes of a handshake as text
			}
			l := evnet.NewLoop()
			here, there := evtest.TCPPair(t)
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			var received kit.Notes
			consume(s, func() {
				assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
				_, _ = s.WriteString("under TLS")
				s.End()
			}, received.Chunk(""))
			kit.Aside(l, func() {
				c := tls.Client(&hasty{there, "STARTTLS\r\n"}, evtest.NamedClientConfig())
				_, err := io.WriteString(c, "QUIT\r\n")
				assert.NoError(t, err)
				assert.NoError(t, c.CloseWrite())
				got, err := io.ReadAll(c)
				assert.NoError(t, err)
				assert.Equal(t, "under TLS", string(got))
				_ = c.Close()
			})
			kit.Run(t, l)
			require.NoError(t, s.Err(), name)
			assert.Equal(t, "STARTTLS", received[0], name)
			assert.Equal(t, "QUIT", strings.TrimSpace(strings.Join(received[1:], "")), name)
		}
	})
}

// StartTLS may be called from the moment of the connection, and from any goroutine.
func TestStartTLSAnywhere(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		for name, start := range map[string]func(c *evnet.Socket, upgrade func()){
			"in Connect": func(c *evnet.Socket, upgrade func()) { c.On.Connect(upgrade) },
			"in Ready":   func(c *evnet.Socket, upgrade func()) { c.On.Ready(upgrade) },
			"later": func(c *evnet.Socket, upgrade func()) {
				c.On.Ready(func() { c.Loop().AfterFunc(time.Millisecond, upgrade) })
			},
			"in WriteThen": func(c *evnet.Socket, upgrade func()) {
				c.On.Ready(func() { c.WriteThen(nil, func(error) { upgrade() }) })
			},
			"elsewhere": func(c *evnet.Socket, upgrade func()) { c.On.Ready(func() { kit.Aside(c.Loop(), upgrade) }) },
		} {
			l := evnet.NewLoop()
			server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
				assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
				s.Pipe(s)
			})
			c := kit.NewClient(l)
			got := kit.Collect(c)
			start(c, func() { assert.NoError(t, c.StartTLS(evtest.NamedClientConfig())); _, _ = c.WriteString("x") })
			c.On.Data(func([]byte) { c.End() })
			c.On.Close(func(bool) { _ = server.Close(nil) })
			c.Connect("tcp", addr)
			kit.Run(t, l)
			require.NoError(t, c.Err(), name)
			assert.Equal(t, "x", got.String(), name)
		}

		l := evnet.NewLoop()
		a, b := evtest.TCPPair(t)
		c, s := evnet.Wrap(a, &evnet.SocketOptions{Loop: l}), evnet.Wrap(b, &evnet.SocketOptions{Loop: l})
		require.NoError(t, errors.Join(c.StartTLS(evtest.NamedClientConfig()), s.StartTLSServer(evtest.ServerConfig()))) // before the loop runs
		s.Pipe(s)
		got := kit.Collect(c)
		c.On.Data(func([]byte) { c.End() })
		_, _ = c.WriteString("x")
		kit.Run(t, l)
		assert.Equal(t, "x", got.String())
	})
}

// A decoder does not join a partial character of the plain text with data received under TLS.
func TestStartTLSEncoding(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		require.NoError(t, s.SetEncoding(evnet.Hex))
		var got kit.Notes
		s.On.Data(func(p []byte) {
			if got.Chunk("")(p); len(got) == 1 {
				assert.NoError(t, s.StartTLS(evtest.NamedClientConfig()))
			}
		})
		kit.Aside(l, func() {
			_, _ = io.WriteString(there, "A")
			peer := tls.Server(there, evtest.ServerConfig())
			_, _ = io.WriteString(peer, "B")
			_ = peer.CloseWrite()
			_, _ = io.Copy(io.Discard, peer)
			_ = there.Close()
		})
		kit.Run(t, l)
		assert.NoError(t, s.Err())
		assert.Equal(t, kit.Notes{"41", "42"}, got)
	})
}

// The callback of a write that was sent before StartTLS runs without waiting for what is sent after the handshake,
// also if StartTLS is called before the loop has noticed that it was sent.
func TestStartTLS_RunsCallbacksOfEarlierWrites(t *testing.T) {
	kit.InBubble(t, evnet.SocketOptions{}, func(b *kit.Bubble) {
		done := 0
		b.S.On.Data(func([]byte) {
			b.S.WriteThen(make([]byte, 16<<10), func(err error) {
				assert.NoError(t, err)
				done++
			})
			synctest.Wait() // it is sent
			assert.NoError(t, b.S.StartTLSServer(evtest.ServerConfig()))
			b.L.Post(func() { b.When(b.Now()+1, func() { assert.Equal(t, 1, done); b.S.Destroy(nil) }) })
		})
		go func() {
			_, _ = io.WriteString(b.Peer, "upgrade")
			_, _ = io.Copy(io.Discard, b.Peer)
		}()
	})
}
