package evnet_test

import (
	"bufio"
	"bytes"
	"io"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// drip is a conn that gives head in large reads and then the bytes of tail, one in each.
type drip struct {
	cut
	head, tail int
	started    atomic.Bool // the head was given
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

// BenchmarkScanUnfinished is one more byte of a token of 1 MB that is not finished: how long it takes and how many
// bytes split looks at for it.
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
