package consumers_test

import (
	"bufio"
	"bytes"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Received data passes from one consumer to the next, to Relay or to the caller of Detach, each byte once.

// Detach inside Scan returns all data behind the token, wherever Scan buffers it.
func TestDetachInsideScan(t *testing.T) {
	const tail = "6\n7\n8"
	for name, parts := range map[string][]string{
		"one chunk":   {"1\n2\n3\n" + tail},
		"joined":      {"1\n2\n", "3", "\n" + tail},
		"joined long": {"1\n2\n" + "", "3", "\n" + tail + strings.Repeat("x", 60<<10)},
		"bytes":       evtest.Bytewise("1\n2\n3\n" + tail),
	} {
		for _, by := range []string{"lines", "own split", "inside split"} {
			for _, encoding := range []evnet.Encoding{"", evnet.Latin1} {
				t.Run(name+" "+by+string(encoding), func(t *testing.T) {
					l := evnet.NewLoop()
					s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
					if encoding != "" {
						require.NoError(t, s.SetEncoding(encoding))
					}
					all, got := strings.Join(parts, ""), ""
					detached := false
					detach := func() {
						conn, rest, err := s.Detach()
						require.NoError(t, err)
						detached = true
						assert.Zero(t, s.ReadableLength())
						kit.Aside(l, func() {
							more, _ := io.ReadAll(conn)
							got += string(rest) + string(more)
							_ = conn.Close()
						})
					}
					split := bufio.ScanLines
					if by != "lines" {
						split = func(data []byte, atEOF bool) (int, []byte, error) {
							if by == "inside split" && strings.Count(got, "\n") == 3 {
								detach()
								return 0, nil, nil
							}
							return bufio.ScanLines(data, atEOF)
						}
					}
					require.NoError(t, s.Scan(split, 0, func(line []byte) {
						require.False(t, detached, "a token after Detach")
						got += string(line) + "\n"
						if by != "inside split" && string(line) == "3" {
							detach()
						}
					}))
					go func() {
						for _, p := range parts {
							_, _ = io.WriteString(peer, p)
						}
						_ = peer.Close()
					}()
					kit.Run(t, l)
					require.True(t, detached)
					evtest.AssertEqualBytes(t, []byte(all), []byte(got))
				})
			}
		}
	}
}

// The Scan of the next connection does not overwrite the bytes that Detach has returned.
func TestDetachedRestIsTheCallers(t *testing.T) {
	l := evnet.NewLoop()
	first, second := "go\nkept and kept", "overwritten all"
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) {
		_, _ = a.WriteString(first)
		first = second
		a.End()
		a.Resume()
	})
	s := kit.NewClient(l)
	require.NoError(t, s.SetEncoding(evnet.UTF8))
	var rest []byte
	require.NoError(t, s.Scan(nil, 0, func(line []byte) {
		if string(line) != "go" {
			return
		}
		conn, r, err := s.Detach()
		require.NoError(t, err)
		rest = r
		_ = conn.Close()
	}))
	s.Once.Close(func(bool) {
		s.Connect("tcp", addr)
		s.Once.Close(func(bool) { _ = server.Close(nil) })
	})
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, "kept and kept", string(rest))
}

// Scan reads a header, and Relay forwards the rest.
func TestRelayInsideScan(t *testing.T) {
	for name, parts := range map[string][]string{
		"one chunk": {"header\nbody\nand more"}, "joined": {"head", "er\nbody\n", "and more"}, "bytes": evtest.Bytewise("header\nbody\nand more"),
	} {
		for _, encoding := range []evnet.Encoding{"", evnet.UTF8} {
			t.Run(name+string(encoding), func(t *testing.T) {
				l := evnet.NewLoop()
				s := kit.Feed(l, parts...)
				if encoding != "" {
					require.NoError(t, s.SetEncoding(encoding))
				}
				var lines, over kit.Notes
				require.NoError(t, s.Scan(nil, 0, func(line []byte) {
					lines.Chunk("")(line)
					out, peer := kit.WrapPipe(l, evnet.SocketOptions{})
					evnet.Relay(s, out, func(err error) { over.Say("over")(); assert.NoError(t, err) })
					assert.ErrorIs(t, s.Scan(nil, 0, func([]byte) {}), evnet.ErrConsumed)
					kit.Aside(l, func() {
						got := make([]byte, len("body\nand more"))
						_, err := io.ReadFull(peer, got)
						assert.NoError(t, err)
						assert.Equal(t, "body\nand more", string(got))
						_ = peer.Close()
					})
				}))
				kit.Run(t, l)
				assert.Equal(t, kit.Notes{"header"}, lines)
				assert.Equal(t, kit.Notes{"over"}, over)
			})
		}
	}
}

// ErrFinalToken ends Scan, even if more data is left than a token may have.
func TestScanFinalLeavesMuch(t *testing.T) {
	l := evnet.NewLoop()
	body := strings.Repeat("b", 1000)
	s := kit.Feed(l, body)
	var got bytes.Buffer
	require.NoError(t, s.Scan(func([]byte, bool) (int, []byte, error) {
		l.Post(func() { s.On.Data(func(p []byte) { got.Write(p) }) })
		return 0, nil, bufio.ErrFinalToken
	}, 10, func([]byte) {}))
	kit.Run(t, l)
	require.NoError(t, s.Err())
	assert.Equal(t, body, got.String())
}

// If another goroutine removes a consumer directly before its callback, the next consumer gets the chunk.
func TestConsumer_RemovedBeforeItsCallback(t *testing.T) {
	for _, encoding := range []evnet.Encoding{"", evnet.Hex} {
		want := map[evnet.Encoding]string{"": "onetwo", evnet.Hex: "6f6e6574776f"}[encoding]
		t.Run("data "+string(encoding), func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, "one", "two")
			if encoding != "" {
				require.NoError(t, s.SetEncoding(encoding))
			}
			got := ""
			first := s.On.Data(func([]byte) { t.Error("it was off") })
			once := sync.OnceFunc(func() {
				first.Off()
				l.Post(func() { s.On.Data(func(p []byte) { got += string(p) }) })
			})
			kit.SetTracer(l, func(_ any, event string, _ ...any) {
				if event == "data" {
					once()
				}
			})
			kit.Run(t, l)
			assert.Equal(t, want, got)
		})
		t.Run("chunks "+string(encoding), func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, "one", "two")
			if encoding != "" {
				require.NoError(t, s.SetEncoding(encoding))
			}
			out, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			once := sync.OnceFunc(func() { evnet.Relay(s, out, nil) })
			kit.SetTracer(l, func(_ any, event string, _ ...any) {
				if event == "data" {
					once()
				}
			})
			kit.Aside(l, func() {
				for p, err := range s.Chunks() {
					assert.Empty(t, p)
					assert.ErrorIs(t, err, evnet.ErrConsumed)
				}
			})
			kit.Aside(l, func() {
				got := make([]byte, len(want))
				_, err := io.ReadFull(peer, got)
				assert.NoError(t, err)
				assert.Equal(t, want, string(got))
				_ = peer.Close()
			})
			kit.Run(t, l)
		})
	}
}

// Bytes that were put back while the socket was paused are delivered before a reset.
func TestResetWaitsForWhatWasPutBack(t *testing.T) {
	if !evtest.OnLinux {
		t.Skip("resets of paused sockets are reported only on Linux")
	}
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	var got kit.Notes
	s.On.Data(got.Chunk(""))
	s.On.Error(func(err error) { got = append(got, evnet.Code(err)) })
	s.Pause()
	l.AfterFunc(5*time.Millisecond, func() { // the reader watches for a reset by now
		require.NoError(t, s.Unshift([]byte("put back")))
		l.AfterFunc(5*time.Millisecond, func() {
			_ = there.SetLinger(0)
			_ = there.Close()
			l.AfterFunc(20*time.Millisecond, s.Resume)
		})
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"put back", "ECONNRESET"}, got)
}

// A closed socket gets a destination that is full, and connects again. It flows once the destination has
// drained.
func TestPipeToTheFullThenConnect(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { _, _ = a.WriteString("x"); a.End(); a.Resume() })
	s := kit.NewClient(l)
	s.On.Error(func(error) {})
	out, peer := kit.WrapPipe(l, evnet.SocketOptions{HighWaterMark: 1})
	s.Once.Close(func(bool) {
		_, _ = out.WriteString("full ")
		s.Pipe(out)
		s.Connect("tcp", addr)
		s.Once.Close(func(bool) { _ = server.Close(nil) })
		s.On.Connect(func() {
			kit.Aside(l, func() {
				got, _ := io.ReadAll(peer)
				assert.Equal(t, "full x", string(got))
			})
		})
	})
	s.Destroy(evtest.Boom("first"))
	kit.Run(t, l)
}

// Detach succeeds even if the peer has closed and the reader was about to report it.
func TestDetachFromAClosedPipe(t *testing.T) {
	for range 300 {
		l := evnet.NewLoop()
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		l.Post(func() {
			l.Post(func() {
				go func() { _ = peer.Close() }()
				for range 10 {
					runtime.Gosched()
				}
				conn, rest, err := s.Detach()
				require.NoError(t, err)
				assert.Empty(t, rest)
				_, err = conn.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
				_ = conn.Close()
			})
		})
		kit.Run(t, l)
	}
}

// A side on which the user called End closes once its peer has ended too. The other side then has no destination,
// so it closes without waiting for its peer's end.
func TestRelayEndedByHand(t *testing.T) {
	l := evnet.NewLoop()
	r := kit.NewRelayed(t, l, l, evtest.ConnKinds["tcp"])
	r.A.End()
	kit.Aside(l, func() {
		assert.Equal(t, io.EOF, evtest.EndOf(r.PeerA))
		_ = r.PeerA.Close()
	})
	r.B.On.Finish(func() {
		l.Post(func() {
			assert.True(t, r.B.Destroyed())
			r.B.Destroy(nil)
		})
	})
	kit.Run(t, l)
	assert.Equal(t, []error{evnet.ErrDestroyed}, r.Done, "one direction has not ended")
	_ = r.PeerB.Close()
}

// Relay forwards the chunk that a range on another goroutine is about to get when Relay ends it.
func TestRelayInsideChunks(t *testing.T) {
	l := evnet.NewLoop()
	a, aPeer := kit.WrapPipe(l, evnet.SocketOptions{})
	b, bPeer := kit.WrapPipe(l, evnet.SocketOptions{})
	kit.Aside(l, func() {
		for p, err := range a.Chunks() {
			assert.Empty(t, p)
			assert.ErrorIs(t, err, evnet.ErrConsumed)
		}
	})
	l.SetTracer(func(ev evnet.TraceEvent) { // directly before the range gets it
		l.SetTracer(nil)
		assert.Equal(t, evnet.EventData, ev.Name)
		joined := make(chan struct{})
		go func() { evnet.Relay(a, b, nil); close(joined) }()
		<-joined
	})
	kit.Aside(l, func() {
		_, _ = io.WriteString(aPeer, "one")
		_, _ = io.WriteString(aPeer, "two")
		_ = aPeer.Close()
	})
	kit.Aside(l, func() {
		got, _ := io.ReadAll(bPeer)
		assert.Equal(t, "onetwo", string(got))
		_ = bPeer.Close()
	})
	kit.Run(t, l)
}
