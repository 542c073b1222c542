package evnet_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
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

// If the consumer changes meanwhile, nothing is lost and nothing waits for more data.
func TestScanDeferredChanges(t *testing.T) {
	all := func(got *kit.Notes) func(p []byte) { // all chunks as one note
		return func(p []byte) {
			if len(*got) == 0 {
				*got = kit.Notes{""}
			}
			(*got)[0] += string(p)
		}
	}
	whole := kit.Notes{strings.Repeat("x", lineDeferred) + deferredBytes}
	lines := kit.Notes{"line", "rest"}
	for name, c := range map[string]struct {
		act  func(t *testing.T, d *deferring)
		want kit.Notes
	}{
		"pause": {func(_ *testing.T, d *deferring) {
			d.s.Pause()
			d.l.AfterFunc(time.Second, func() {
				d.got.Say("resume")()
				d.s.Resume()
			})
		}, kit.Notes{"resume", "line", "rest"}},
		"pause, resume": {func(_ *testing.T, d *deferring) { d.s.Pause(); d.s.Resume() }, lines},
		"unshift":       {func(t *testing.T, d *deferring) { assert.NoError(t, d.s.Unshift([]byte("a"))) }, kit.Notes{"aline", "rest"}},
		"encoding":      {func(t *testing.T, d *deferring) { assert.NoError(t, d.s.SetEncoding(evnet.Latin1)) }, lines},
		"scan": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(bufio.ScanLines, 0, d.token))
		}, lines},
		"scan, the same": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(d.split, 0, d.token))
		}, lines},
		"data": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(nil, 0, nil))
			d.s.On.Data(all(&d.got))
		}, whole},
		"pipe": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(nil, 0, nil))
			d.s.Pipe(writerFunc(all(&d.got)))
		}, whole},
		"onread": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(nil, 0, nil))
			assert.NoError(t, d.s.OnRead(func(p []byte) bool { all(&d.got)(p); return true }))
		}, whole},
		"chunks": {func(t *testing.T, d *deferring) {
			assert.NoError(t, d.s.Scan(nil, 0, nil))
			kit.Aside(d.l, func() {
				for p := range d.s.Chunks() {
					all(&d.got)(p)
				}
			})
		}, whole},
		"relay": {func(t *testing.T, d *deferring) {
			other, end := kit.WrapPipe(d.l, evnet.SocketOptions{})
			evnet.Relay(d.s, other, nil)
			kit.Aside(d.l, func() {
				p, err := io.ReadAll(end)
				assert.NoError(t, err)
				_ = end.Close()
				all(&d.got)(p)
			})
		}, whole},
		"detach": {func(t *testing.T, d *deferring) {
			conn, rest, err := d.s.Detach()
			if assert.NoError(t, err) {
				all(&d.got)(rest)
				_ = conn.Close()
			}
		}, whole},
		"destroy": {func(_ *testing.T, d *deferring) { d.s.Destroy(nil) }, nil},
		"reset":   {func(_ *testing.T, d *deferring) { d.s.Reset() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, encoding := range []evnet.Encoding{"", evnet.UTF8} {
				synctest.Test(t, func(t *testing.T) {
					d := hold(t, evnet.SocketOptions{}, encoding, func(d *deferring) {
						d.l.Do(func() { c.act(t, d) })
						if name != "pause" {
							_ = d.peer.Close()
						}
					})
					d.s.On.Error(func(err error) { assert.NoError(t, err) })
					if name == "pause" {
						require.NoError(t, d.s.Scan(d.split, 0, func(token []byte) {
							if d.token(token); len(d.got) == 2 {
								_ = d.peer.Close()
							}
						}))
					}
					d.run(t)
					assert.Equal(t, c.want, d.got)
				})
			}
		})
	}
}

// writerFunc is an io.Writer.
type writerFunc func(p []byte)

func (w writerFunc) Write(p []byte) (int, error) { w(p); return len(p), nil }

// StartTLS uses the bytes that split has not seen for the handshake: here the rest of a long ClientHello.
func TestScanDeferredStartTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		var c slow
		var got kit.Notes
		require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
			n, token, err := c.split(data, atEOF)
			if len(data) > 0 && data[0] == 0x16 { // a handshake
				return 0, nil, nil
			}
			return n, token, err
		}, 0, got.Chunk("")))
		config := evtest.NamedClientConfig()
		for i := range 500 {
			config.NextProtos = append(config.NextProtos, fmt.Sprintf("protocol-%03d", i))
		}
		hello := &inParts{Conn: peer}
		hello.sent = func() {
			synctest.Wait()
			waiting, _ := evnet.ScansDeferred(l)
			assert.Equal(t, 1, waiting)
			l.Do(func() {
				serving := evtest.ServerConfig()
				serving.NextProtos = config.NextProtos
				assert.NoError(t, s.StartTLSServer(serving))
			})
		}
		kit.Aside(l, func() {
			secure := tls.Client(hello, config)
			_, err := io.WriteString(secure, "hello\n")
			assert.NoError(t, err)
			_ = secure.Close()
		})
		kit.Run(t, l)
		assert.NoError(t, s.Err())
		assert.Equal(t, kit.Notes{"hello"}, got)
	})
}

// inParts sends all but the last two bytes of the first Write, and then each of those separately.
type inParts struct {
	net.Conn
	sent func()
}

func (c *inParts) Write(p []byte) (int, error) {
	if c.sent == nil {
		return c.Conn.Write(p)
	}
	for n, rest := len(p)-2, p; len(rest) > 0; n, rest = 1, rest[n:] {
		if _, err := c.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
	}
	c.sent()
	c.sent = nil
	return len(p), nil
}

// A new connection begins with no deferred call.
func TestScanDeferredReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deferring{l: evnet.NewLoop()}
		peers := make(chan net.Conn, 2)
		d.s = evnet.NewSocket(&evnet.SocketOptions{Loop: d.l, Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			peers <- there
			return here, nil
		}})
		require.NoError(t, d.s.Scan(d.split, 0, d.token))
		d.s.Once.Close(func(bool) { d.s.Connect("tcp", "127.0.0.1:1") })
		d.s.Connect("tcp", "127.0.0.1:1")
		kit.Aside(d.l, func() {
			d.peer = <-peers
			d.prepare(t)
			d.s.Destroy(nil)
			_ = d.peer.Close()
			d.peer = <-peers
			_, _ = io.WriteString(d.peer, "new\n")
			d.prepare(t)
			_ = d.peer.Close()
		})
		d.run(t)
		assert.Equal(t, kit.Notes{"new", "line", "rest"}, d.got)
	})
}

// A split function that panics in a deferred call destroys only its own socket: other deferred calls still run.
func TestScanDeferredPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		panics := 0
		l.OnPanic(func(*evnet.PanicError) { panics++ })
		var peers []net.Conn
		var got kit.Notes
		for i := range 3 {
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			peers = append(peers, peer)
			s.On.Error(func(error) {})
			require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
				switch {
				case len(data) <= 4096:
				case i == 0:
					time.Sleep(slowCall)
				case i == 1:
					panic("split")
				default:
					return len(data), data, nil
				}
				return 0, nil, nil
			}, 0, func([]byte) {
				got.Say("token")()
				_ = peers[0].Close()
				s.Destroy(nil)
			}))
		}
		kit.Aside(l, func() {
			for _, n := range []int{4096, 1} {
				for _, peer := range peers {
					_, _ = peer.Write(make([]byte, n))
					synctest.Wait()
				}
			}
		})
		kit.Run(t, l)
		assert.Equal(t, 1, panics)
		assert.Equal(t, kit.Notes{"token"}, got)
		for _, peer := range peers {
			_ = peer.Close()
		}
	})
}
