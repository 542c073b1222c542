package evnet_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slow finds lines like bufio.ScanLines, but a call takes a millisecond. It records its arguments.
type slow struct {
	calls  []string // the number of bytes, and whether at the end
	began  []time.Duration
	looked int
}

const slowCall = time.Millisecond

func (c *slow) split(data []byte, atEOF bool) (int, []byte, error) {
	call := fmt.Sprint(len(data))
	if atEOF {
		call += " at the end"
	}
	c.calls = append(c.calls, call)
	c.began = append(c.began, time.Since(begin))
	c.looked += len(data)
	time.Sleep(slowCall)
	return bufio.ScanLines(data, atEOF)
}

var begin = time.Now()

// For an incomplete token that arrives byte by byte, the work of split is proportional to its length, with every
// encoding.
func TestScanDefersCalls(t *testing.T) {
	const size = 32 << 10
	for name, c := range map[string]struct {
		encoding evnet.Encoding
		one      string
	}{
		"bytes":   {"", "x"},
		"utf8":    {evnet.UTF8, "x"},
		"utf16le": {evnet.UTF16LE, "x\x00"},
		"latin1":  {evnet.Latin1, "\xe9"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
				if c.encoding != "" {
					require.NoError(t, s.SetEncoding(c.encoding))
				}
				kit.Aside(l, func() {
					for range size {
						_, _ = io.WriteString(peer, c.one)
					}
					_, _ = io.WriteString(peer, strings.Replace(c.one, c.one[:1], "\n", 1))
					_ = peer.Close()
				})
				calls, looked, longest := 0, 0, 0
				var got []int
				require.NoError(t, s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
					calls++
					if longest = max(longest, len(data)); len(data) > 4096 {
						looked += len(data)
						time.Sleep(slowCall)
					}
					return bufio.ScanLines(data, atEOF)
				}, 0, func(token []byte) { got = append(got, len(token)) }))
				kit.Run(t, l)
				assert.Equal(t, []int{longest - 1}, got)
				assert.Greater(t, calls, 2000, "while the token is short, split is called whenever data arrives")
				assert.Less(t, looked, 20*longest)
			})
		})
	}
}

// deferring is a socket that has buffered a complete line and the start of the next, which split has not seen.
type deferring struct {
	slow
	l    *evnet.Loop
	s    *evnet.Socket
	peer net.Conn
	got  kit.Notes
}

const (
	lineDeferred  = 8193
	deferredBytes = "\nrest"
)

func hold(t *testing.T, of evnet.SocketOptions, encoding evnet.Encoding, act func(d *deferring)) *deferring {
	d := &deferring{l: evnet.NewLoop()}
	of.Loop = d.l
	here, there := net.Pipe()
	d.s, d.peer = evnet.Wrap(halfClosed{here}, &of), there
	if encoding != "" {
		require.NoError(t, d.s.SetEncoding(encoding))
	}
	require.NoError(t, d.s.Scan(d.split, 0, d.token))
	kit.Aside(d.l, func() {
		d.prepare(t)
		act(d)
	})
	return d
}

// halfClosed is a pipe that lets its peer send after End.
type halfClosed struct{ net.Conn }

func (halfClosed) CloseWrite() error { return nil }

// prepare sends the line. split is called immediately for the last byte but one, and that call defers the next ones.
func (d *deferring) prepare(t *testing.T) {
	for _, part := range []string{strings.Repeat("x", lineDeferred-1), "x", deferredBytes} {
		_, _ = io.WriteString(d.peer, part)
	}
	synctest.Wait()
	waiting, armed := evnet.ScansDeferred(d.l)
	assert.Equal(t, 1, waiting)
	assert.True(t, armed)
}

// token notes a long token as its length.
func (d *deferring) token(token []byte) {
	if n := bytes.Count(token, []byte("x")); n == lineDeferred {
		d.got = append(d.got, strings.Replace(string(token), strings.Repeat("x", n), "line", 1))
		return
	}
	d.got = append(d.got, string(token))
}

// run also checks that no call is deferred any more.
func (d *deferring) run(t *testing.T) {
	kit.Run(t, d.l)
	waiting, armed := evnet.ScansDeferred(d.l)
	assert.Zero(t, waiting)
	assert.False(t, armed)
	_ = d.peer.Close()
}

// A complete token needs neither more data nor the peer's end: split is called after a pause.
func TestScanCallsDeferredSplit(t *testing.T) {
	for _, encoding := range []evnet.Encoding{"", evnet.UTF8} {
		synctest.Test(t, func(t *testing.T) {
			var sent time.Time
			d := hold(t, evnet.SocketOptions{}, encoding, func(*deferring) { sent = time.Now() })
			require.NoError(t, d.s.Scan(d.split, 0, func(token []byte) {
				d.token(token)
				assert.Equal(t, 9*slowCall, time.Since(sent), "the pause, and the call")
				d.s.Destroy(nil)
			}))
			d.run(t)
			assert.Equal(t, kit.Notes{"line"}, d.got)
		})
	}
}

// Before the peer's end split is called for the bytes that it has not seen and then, as in bufio, for the rest.
func TestScanDeferredAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := hold(t, evnet.SocketOptions{}, "", func(d *deferring) { _ = d.peer.Close() })
		d.s.On.End(d.got.Say("end"))
		d.run(t)
		assert.Equal(t, kit.Notes{"line", "rest", "end"}, d.got)
		assert.Equal(t, []string{"8198", "4", "4 at the end", "0 at the end"}, d.calls[len(d.calls)-4:])
	})
}

// A token that is too long is an error at the first byte over the limit.
func TestScanDeferredTooLong(t *testing.T) {
	const longest = 10_000
	for name, e := range map[string]evnet.Encoding{"bytes": "", "text": evnet.UTF8} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := evnet.NewLoop()
				s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
				if e != "" {
					require.NoError(t, s.SetEncoding(e))
				}
				kit.Aside(l, func() {
					for {
						if _, err := io.WriteString(peer, "x"); err != nil {
							return
						}
					}
				})
				var c slow
				require.NoError(t, s.Scan(c.split, longest, func([]byte) { t.Error("a token") }))
				s.On.Error(func(err error) {
					assert.ErrorIs(t, err, bufio.ErrTooLong)
					assert.EqualValues(t, longest+1, s.BytesRead())
				})
				kit.Run(t, l)
				assert.ErrorIs(t, s.Err(), bufio.ErrTooLong)
				assert.Less(t, len(c.calls), 4096+100)
			})
		})
	}
}

// A token that has arrived before a timeout is delivered before it.
func TestScanDeferredBeforeTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		of  evnet.SocketOptions
		set func(d *deferring)
	}{
		"close":   {evnet.SocketOptions{CloseTimeout: 5 * slowCall}, func(d *deferring) { d.s.End() }},
		"idle":    {evnet.SocketOptions{IdleTimeout: 4 * slowCall}, func(*deferring) {}},
		"timeout": {evnet.SocketOptions{}, func(d *deferring) { assert.NoError(nil, d.s.SetTimeout(4*slowCall)) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := hold(t, c.of, "", func(*deferring) {})
				c.set(d)
				timedOut := func() {
					d.got.Say("timeout")()
					d.s.Destroy(nil)
				}
				d.s.On.Error(func(error) { timedOut() })
				d.s.On.Timeout(timedOut)
				d.run(t)
				assert.Equal(t, kit.Notes{"line", "timeout"}, d.got)
				assert.Less(t, d.began[len(d.began)-1]-d.began[0], 10*slowCall, "the pause is cut short")
			})
		})
	}
}

// endsBadly is a conn whose Read fails after it has returned all parts.
type endsBadly struct {
	net.Conn
	parts []string
	last  bool // the last part is returned with the error
}

func (c *endsBadly) Read(p []byte) (int, error) {
	n := 0
	if len(c.parts) > 0 {
		n = copy(p, c.parts[0])
		c.parts = c.parts[1:]
	}
	if n == 0 || c.last && len(c.parts) == 0 {
		return n, syscall.ECONNRESET
	}
	return n, nil
}

// A token that has arrived before an error is delivered before Error, like a short one.
func TestScanDeferredBeforeAFailure(t *testing.T) {
	for _, last := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := &deferring{l: evnet.NewLoop()}
			var here net.Conn
			here, d.peer = net.Pipe()
			half := strings.Repeat("x", lineDeferred/2)
			d.s = evnet.Wrap(&endsBadly{here, []string{half, half, "x", deferredBytes}, last}, &evnet.SocketOptions{Loop: d.l})
			require.NoError(t, d.s.Scan(d.split, 0, d.token))
			d.s.On.Error(func(error) { d.got.Say("error")() })
			d.run(t)
			assert.Equal(t, kit.Notes{"line", "error"}, d.got)
		})
	}
}

// The deferred calls of all sockets together are as far apart as the calls of one socket, and each socket gets its turn.
func TestScanDefersCallsOfManySockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sockets, size = 20, 4096
		l := evnet.NewLoop()
		var began []time.Time
		called := make(chan int, sockets)
		var peers []net.Conn
		for i := range sockets {
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			peers = append(peers, peer)
			require.NoError(t, s.Scan(func(data []byte, _ bool) (int, []byte, error) {
				switch {
				case len(data) == size+2:
					return len(data), data, nil
				case len(data) == size+1:
					began = append(began, time.Now())
					time.Sleep(slowCall)
					called <- i
				}
				return 0, nil, nil
			}, 0, func(token []byte) { assert.Len(t, token, size+2) }))
		}
		kit.Aside(l, func() {
			for _, peer := range peers {
				_, _ = peer.Write(make([]byte, size))
			}
			for i, peer := range peers {
				if i == sockets-1 { // the next call is due: the deferred ones still run first
					time.Sleep(8*slowCall - 50*time.Microsecond)
				}
				_, _ = peer.Write(make([]byte, 1))
				if i == 0 {
					<-called
				}
				synctest.Wait() // so that they are queued in this order
			}
			waiting, _ := evnet.ScansDeferred(l)
			assert.Equal(t, sockets-1, waiting)
			for i := range sockets - 1 {
				assert.Equal(t, i+1, <-called)
			}
			for _, peer := range peers {
				_, _ = peer.Write(make([]byte, 1))
				_ = peer.Close()
			}
		})
		kit.Run(t, l)
		require.Len(t, began, sockets)
		for i := range sockets - 1 {
			assert.Equal(t, 9*slowCall, began[i+1].Sub(began[i]), "a call and its pause")
		}
	})
}

// Deferred calls are made under both transports, for the last bytes of a peer that then waits for an answer.
func TestScanDeferredOverTCP(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		const size, rounds = 32 << 10, 20
		l := evnet.NewLoop()
		server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) {
			assert.NoError(t, a.Scan(func(data []byte, atEOF bool) (n int, token []byte, err error) {
				for range 20 { // slowly enough for a pause
					n, token, err = bufio.ScanLines(data, atEOF)
				}
				return n, token, err
			}, 0, func(token []byte) {
				assert.Len(t, token, size)
				_, _ = a.WriteString("+")
			}))
		})
		kit.Aside(l, func() {
			c, err := net.Dial("tcp", addr)
			if assert.NoError(t, err) {
				message := strings.Repeat("x", size) + "\n"
				for range rounds {
					for _, part := range []string{message[:size-50], message[size-50 : size-1], message[size-1 : size], "\n"} {
						_, _ = io.WriteString(c, part)
					}
					_, err = io.ReadFull(c, make([]byte, 1))
					assert.NoError(t, err)
				}
				_ = c.Close()
			}
			_ = server.Close(nil)
		})
		kit.Run(t, l)
	})
}
