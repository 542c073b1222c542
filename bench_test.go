package evnet_test

import (
	"fmt"
	"testing"

	"evnet"
	"evnet/conformance/kit"
)

// BenchmarkEcho is one message there and back over TCP, client and server on one loop.
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

// BenchmarkPost is one function posted and run.
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

// BenchmarkConnect is one connection made, accepted and closed.
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
