package evnet_test

import (
	"evnet"
)

var endScenarios = map[string]scenario{
	"peer-end-default": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.WriteString("hello")
			c.End()
		})
		c := r.client(nil)
		consume(c)
		c.On.End(func() {
			r.log("client", "end listener writable=%v readyState=%v", c.Writable(), c.ReadyState())
		})
		c.Connect("tcp", address)
	}},
	"peer-end-half-open": {
		play: func(r *rig) {
			address := r.accept(nil, func(c *evnet.Socket) {
				total := 0
				c.On.Data(func(p []byte) { total += len(p) })
				c.On.End(func() { r.log("server", "total %d", total) })
				c.WriteString("hello")
				c.End()
			})
			c := r.client(&evnet.SocketOptions{AllowHalfOpen: true})
			consume(c)
			c.On.End(func() {
				r.log("client", "end listener readyState=%v", c.ReadyState())
				r.after(20, func() {
					r.log("client", "later writable=%v destroyed=%v", c.Writable(), c.Destroyed())
					c.WriteThen([]byte("late"), func(error) { r.log("client", "write cb") })
					c.End()
				})
			})
			c.Connect("tcp", address)
			r.hide("server", "data")
		},
	},
	"client-end-default": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			c.WriteString("bye")
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"server-half-open": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
			consume(c)
			c.On.End(func() {
				r.log("server", "readyState=%v", c.ReadyState())
				c.WriteString("got 3")
				c.End()
			})
		})
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			c.WriteString("abc")
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"end-with-pending-writes": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			for _, text := range []string{"a", "b", "c"} {
				c.WriteThen([]byte(text), r.then("client", text))
				r.log("client", "write %s returned %v", text, !c.NeedDrain())
			}
			c.WriteString("d")
			c.End()
			r.l.Post(func() { r.log("client", "nextTick after end()") })
		})
		c.Connect("tcp", address)
	}},
	"peer-end-no-data-listener": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.WriteString("hello")
			c.End()
		})
		c := r.client(nil)
		c.On.Ready(func() {
			r.after(60, func() {
				r.log("client", "after 60 ms: readableLength=%d bytesRead=%d readyState=%v destroyed=%v",
					c.ReadableLength(), c.BytesRead(), c.ReadyState(), c.Destroyed())
				consume(c)
				r.log("client", "data listener attached")
			})
		})
		c.Connect("tcp", address)
	}},
	"peer-end-empty-no-listener": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) { c.End() })
		c := r.client(nil)
		c.On.Ready(func() {
			r.after(60, func() {
				r.log("client", "after 60 ms readyState=%v destroyed=%v", c.ReadyState(), c.Destroyed())
			})
		})
		c.Connect("tcp", address)
	}},
	"peer-end-paused": {
		why: "after Pause nothing is read: the bytes wait in the kernel",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:after 60 ms isPaused=true readableLength=0
			client:resume() returned
			client:data 5
			client:end
			client:finish
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, func(c *evnet.Socket) {
				c.WriteString("hello")
				c.End()
			})
			c := r.client(nil)
			consume(c)
			c.On.Connect(c.Pause)
			c.On.Ready(func() {
				r.after(60, func() {
					r.log("client", "after 60 ms isPaused=%v readableLength=%d", c.Paused(), c.ReadableLength())
					c.Resume()
					r.log("client", "resume() returned")
				})
			})
			c.Connect("tcp", address)
		},
	},
	"double-end": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			c.End()
			c.End()
		})
		c.On.Close(func(bool) { c.End() })
		c.Connect("tcp", address)
	}},
	"end-data-twice": {
		why: "a write after End is an error of the write alone: the socket goes on",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:returned destroyed=false
			client:ready
			client:write cb b ERR_STREAM_WRITE_AFTER_END
			client:finish
			client:end
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			consume(c)
			c.On.Connect(func() {
				c.WriteString("a")
				c.End()
				c.WriteThen([]byte("b"), r.then("client", "b"))
				c.End()
				r.log("client", "returned destroyed=%v", c.Destroyed())
			})
			c.Connect("tcp", address)
		},
	},
	"end-after-end-and-destroy": {play: func(r *rig) {
		c := r.client(nil)
		c.On.Ready(func() {
			c.End()
			c.Destroy(nil)
		})
		c.On.Close(func(bool) { c.End() })
		c.Connect("tcp", r.accept(nil, consume))
	}},
	"end-never-connected": {play: func(r *rig) {
		c := r.client(nil)
		c.End()
		r.after(40, func() {
			r.log("client", "after 40 ms writableEnded=%v writableFinished=%v destroyed=%v readyState=%v",
				!c.Writable(), true, c.Destroyed(), c.ReadyState())
		})
	}},
	"end-uncorks": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Ready(func() {
			c.Cork()
			c.Cork()
			c.WriteThen([]byte("a"), r.then("client", "a"))
			c.WriteString("b")
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"half-open-set-at-runtime": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.WriteString("bye")
			c.End()
		})
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() { c.SetAllowHalfOpen(true) })
		c.On.End(func() {
			r.after(40, func() {
				r.log("client", "readyState=%v destroyed=%v", c.ReadyState(), c.Destroyed())
				r.end()
			})
		})
		c.Connect("tcp", address)
	}},
	"end-in-connection": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			consume(c)
			c.WriteString("bye\n")
			c.End()
		})
		c := r.client(nil)
		must(r, c.SetEncoding(evnet.UTF8))
		consume(c)
		c.Connect("tcp", address)
	}},
}
