package evnet_test

import (
	"bytes"
	"encoding/hex"
	"os"

	"evnet"

	"github.com/stretchr/testify/require"
)

var writeScenarios = map[string]scenario{
	"write-before-connect": {
		play: func(r *rig) {
			address := r.accept(nil, func(c *evnet.Socket) {
				total := 0
				c.On.Data(func(p []byte) { total += len(p) })
				c.On.End(func() { r.log("server", "total %d", total) })
			})
			r.hide("server", "data")
			c := r.client(nil)
			consume(c)
			c.Connect("tcp", address)
			for _, text := range []string{"one", "two"} {
				c.WriteThen([]byte(text), r.then("client", text))
				r.log("client", "write %s returned %v writableLength=%d bytesWritten=%d",
					text, !c.NeedDrain(), c.BufferedAmount(), c.BytesWritten())
			}
			c.WriteString("three")
			c.End()
			r.log("client", "after end writableLength=%d bytesWritten=%d readyState=%v",
				c.BufferedAmount(), c.BytesWritten(), c.ReadyState())
		},
	},
	"write-after-end": {
		why: "a write after End is an error of the write alone: the socket goes on",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:write returned false
			client:destroyed=false
			client:ready
			client:write cb x ERR_STREAM_WRITE_AFTER_END
			client:nextTick
			client:finish
			client:end
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			consume(c)
			c.On.Connect(func() {
				c.End()
				c.WriteThen([]byte("x"), r.then("client", "x"))
				_, err := c.WriteString("x")
				r.log("client", "write returned %v", err == nil)
				r.log("client", "destroyed=%v", c.Destroyed())
				r.l.Post(func() { r.log("client", "nextTick") })
			})
			c.Connect("tcp", address)
		},
	},
	"write-in-end-listener": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			consume(c)
			c.WriteString("hi")
			c.End()
		})
		c := r.client(nil)
		consume(c)
		c.On.End(func() {
			r.log("client", "end listener writable=%v", c.Writable())
			c.WriteThen([]byte("late"), func(err error) {
				require.NoError(r, err)
				r.log("client", "write cb ok")
			})
			r.log("client", "write returned %v", !c.NeedDrain())
		})
		c.Connect("tcp", address)
	}},
	"write-after-peer-end": {
		why: "a write after the automatic end is an error of the write alone",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:data 2
			client:end
			client:nextTick x2 writable=false destroyed=false
			client:write returned false
			client:finish
			client:write cb late ERR_STREAM_WRITE_AFTER_END
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, func(c *evnet.Socket) {
				c.WriteString("hi")
				c.End()
			})
			c := r.client(nil)
			consume(c)
			c.On.End(func() {
				r.l.Post(func() {
					r.l.Post(func() {
						r.log("client", "nextTick x2 writable=%v destroyed=%v", c.Writable(), c.Destroyed())
						_, err := c.WriteString("late")
						r.log("client", "write returned %v", err == nil)
						c.WriteThen([]byte("late"), r.then("client", "late"))
					})
				})
			})
			c.Connect("tcp", address)
		},
	},
	"write-after-close": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		c.On.Ready(func() { c.Destroy(nil) })
		c.On.Close(func(bool) {
			c.WriteThen([]byte("x"), func(err error) { r.log("client", "write cb %s", evnet.Code(err)) })
			_, err := c.WriteString("x")
			r.log("client", "write returned %v", err == nil)
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"write-never-connected": {
		why: "a write on a socket that was never connected is an error of the write alone",
		want: `client:write returned false
			client:write cb ERR_SOCKET_CLOSED
			client:destroyed=false`,
		play: func(r *rig) {
			c := r.client(nil)
			c.WriteThen([]byte("x"), func(err error) { r.log("client", "write cb %s", evnet.Code(err)) })
			_, err := c.WriteString("x")
			r.log("client", "write returned %v", err == nil)
			r.l.Post(func() { r.log("client", "destroyed=%v", c.Destroyed()) })
		},
	},
	"write-above-hwm-accepted-at-once": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(&evnet.SocketOptions{HighWaterMark: 100})
		c.On.Ready(func() {
			c.WriteThen(make([]byte, 1000), func(error) { r.log("client", "write cb") })
			r.log("client", "write returned %v writableLength=%d writableNeedDrain=%v",
				!c.NeedDrain(), c.BufferedAmount(), c.NeedDrain())
			r.l.Post(func() {
				r.log("client", "nextTick")
				r.end()
			})
		})
		c.Connect("tcp", address)
	}},
	"write-empty": {play: func(r *rig) {
		c := r.client(nil)
		c.On.Ready(func() {
			c.WriteThen([]byte(""), r.then("client", "string"))
			r.log("client", "returned %v", !c.NeedDrain())
			c.WriteThen(nil, r.then("client", "buffer"))
			r.log("client", "returned %v", !c.NeedDrain())
			r.l.Post(func() {
				r.log("client", "bytesWritten=%d", c.BytesWritten())
				r.end()
			})
		})
		c.Connect("tcp", r.accept(nil, nil))
	}},
	"pending-write-order": {play: func(r *rig) {
		got := ""
		address := r.accept(nil, func(c *evnet.Socket) {
			c.On.Data(func(p []byte) {
				if got += string(p); len(got) == 3 {
					r.log("server", "got %s", got)
					r.end()
				}
			})
		})
		r.hide("server", "data")
		c := r.client(nil)
		c.On.Connect(func() {
			c.WriteThen([]byte("C"), r.then("client", "C"))
			r.log("client", "wrote C")
		})
		c.Connect("tcp", address)
		c.WriteThen([]byte("A"), r.then("client", "A"))
		c.WriteThen([]byte("B"), r.then("client", "B"))
	}},
	"length-accounting": {
		why: "Go strings are bytes: BufferedAmount counts bytes, as BytesWritten does",
		want: `client:string: writableLength=9 bytesWritten=9
			client:buffer: writableLength=18 bytesWritten=18
			client:hex: writableLength=21 bytesWritten=21
			client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:flushed: writableLength=0 bytesWritten=21
			client:destroyed: writableLength=0 bytesWritten=21
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			note := func(when string) {
				r.log("client", "%s: writableLength=%d bytesWritten=%d", when, c.BufferedAmount(), c.BytesWritten())
			}
			c.Connect("tcp", address)
			c.WriteString("é€😀")
			note("string")
			c.Write([]byte("é€😀"))
			note("buffer")
			p, _ := hex.DecodeString("616263")
			c.Write(p)
			note("hex")
			c.On.Ready(func() {
				note("flushed")
				c.Destroy(nil)
				note("destroyed")
			})
		},
	},
	"write-to-gone-peer": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			consume(c)
			r.after(20, func() { c.Destroy(nil) })
		})
		c := r.client(&evnet.SocketOptions{AllowHalfOpen: true})
		consume(c)
		c.On.Error(func(err error) {
			var sys *os.SyscallError
			require.ErrorAs(r, err, &sys)
			r.log("client", "error listener syscall=%s message=%s %s", sys.Syscall, sys.Syscall, evnet.Code(err))
		})
		c.On.End(func() {
			r.after(30, func() {
				c.WriteThen([]byte("a"), r.then("client", "a"))
				r.after(30, func() { c.WriteThen([]byte("b"), r.then("client", "b")) })
			})
		})
		c.Connect("tcp", address)
	}},

	"corked-above-hwm": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{HighWaterMark: 100})
		c.On.Ready(func() {
			c.Cork()
			for _, name := range []string{"1", "2"} {
				c.WriteThen(make([]byte, 60), r.then("client", name))
				r.log("client", "write %s returned %v writableLength=%d writableNeedDrain=%v",
					name, !c.NeedDrain(), c.BufferedAmount(), c.NeedDrain())
			}
			c.Uncork()
			r.log("client", "uncorked writableLength=%d writableNeedDrain=%v", c.BufferedAmount(), c.NeedDrain())
			r.l.Post(func() {
				r.log("client", "nextTick")
				r.end()
			})
		})
		c.Connect("tcp", r.accept(nil, consume))
	}},
	"drain-while-connecting": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(&evnet.SocketOptions{HighWaterMark: 16384})
		c.Connect("tcp", address)
		for _, name := range []string{"1", "2", "3"} {
			c.WriteThen(make([]byte, 10000), func(error) {
				r.log("client", "write cb %s", name)
				if name == "3" {
					r.end()
				}
			})
			r.log("client", "write %s returned %v writableLength=%d needDrain=%v",
				name, !c.NeedDrain(), c.BufferedAmount(), c.NeedDrain())
		}
	}},
	"drain-blocked": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, func(c *evnet.Socket) {
			consume(c)
			r.after(60, func() {
				r.log("client", "server resumes")
				c.Resume()
			})
		})
		c := r.client(nil)
		c.On.Ready(func() {
			c.WriteThen(make([]byte, 8<<20), r.then("client", "big"))
			r.log("client", "write big returned %v", !c.NeedDrain())
			c.WriteThen([]byte("tail"), func(err error) {
				r.then("client", "tail")(err)
				r.log("client", "writableLength=%d bytesWritten=%d", c.BufferedAmount(), c.BytesWritten())
				r.end()
			})
			r.log("client", "write tail returned %v", !c.NeedDrain())
			r.log("client", "writableLength=8388612 bytesWritten=%d", c.BytesWritten())
		})
		c.Connect("tcp", address)
	}},
	"drain-not-after-end": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(&evnet.SocketOptions{HighWaterMark: 16384})
		consume(c)
		c.Connect("tcp", address)
		c.WriteThen(make([]byte, 20000), func(error) { r.log("client", "write cb ok") })
		r.log("client", "write returned %v", !c.NeedDrain())
		c.End()
		r.log("client", "needDrain=%v", c.NeedDrain())
	}},
	"cork-uncork": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.On.Data(func([]byte) { r.after(20, r.end) })
		})
		c := r.client(nil)
		c.On.Ready(func() {
			c.Cork()
			c.Cork()
			for _, text := range []string{"a", "b", "c"} {
				c.WriteThen([]byte(text), r.then("client", text))
				r.log("client", "write %s returned %v writableLength=%d", text, !c.NeedDrain(), c.BufferedAmount())
			}
			c.Uncork()
			r.log("client", "after first uncork writableLength=%d", c.BufferedAmount())
			c.Uncork()
			r.log("client", "after second uncork writableLength=%d", c.BufferedAmount())
		})
		c.Connect("tcp", address)
	}},
	"same-callback-coalesced": {play: func(r *rig) {
		c := r.client(nil)
		c.On.Ready(func() {
			r.l.Post(func() { r.log("client", "nextTick before") })
			done := func(error) { r.log("client", "write cb ok") }
			for _, text := range []string{"a", "b", "c"} {
				c.WriteThen([]byte(text), done)
			}
			r.l.Post(func() {
				r.log("client", "nextTick after")
				r.end()
			})
		})
		c.Connect("tcp", r.accept(nil, consume))
	}},
	"zero-high-water-mark": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{HighWaterMark: -1})
		c.On.Ready(func() {
			c.WriteThen([]byte("abc"), func(error) {
				r.log("client", "write cb ok")
				r.end()
			})
			r.log("client", "returned %v needDrain=%v", !c.NeedDrain(), c.NeedDrain())
		})
		c.Connect("tcp", r.accept(nil, consume))
	}},
	"large-transfer-in-order": {play: func(r *rig) {
		data := make([]byte, 4<<20)
		for i := range data {
			data[i] = byte(i * 31 >> 8)
		}
		address := r.accept(nil, func(c *evnet.Socket) {
			var got []byte
			c.On.Data(func(p []byte) { got = append(got, p...) })
			c.On.End(func() { r.log("server", "end total=%d inOrder=%v", len(got), bytes.Equal(got, data)) })
		})
		r.hide("server", "data", "end", "finish", "close")
		r.hide("client", "drain")
		c := r.client(nil)
		consume(c)
		rest := data
		send := func() {
			for len(rest) > 0 && !c.NeedDrain() {
				n := min(64<<10, len(rest))
				_, err := c.Write(rest[:n])
				require.NoError(r, err)
				rest = rest[n:]
			}
			if len(rest) == 0 {
				c.End()
			}
		}
		c.On.Ready(send)
		c.On.Drain(send)
		c.On.Close(func(bool) { r.l.Post(func() { r.log("client", "bytesWritten=%d", c.BytesWritten()) }) })
		c.Connect("tcp", address)
	}},
}
