package evnet

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A peer that still sends when this side closes receives what was written last, and this side's end, not a reset.

// onTransports runs the test on each transport.
func onTransports(t *testing.T, fn func(t *testing.T)) { evtest.OnBothTransports(t, fn) }

var quietLogger = slog.New(slog.DiscardHandler)

// lingerRounds is how often a test repeats a race between this side's close and the peer's data.
const lingerRounds = 20

// lingerServer serves on a new loop. meet closes the server, calls peer with a connection on another goroutine, and runs
// the loop.
func lingerServer(t *testing.T, network string, opts ServerOptions, onConnection func(c *Socket), peer func(c net.Conn)) {
	l := NewLoop()
	opts.Loops = []*Loop{l}
	opts.Logger = quietLogger
	s := NewServer(&opts)
	s.On.Connection(func(c *Socket) {
		c.On.Error(func(error) {})
		onConnection(c)
	})
	address := "127.0.0.1:0"
	if network == "unix" {
		address = evtest.SocketPath(t)
	}
	require.NoError(t, s.Listen(network, address, nil))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := net.Dial(network, s.Address().String())
		if !assert.NoError(t, err) {
			return
		}
		defer c.Close()
		peer(c)
		_ = s.Close(nil)
	}()
	hung := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": Loop.Run does not return") })
	defer hung.Stop()
	l.Run()
	<-done
	assert.Zero(t, l.host().linger.Len(), "nothing lingers")
}

func TestLinger_PeerThatTLSRefuses(t *testing.T) {
	// A record of a handshake that is none, which package tls answers with an alert. It does not answer plain text.
	record := append([]byte{22, 3, 1, 0, 32}, make([]byte, 32)...)
	onTransports(t, func(t *testing.T) {
		for begin, want := range map[string]string{"GET / HTTP/1.1\r\n": "", string(record): "\x15\x03\x01\x00\x02\x02\x0a"} {
			for _, network := range []string{"tcp", "unix"} {
				for _, size := range []int{600, 64 << 10} {
					for range lingerRounds {
						opts := ServerOptions{TLSConfig: evtest.ServerConfig()}
						lingerServer(t, network, opts, func(*Socket) { t.Error("connected") }, func(c net.Conn) {
							_, err := c.Write(append([]byte(begin), make([]byte, size)...))
							assert.NoError(t, err)
							got, err := io.ReadAll(c)
							assert.NoError(t, err, "no reset")
							assert.Equal(t, want, string(got))
						})
					}
				}
			}
		}
	})
}

func TestLinger_PeerThatScanRefusesReadsWhatWasWritten(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		for _, network := range []string{"tcp", "unix"} {
			for range lingerRounds {
				lingerServer(t, network, ServerOptions{}, func(c *Socket) {
					_, _ = c.WriteString("hello")
					_ = c.Scan(nil, 16, func([]byte) { t.Error("a line") })
				}, func(c net.Conn) {
					_, err := c.Write(make([]byte, 100<<10))
					assert.NoError(t, err)
					got, err := io.ReadAll(c)
					assert.NoError(t, err, "no reset")
					assert.Equal(t, "hello", string(got))
				})
			}
		}
	})
}

// closing are media on which a server answers and closes while the client sends. talk writes and reads.
var closing = map[string]func(t *testing.T, answer func(c *Socket), talk func(c net.Conn)){
	"tcp": func(t *testing.T, answer func(c *Socket), talk func(c net.Conn)) {
		lingerServer(t, "tcp", ServerOptions{}, answer, talk)
	},
	"unix": func(t *testing.T, answer func(c *Socket), talk func(c net.Conn)) {
		lingerServer(t, "unix", ServerOptions{}, answer, talk)
	},
	"tls": func(t *testing.T, answer func(c *Socket), talk func(c net.Conn)) {
		opts := ServerOptions{TLSConfig: evtest.ServerConfig()}
		lingerServer(t, "tcp", opts, answer, func(c net.Conn) { talk(tls.Client(c, evtest.NamedClientConfig())) })
	},
	"StartTLS": func(t *testing.T, answer func(c *Socket), talk func(c net.Conn)) {
		lingerServer(t, "tcp", ServerOptions{}, func(c *Socket) {
			assert.NoError(t, c.StartTLSServer(evtest.ServerConfig()))
			answer(c)
		}, func(c net.Conn) { talk(tls.Client(c, evtest.NamedClientConfig())) })
	},
}

// onClosing runs a test on all media. The server answers the first data by "refused" and Close, after received is called.
func onClosing(t *testing.T, size int, received, written func()) {
	for name, try := range closing {
		t.Run(name, func(t *testing.T) {
			for range lingerRounds {
				try(t, func(c *Socket) {
					_ = c.OnRead(func([]byte) bool {
						_ = c.OnRead(nil)
						received()
						_, _ = c.WriteString("refused")
						_ = c.Close()
						return false
					})
				}, func(c net.Conn) {
					_, err := c.Write(make([]byte, size))
					assert.NoError(t, err)
					written()
					got, err := io.ReadAll(c)
					assert.NoError(t, err, "no reset")
					assert.Equal(t, "refused", string(got))
				})
			}
		})
	}
}

func TestLinger_CloseWithUnreadData(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		sent := make(chan struct{})
		onClosing(t, 100<<10, func() { <-sent }, func() { sent <- struct{}{} })
	})
}

// With epoll a close lingers even if nothing is unread at that moment.
func TestLinger_CloseWhileThePeerSends(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no epoll")
	}
	evtest.UseEpoll(t, true)
	onClosing(t, 200<<10, func() {}, func() {})
}

// Data that arrives after FirstByteTimeout does not reset the connection.
func TestLinger_PeerThatSendsTooLateReadsTheGreeting(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		closed := make(chan struct{})
		lingerServer(t, "tcp", ServerOptions{FirstByteTimeout: time.Millisecond}, func(c *Socket) {
			_, _ = c.WriteString("hello")
			c.On.Close(func(bool) { close(closed) })
		}, func(c net.Conn) {
			<-closed
			for range 2 {
				_, err := c.Write([]byte("late"))
				assert.NoError(t, err)
			}
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(got))
		})
	})
}

// The program may destroy or reset a socket without delay.
func TestLinger_DestroyDoesNotLinger(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		for _, end := range []func(*Socket){func(s *Socket) { s.Destroy(nil) }, (*Socket).Reset} {
			lingerServer(t, "tcp", ServerOptions{}, func(c *Socket) {
				_ = c.OnRead(func([]byte) bool {
					end(c)
					assert.Zero(t, c.Loop().host().linger.Len())
					return true
				})
			}, func(c net.Conn) {
				_, _ = c.Write(make([]byte, 100<<10))
				_, err := io.Copy(io.Discard, c)
				assert.Error(t, err)
			})
		}
	})
}

// A flood of refused peers that stay occupies a limited number of descriptors, for a limited time.
func TestLinger_NumberOfConnsIsLimited(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		const clients = 200
		l := NewLoop()
		s := NewServer(&ServerOptions{Loops: []*Loop{l}, TLSConfig: evtest.ServerConfig(), Logger: quietLogger})
		failed, most := 0, 0
		s.On.TLSClientError(func(error, *Socket) {
			most = max(most, l.host().linger.Len())
			if failed++; failed == clients {
				_ = s.Close(nil)
			}
		})
		require.NoError(t, s.Listen("tcp", "127.0.0.1:0", nil))
		for range clients {
			c, err := net.Dial("tcp", s.Address().String())
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Write([]byte("plain text, no TLS\n"))
			require.NoError(t, err)
		}
		hung := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": Loop.Run does not return") })
		defer hung.Stop()
		l.Run()
		assert.Equal(t, clients, failed)
		assert.Positive(t, most)
		assert.LessOrEqual(t, most, 128)
		assert.Zero(t, l.host().linger.Len(), "after the limit of time")
	})
}

// A loop that ends does not wait for the peers that linger.
func TestLinger_EndsWithTheLoop(t *testing.T) {
	onTransports(t, func(t *testing.T) {
		l := NewLoop()
		ctx, cancel := context.WithCancel(t.Context())
		s := NewServer(&ServerOptions{Loops: []*Loop{l}, TLSConfig: evtest.ServerConfig(), Logger: quietLogger})
		s.On.TLSClientError(func(error, *Socket) {
			assert.Equal(t, 1, l.host().linger.Len())
			cancel()
		})
		require.NoError(t, s.Listen("tcp", "127.0.0.1:0", nil))
		c, err := net.Dial("tcp", s.Address().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte("plain text, no TLS\n"))
		require.NoError(t, err)
		assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
		assert.Zero(t, l.host().linger.Len())
	})
}
