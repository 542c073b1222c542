package evnet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Under a flood of data, each byte is delivered, returned by Detach, or still in the conn, whichever goroutine
// detaches and when. The connection continues afterwards.
func TestDetachUnderAFlood(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	for kind, pair := range evtest.ConnKinds {
		for _, where := range []string{"in data", "posted", "elsewhere", "in onread", "paused", "unread"} {
			t.Run(kind+" "+where, func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				l := evnet.NewLoop()
				here, there := pair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				var got bytes.Buffer
				var events kit.Notes
				s.On.Close(func(hadError bool) { events.Say("close")(); assert.False(t, hadError) })
				s.On.Finish(events.Say("finish"))
				s.On.End(events.Say("end"))
				s.On.Error(func(err error) { t.Error(err) })
				var peer sync.WaitGroup
				begin := func() {
					peer.Go(func() { // sends everything, and receives it back
						peer.Go(func() {
							_, err := there.Write(want)
							assert.NoError(t, err)
						})
						echoed := make([]byte, len(want))
						_, err := io.ReadFull(there, echoed)
						assert.NoError(t, err)
						evtest.AssertEqualBytes(t, want, echoed)
						_ = there.Close()
					})
				}
				var conn net.Conn
				detach := func() {
					c, rest, err := s.Detach()
					require.NoError(t, err)
					assert.True(t, s.Destroyed())
					assert.EqualValues(t, got.Len()+len(rest), s.BytesRead())
					s.RemoveAllListeners(evnet.EventData)
					s.On.Data(func([]byte) { t.Error("data after Detach") })
					got.Write(rest)
					conn = c
					kit.Aside(l, func() { // blocking code continues
						buf := make([]byte, 7000)
						_, err := c.Write(got.Bytes())
						assert.NoError(t, err)
						for got.Len() < len(want) {
							n, err := c.Read(buf)
							got.Write(buf[:n])
							if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
								assert.NoError(t, err)
								assert.NoError(t, werr)
								return
							}
						}
					})
				}
				start := func() {
					begin()
					after := 200 << 10
					switch where {
					case "unread":
						var look func()
						look = func() {
							if s.ReadableLength() == 0 {
								l.Post(look)
								return
							}
							detach()
						}
						look()
						return
					case "in onread":
						s.OnRead(func(p []byte) bool {
							if got.Write(p); got.Len() >= after && conn == nil {
								detach()
							}
							return true
						})
						return
					}
					s.On.Data(func(p []byte) {
						got.Write(p)
						if got.Len() < after || conn != nil {
							return
						}
						switch where {
						case "in data":
							detach()
						case "posted":
							after = len(want) + 1
							l.AfterFunc(0, detach)
						case "elsewhere":
							after = len(want) + 1
							kit.Aside(l, detach)
						case "paused":
							s.Pause()
							after = len(want) + 1
							l.AfterFunc(0, detach)
						}
					})
				}
				if kind == "tls" {
					peer.Go(func() { assert.NoError(t, there.(*tls.Conn).HandshakeContext(context.Background())) })
					s.On.SecureConnect(start)
				} else {
					l.Post(start)
				}
				kit.Run(t, l)
				peer.Wait()
				evtest.AssertEqualBytes(t, want, got.Bytes())
				assert.Equal(t, kit.Notes{"close"}, events)
				assert.NoError(t, conn.Close())
				goleak.VerifyNone(t, before)
			})
		}
	}
}

// With no data to read the reader is blocked in Read, and Detach must interrupt it.
func TestDetachIdle(t *testing.T) {
	for kind, pair := range evtest.ConnKinds {
		for _, before := range []string{"nothing", "pause", "pause and resume"} {
			t.Run(kind+" "+before, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := pair(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				s.On.Data(func([]byte) {})
				detach := func() {
					switch before {
					case "pause":
						s.Pause()
					case "pause and resume":
						s.Pause()
						s.Resume()
					}
					conn, rest, err := s.Detach()
					require.NoError(t, err)
					assert.Empty(t, rest)
					assert.Same(t, here, conn)
					kit.Aside(l, func() {
						evtest.RequireOpen(t, conn, there)
						_ = conn.Close()
						_ = there.Close()
					})
				}
				if kind == "tls" {
					kit.Aside(l, func() { _ = there.(*tls.Conn).HandshakeContext(context.Background()) })
					s.On.SecureConnect(func() { l.AfterFunc(time.Millisecond, detach) })
				} else {
					l.AfterFunc(time.Millisecond, detach)
				}
				kit.Run(t, l)
			})
		}
	}
}

// The server no longer counts a detached socket, and closes without waiting for it.
func TestDetachFromServer(t *testing.T) {
	for _, where := range []string{"connection", "later", "outside"} {
		t.Run(where, func(t *testing.T) {
			l := evnet.NewLoop()
			var server *evnet.Server
			var conn net.Conn
			var peer net.Conn
			detach := func(s *evnet.Socket) {
				var err error
				conn, _, err = s.Detach()
				require.NoError(t, err)
				assert.Zero(t, server.Connections())
				assert.Empty(t, server.Sockets())
				require.NoError(t, server.Close(nil))
			}
			server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
				switch where {
				case "connection":
					detach(s)
				case "later":
					l.AfterFunc(0, func() { detach(s) })
				case "outside":
					kit.Aside(l, func() { detach(s) })
				}
			})
			kit.Aside(l, func() {
				var err error
				peer, err = net.Dial("tcp", addr)
				require.NoError(t, err)
			})
			kit.Run(t, l)
			evtest.RequireOpen(t, conn, peer)
			_ = conn.Close()
			_ = peer.Close()
		})
	}
}

// Detach returns the bytes that a decoder holds back, undecoded.
func TestDetachWithEncoding(t *testing.T) {
	for name, c := range map[string]struct {
		encoding  evnet.Encoding
		sent      string
		delivered string
		rest      string
	}{
		"utf8":     {evnet.UTF8, "ol\xc3", "ol", "\xc3"},
		"utf16":    {evnet.UTF16LE, "o\x00\x3d\xd8\x00", "o", "\x3d\xd8\x00"},
		"base64":   {evnet.Base64, "abcde", "YWJj", "de"},
		"hex":      {evnet.Hex, "ab", "6162", ""},
		"no whole": {evnet.Base64, "ab", "", "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			require.NoError(t, s.SetEncoding(c.encoding))
			got := ""
			s.On.Data(func(p []byte) { got += string(p) })
			kit.Aside(l, func() {
				_, _ = io.WriteString(peer, c.sent)
				for s.BytesRead() < int64(len(c.sent)) {
					runtime.Gosched()
				}
				conn, rest, err := s.Detach()
				assert.NoError(t, err)
				assert.Equal(t, c.delivered, got)
				assert.Equal(t, c.rest, string(rest))
				_ = conn.Close()
			})
			kit.Run(t, l)
			_ = peer.Close()
		})
	}
}

// Bytes that are buffered, read ahead or held by the reader are returned in the order of sending.
func TestDetachBeforeRun(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	closed := 0
	s.On.Close(func(bool) { closed++ })
	conn, rest, err := s.Detach()
	require.NoError(t, err)
	assert.Empty(t, rest)
	assert.Zero(t, closed)
	kit.Run(t, l)
	assert.Equal(t, 1, closed)
	evtest.RequireOpen(t, conn, peer)
	_ = conn.Close()
}

// The writes of the running callback are sent first, if the kernel accepts them.
func TestDetachFlushes(t *testing.T) {
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	var results []error
	l.AfterFunc(0, func() {
		s.WriteThen([]byte("hello"), func(err error) { results = append(results, err) })
		conn, _, err := s.Detach()
		require.NoError(t, err)
		_, _ = io.WriteString(conn, " world")
		_ = conn.Close()
	})
	kit.Run(t, l)
	got, _ := io.ReadAll(there)
	assert.Equal(t, "hello world", string(got))
	assert.Equal(t, []error{nil}, results)
	_ = there.Close()
}
