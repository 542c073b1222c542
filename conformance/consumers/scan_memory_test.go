package consumers_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An append to a token must not overwrite the data behind it.
func TestScanTokenIsClipped(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one\ntwo\n")
	var got kit.Notes
	require.NoError(t, s.Scan(nil, 0, func(line []byte) {
		got = append(got, string(line))
		_ = append(line, "overwritten"...)
	}))
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"one", "two"}, got)
}

// The time for a long token in many small chunks is proportional to its length, not to its square.
func TestScanLongToken(t *testing.T) {
	const size, cut = 16 * evtest.Megabyte, 2 << 10
	want := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	took := func(before, after string, consume func(s *evnet.Socket)) time.Duration {
		l := evnet.NewLoop()
		s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
		consume(s)
		began := time.Now()
		kit.Aside(l, func() {
			_, _ = io.WriteString(peer, before)
			for rest := want; len(rest) > 0; rest = rest[cut:] {
				_, _ = peer.Write(rest[:cut])
			}
			_, _ = io.WriteString(peer, after)
			_ = peer.Close()
		})
		kit.Run(t, l)
		return time.Since(began)
	}
	plain := took("", "", func(s *evnet.Socket) { _ = s.OnRead(func([]byte) bool { return true }) })
	for name, c := range map[string]struct {
		before, after string
		split         bufio.SplitFunc
	}{
		"line":  {"", "\n", nil},
		"frame": {evtest.Frame(string(want))[:4], "", evtest.Frames},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := 0
			scanned := took(c.before, c.after, func(s *evnet.Socket) {
				require.NoError(t, s.Scan(c.split, size+4, func(token []byte) { tokens++; evtest.AssertEqualBytes(t, want, token) }))
			})
			assert.Equal(t, 1, tokens)
			assert.Less(t, scanned, 8*plain+5*time.Second, "scanning everything again for each piece takes a minute")
			t.Logf("%v, without Scan %v", scanned, plain)
		})
	}
}

// readRecorder records the buffers into which its socket reads.
type readRecorder struct {
	net.Conn
	buf []byte
}

func (c *readRecorder) Read(p []byte) (int, error) {
	c.buf = p
	return c.Conn.Read(p)
}

// A token that is complete in one chunk is a slice of the chunk, not a copy. Under the race detector it is
// overwritten after the callback.
func TestScanBorrows(t *testing.T) {
	for name, split := range map[string]bufio.SplitFunc{"lines": nil, "any split": func(data []byte, atEOF bool) (int, []byte, error) {
		return bufio.ScanLines(data, atEOF)
	}} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := net.Pipe()
			conn := &readRecorder{Conn: here}
			s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
			long := strings.Repeat("x", 1000)
			go func() {
				for _, p := range []string{"one\nmid\ntw", "o\nthree\n" + long + "\nfo", "ur"} {
					_, _ = io.WriteString(there, p)
				}
				_ = there.Close()
			}()
			var got kit.Notes
			var kept []byte
			require.NoError(t, s.Scan(split, 0, func(token []byte) {
				if kept != nil && race.Enabled { // the chunk is still the same
					assert.Equal(t, bytes.Repeat([]byte{0xDB}, 3), kept)
				}
				if kept = nil; string(token) == "one" {
					kept = token
				}
				at, first := uintptr(unsafe.Pointer(&token[0])), uintptr(unsafe.Pointer(&conn.buf[0]))
				if first <= at && at < first+uintptr(len(conn.buf)) {
					got = append(got, "borrowed")
				} else {
					got = append(got, string(token))
				}
			}))
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"borrowed", "borrowed", "two", "borrowed", "borrowed", "four"}, got)
		})
	}
}

// endless returns the same bytes count times.
type endless struct {
	net.Conn
	text  string
	count int
}

func (c *endless) Read(p []byte) (int, error) {
	if c.count == 0 {
		return 0, io.EOF
	}
	c.count--
	return copy(p, c.text), nil
}

// Tokens need no allocation, even if each chunk ends within one.
func TestScanAllocatesNothing(t *testing.T) {
	const chunks, lines = 1000, 40
	for name, encoding := range map[string]evnet.Encoding{"bytes": "", "text": evnet.UTF8} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := net.Pipe()
			s := evnet.Wrap(&endless{here, strings.Repeat("0123456789\n", lines) + "the rest", chunks}, &evnet.SocketOptions{Loop: l})
			if encoding != "" {
				require.NoError(t, s.SetEncoding(encoding))
			}
			tokens := 0
			require.NoError(t, s.Scan(nil, 0, func([]byte) { tokens++ }))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			kit.Run(t, l)
			runtime.ReadMemStats(&after)
			assert.Equal(t, chunks*lines+1, tokens)
			assert.Less(t, after.Mallocs-before.Mallocs, uint64(3*chunks+chunks/2))
			_ = there.Close()
		})
	}
}

// A callback that panics leaves no reference to the borrowed chunk.
func TestScanPanics(t *testing.T) {
	l := evnet.NewLoop()
	l.OnPanic(func(*evnet.PanicError) {})
	s := kit.Feed(l, "one\ntwo\n")
	s.On.Error(func(error) {})
	require.NoError(t, s.Scan(nil, 0, func([]byte) { panic("x") }))
	kit.Run(t, l)
	var perr *evnet.PanicError
	require.ErrorAs(t, s.Err(), &perr)
	assert.Same(t, s, perr.Socket)
}

// BenchmarkScan measures one token, with two or one in a message of 64 bytes, in chunks of the size that TCP
// delivers.
func BenchmarkScan(b *testing.B) {
	for name, split := range map[string]bufio.SplitFunc{"lines": nil, "frames": evtest.Frames} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			body := strings.Repeat("x", 60)
			message := body + "\r\n\r\n"
			per := 2
			if split != nil {
				message, per = evtest.Frame(body), 1
			}
			b.SetBytes(int64(len(message) / per))
			l := evnet.NewLoop()
			kit.ConnectPair(b, l, nil, nil, func(c, a *evnet.Socket) {
				left := (b.N + per - 1) / per
				batch := strings.Repeat(message, 1000)
				send := func() {
					for left > 0 && !c.NeedDrain() {
						n := min(left, 1000)
						left -= n
						_, _ = c.WriteString(batch[:n*len(message)])
					}
					if left == 0 {
						c.End()
					}
				}
				c.On.Drain(send)
				tokens := 0
				_ = a.Scan(split, 0, func([]byte) { tokens++ })
				a.On.End(func() { assert.GreaterOrEqual(b, tokens, b.N) })
				b.ResetTimer()
				send()
			})
			kit.Run(b, l)
		})
	}
}
