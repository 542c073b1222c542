package consumers_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// After Close, Destroy and Reset nothing is delivered; after End everything is.
var endings = map[string]struct {
	end  func(*evnet.Socket)
	stop bool
}{
	"Close":   {func(s *evnet.Socket) { _ = s.Close() }, true},
	"Destroy": {func(s *evnet.Socket) { s.Destroy(nil) }, true},
	"Reset":   {(*evnet.Socket).Reset, true},
	"End":     {(*evnet.Socket).End, false},
}

// segmentsConn returns one segment for each Read, and then the end.
type segmentsConn struct {
	evtest.HalfCloser
	segments []string
}

func (c *segmentsConn) Read(p []byte) (int, error) {
	if len(c.segments) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.segments[0])
	c.segments = c.segments[1:]
	return n, nil
}

// segmentations returns ways to cut text into segments.
func segmentations(text string) [][]string {
	all := [][]string{{text}, evtest.Bytewise(text), strings.SplitAfter(text, "\n")}
	for i := 1; i < len(text); i++ {
		all = append(all, []string{text[:i], text[i:]})
	}
	return all
}

func TestScan_DeliversAfterEndingInAnySegmentation(t *testing.T) {
	setups := map[string]func(*evnet.Socket){
		"bytes":    func(*evnet.Socket) {},
		"text":     func(s *evnet.Socket) { _ = s.SetEncoding(evnet.UTF8) },
		"put back": func(s *evnet.Socket) { _ = s.Unshift([]byte("ONE\n")) },
	}
	for name, ending := range endings {
		for kind, setup := range setups {
			t.Run(name+", "+kind, func(t *testing.T) {
				for _, segments := range segmentations("ONE\nQUIT\nDELETE everything\nMORE") {
					l := evnet.NewLoop()
					here, _ := net.Pipe()
					s := evnet.Wrap(&segmentsConn{HalfCloser: evtest.HalfCloser{Conn: here}, segments: slices.Clone(segments)}, &evnet.SocketOptions{Loop: l})
					setup(s)
					var got kit.Notes
					require.NoError(t, s.Scan(nil, 0, func(token []byte) {
						if got = append(got, string(token)); string(token) == "QUIT" {
							ending.end(s)
						}
					}))
					s.On.End(got.Say("(end)"))
					kit.Run(t, l)
					want := kit.Notes{"ONE", "QUIT"}
					if kind == "put back" {
						want = slices.Insert(want, 0, "ONE")
					}
					if !ending.stop {
						want = append(want, "DELETE everything", "MORE", "(end)")
					}
					assert.Equal(t, want, got, "%q", segments)
					assert.NoError(t, s.Err(), "%q", segments)
				}
			})
		}
	}
}

// closing is a socket whose consumer calls Close on the first delivery, with an answer queued.
type closing struct {
	t       testing.TB
	l       *evnet.Loop
	s       *evnet.Socket
	onClose func(func()) // runs close
	got     bytes.Buffer // delivered
}

var (
	closingAnswer = bytes.Repeat([]byte("answer"), 100_000)
	closingFlood  = bytes.Repeat([]byte("DELETE\n"), 100_000)
)

func (c *closing) Write(p []byte) (int, error) {
	c.got.Write(p)
	if c.got.Len() == len(p) {
		c.onClose(c.close)
	}
	return len(p), nil
}

func (c *closing) close() {
	_, err := c.s.Write(closingAnswer)
	assert.NoError(c.t, err)
	assert.NoError(c.t, c.s.Close())
}

// shrinkBuffers makes the kernel's buffers too small for closingAnswer.
func shrinkBuffers(t testing.TB, conns ...net.Conn) {
	for _, conn := range conns {
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		if b, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
			require.NoError(t, b.SetWriteBuffer(16<<10))
		}
	}
}

var closingConsumers = map[string]func(c *closing){
	"On.Data": func(c *closing) { c.s.On.Data(func(p []byte) { _, _ = c.Write(p) }) },
	"On.Data, paused": func(c *closing) {
		c.s.On.Data(func(p []byte) { c.s.Pause(); _, _ = c.Write(p) })
	},
	"On.Data, removed": func(c *closing) {
		c.s.Once.Data(func(p []byte) {
			_, _ = c.Write(p)
			c.s.On.Data(func(p []byte) { _, _ = c.Write(p) })
		})
	},
	"On.Data, put back": func(c *closing) {
		c.s.On.Data(func(p []byte) {
			_, _ = c.Write(p)
			assert.NoError(c.t, c.s.Unshift(p))
		})
	},
	"OnRead":         func(c *closing) { _ = c.s.OnRead(func(p []byte) bool { _, _ = c.Write(p); return true }) },
	"OnRead, paused": func(c *closing) { _ = c.s.OnRead(func(p []byte) bool { _, _ = c.Write(p); return false }) },
	"Scan":           func(c *closing) { _ = c.s.Scan(nil, 0, func(p []byte) { _, _ = c.Write(append(p, '\n')) }) },
	"Pipe":           func(c *closing) { c.s.Pipe(c) },
	"Pipe to a socket": func(c *closing) {
		here, there := evtest.TCPPair(c.t)
		dst := evnet.Wrap(here, &evnet.SocketOptions{Loop: c.l})
		c.s.Pipe(dst)
		c.s.On.Close(func(bool) { dst.End() })
		c.onClose = c.l.Post
		kit.Aside(c.l, func() {
			_, err := io.Copy(c, there)
			assert.NoError(c.t, err)
			assert.NoError(c.t, there.Close())
		})
	},
	"Chunks": func(c *closing) {
		kit.Aside(c.l, func() {
			var err error
			var p []byte
			for p, err = range c.s.Chunks() {
				_, _ = c.Write(p)
			}
			assert.ErrorIs(c.t, err, evnet.ErrDestroyed)
		})
	},
	"BlockingConn": func(c *closing) {
		conn := kit.BlockingConn(c.t, c.s)
		kit.Aside(c.l, func() {
			_, err := io.Copy(c, struct{ io.Reader }{conn})
			assert.ErrorIs(c.t, err, net.ErrClosed)
		})
	},
}

// While Close waits for a peer that reads nothing, data that arrives is read, so that the peer's writes do not stall, and
// is not delivered.
func TestClose_DiscardsWhatArrivesLater(t *testing.T) {
	for kind, pair := range evtest.ConnKinds {
		for name, consume := range closingConsumers {
			t.Run(kind+", "+name, func(t *testing.T) {
				evtest.OnBothTransports(t, func(t *testing.T) {
					l := evnet.NewLoop()
					here, there := pair(t)
					shrinkBuffers(t, here, there)
					c := &closing{t: t, l: l, s: evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), onClose: func(fn func()) { fn() }}
					events := kit.NoteLife(c.s)
					consume(c)
					kit.Aside(l, func() {
						_, err := io.WriteString(there, "QUIT\n")
						assert.NoError(t, err)
						answer := make([]byte, 1, len(closingAnswer))
						_, err = io.ReadFull(there, answer)
						assert.NoError(t, err)
						_, err = there.Write(closingFlood)
						assert.NoError(t, err)
						for c.s.BytesRead() < int64(len("QUIT\n")+len(closingFlood)) && !c.s.Destroyed() {
							runtime.Gosched()
						}
						rest, err := io.ReadAll(there)
						assert.NoError(t, err)
						assert.True(t, bytes.Equal(closingAnswer, append(answer, rest...)), "the answer is complete")
						_ = there.Close()
					})
					kit.Run(t, l)
					assert.Equal(t, "QUIT\n", c.got.String()[:min(c.got.Len(), 20)])
					assert.NoError(t, c.s.Err())
					assert.NotContains(t, *events, "end")
				})
			})
		}
	}
}

// A Read that has taken a part of the received data gets no more after the socket's end.
func TestBlockingConn_ReadsNothingAfterTheSocketHasClosed(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			for _, segments := range segmentations("QUIT\nDELETE\n") {
				l := evnet.NewLoop()
				here, _ := net.Pipe()
				s := evnet.Wrap(&segmentsConn{HalfCloser: evtest.HalfCloser{Conn: here}, segments: slices.Clone(segments)}, &evnet.SocketOptions{Loop: l})
				conn := kit.BlockingConn(t, s)
				kit.Aside(l, func() {
					line := make([]byte, len("QUIT\n"))
					_, err := io.ReadFull(conn, line)
					assert.NoError(t, err)
					assert.Equal(t, "QUIT\n", string(line))
					ending.end(s)
					rest, err := io.ReadAll(conn)
					if ending.stop {
						assert.Empty(t, rest, "%q", segments)
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
					assert.NoError(t, err)
					assert.Equal(t, "DELETE\n", string(rest))
				})
				kit.Run(t, l)
			}
		})
	}
}

// Close before the connection is established delivers nothing of it, and the next connection is not affected.
func TestClose_WhileConnectingDeliversNothing(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		kit.Aside(l, func() {
			for range 2 {
				conn, err := ln.Accept()
				if !assert.NoError(t, err) {
					return
				}
				_, _ = io.WriteString(conn, "greeting")
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		})
		s := kit.NewClient(l)
		var got kit.Notes
		s.On.Data(got.Chunk(""))
		s.Once.Close(func(bool) {
			assert.Empty(t, got)
			s.Once.Data(func([]byte) { _ = s.Close() })
			s.Connect("tcp", ln.Addr().String())
		})
		s.Connect("tcp", ln.Addr().String())
		assert.NoError(t, s.Close())
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"greeting"}, got)
		assert.NoError(t, ln.Close())
	})
}

// A Relay passes nothing on that its socket receives after Close, and reports that the transfer is incomplete.
func TestClose_EndsARelay(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		r := kit.NewRelayed(t, l, l, func(t testing.TB) (net.Conn, net.Conn) {
			here, there := evtest.TCPPair(t)
			shrinkBuffers(t, here, there)
			return here, there
		})
		r.A.Once.Data(func([]byte) {
			_, err := r.A.Write(closingAnswer)
			assert.NoError(t, err)
			assert.NoError(t, r.A.Close())
		})
		kit.Aside(l, func() {
			_, err := io.WriteString(r.PeerA, "QUIT\n")
			assert.NoError(t, err)
			answer := make([]byte, 1, len(closingAnswer))
			_, err = io.ReadFull(r.PeerA, answer)
			assert.NoError(t, err)
			_, err = io.WriteString(r.PeerA, "DELETE\n")
			assert.NoError(t, err)
			for r.A.BytesRead() < int64(len("QUIT\nDELETE\n")) && !r.A.Destroyed() {
				runtime.Gosched()
			}
			rest, err := io.ReadAll(r.PeerA)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(closingAnswer, append(answer, rest...)), "the answer is complete")
			got, err := io.ReadAll(r.PeerB)
			assert.NoError(t, err)
			assert.Equal(t, "QUIT\n", string(got))
			_, _ = r.PeerA.Close(), r.PeerB.Close()
		})
		kit.Run(t, l)
		require.Len(t, r.Done, 1)
		assert.ErrorIs(t, r.Done[0], evnet.ErrDestroyed)
	})
}
