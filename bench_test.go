package evnet_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// BenchmarkEcho measures one round trip of a message over TCP, with client and server on one loop.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16 << 10, 64 << 10} {
		echo := func(b *testing.B, onConnection func(*evnet.Socket)) {
			b.ReportAllocs()
			b.SetBytes(int64(2 * size))
			l := evnet.NewLoop()
			s, address := kit.Serve(b, l, nil, onConnection)
			c := kit.NewClient(l)
			message := make([]byte, size)
			got, left := 0, b.N
			c.OnRead(func(p []byte) bool {
				if got += len(p); got < size {
					return true
				}
				got = 0
				if left--; left == 0 {
					_ = s.Close(nil)
					c.End()
				} else {
					_, _ = c.Write(message)
				}
				return true
			})
			c.On.Ready(func() { _, _ = c.Write(message) })
			c.Connect("tcp", address)
			b.ResetTimer()
			kit.Run(b, l)
		}
		b.Run(fmt.Sprintf("Data/%d", size), func(b *testing.B) {
			echo(b, func(c *evnet.Socket) { c.On.Data(func(p []byte) { _, _ = c.Write(p) }) })
		})
		b.Run(fmt.Sprintf("OnRead/%d", size), func(b *testing.B) {
			echo(b, func(c *evnet.Socket) {
				c.OnRead(func(p []byte) bool {
					_, _ = c.Write(p)
					return true
				})
			})
		})
		b.Run(fmt.Sprintf("Pipe/%d", size), func(b *testing.B) {
			echo(b, func(c *evnet.Socket) { c.Pipe(c) })
		})
	}
}

// BenchmarkPost measures posting and running one function.
func BenchmarkPost(b *testing.B) {
	b.ReportAllocs()
	l := evnet.NewLoop()
	left := b.N
	var next func()
	next = func() {
		if left--; left > 0 {
			l.Post(next)
		}
	}
	l.Post(next)
	kit.Run(b, l)
}

// BenchmarkConnect measures making, accepting and closing one connection.
func BenchmarkConnect(b *testing.B) {
	b.ReportAllocs()
	l := evnet.NewLoop()
	s, address := kit.Serve(b, l, nil, nil)
	left := b.N
	var next func()
	next = func() {
		c := kit.NewClient(l)
		c.On.Ready(c.End)
		c.On.Close(func(bool) {
			if left--; left > 0 {
				next()
			} else {
				_ = s.Close(nil)
			}
		})
		c.Connect("tcp", address)
	}
	next()
	kit.Run(b, l)
}

// drip is a conn that returns head in large reads, and then each byte of tail in its own read.
type drip struct {
	cut
	head, tail int
	started    atomic.Bool // head was read
	start      func()
}

func (c *drip) Read(p []byte) (int, error) {
	n := 1
	switch {
	case c.head > 0:
		n = min(len(p), c.head)
		c.head -= n
	case c.tail > 0:
		if !c.started.Swap(true) {
			c.start()
		}
		c.tail--
	default:
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = 'x'
	}
	return n, nil
}

// BenchmarkScanUnfinished measures one more byte of an incomplete token of 1 MB: the time and the number of bytes that
// split examines.
func BenchmarkScanUnfinished(b *testing.B) {
	byByte := func(data []byte, _ bool) (int, []byte, error) {
		for i, c := range data {
			if c == '\n' {
				return i + 1, data[:i], nil
			}
		}
		return 0, nil, nil
	}
	byIndex := func(data []byte, _ bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		return 0, nil, nil
	}
	for _, bench := range []struct {
		name  string
		split bufio.SplitFunc
	}{{"lines", nil}, {"index", byIndex}, {"bytewise", byByte}, {"frames", evtest.Frames}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			l := evnet.NewLoop()
			conn := &drip{head: evtest.Megabyte, tail: b.N, start: b.ResetTimer}
			s := evnet.Wrap(conn, &evnet.SocketOptions{Loop: l})
			s.On.Error(func(error) {})
			looked := 0
			split := bench.split
			if split != nil {
				split = func(data []byte, atEOF bool) (int, []byte, error) {
					if conn.started.Load() {
						looked += len(data)
					}
					return bench.split(data, atEOF)
				}
			}
			require.NoError(b, s.Scan(split, 1<<30, func([]byte) {}))
			kit.Run(b, l)
			b.ReportMetric(float64(looked)/float64(b.N), "looked-B/op")
		})
	}
}
