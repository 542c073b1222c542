package evnet_test

import (
	"context"
	"net/netip"

	"evnet"
)

// mute is a Resolver that never answers.
type mute struct{}

func (mute) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var timeoutScenarios = map[string]scenario{
	"timeout-idle": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(40*ms))
		c.On.Timeout(func() { r.log("client", "callback") })
		r.after(150, func() {
			r.log("client", "after 150 ms readyState=%v timeout=%d", c.ReadyState(), c.Timeout()/ms)
			r.end()
		})
	})},
	"timeout-rearms-on-activity": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(40*ms))
		c.Once.Timeout(func() {
			r.log("client", "callback")
			c.WriteString("x")
			r.endAfter(100)
		})
	})},
	"timeout-zero-disables": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(30*ms))
		must(r, c.SetTimeout(0))
		r.log("client", "timeout=%d listeners=%d", c.Timeout()/ms, c.ListenerCount(evnet.EventTimeout))
		r.after(80, func() {
			r.log("client", "nothing happened")
			r.end()
		})
	})},
	"timeout-postponed-by-reads": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			n := 0
			var send func()
			send = func() {
				if n++; n <= 4 {
					c.WriteString("x")
					r.after(30, send)
				}
			}
			send()
		})
		c := r.client(nil)
		consume(c)
		c.On.Ready(func() { must(r, c.SetTimeout(80*ms)) })
		c.On.Timeout(r.end)
		c.Connect("tcp", address)
	}},
	"timeout-postponed-by-writes": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(80*ms))
		c.On.Timeout(r.end)
		n := 0
		var send func()
		send = func() {
			if n++; n <= 4 {
				c.WriteThen([]byte("x"), func(error) { r.log("client", "write cb") })
				r.after(30, send)
			}
		}
		send()
	})},
	"timeout-set-before-connect": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{Resolver: mute{}})
		must(r, c.SetTimeout(40*ms))
		c.On.Timeout(func() {
			r.log("client", "connecting=%v", c.Connecting())
			c.Destroy(nil)
		})
		c.Connect("tcp", "mute.host:80")
	}},
	"timeout-destroy-err": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(30*ms))
		c.On.Timeout(func() { c.Destroy(context.DeadlineExceeded) })
	})},
	"timeout-after-destroy": {
		why: "hadError is always a boolean, and Timeout is 0 where none was set",
		want: `client:close false
			client:timeout=0 listeners=0`,
		play: func(r *rig) {
			c := r.client(nil)
			c.Destroy(nil)
			must(r, c.SetTimeout(20*ms))
			r.after(60, func() {
				r.log("client", "timeout=%d listeners=%d", c.Timeout()/ms, c.ListenerCount(evnet.EventTimeout))
			})
		},
	},
	"timeout-cancelled-by-destroy": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(40*ms))
		c.Destroy(nil)
		r.endAfter(100)
	})},
	"timeout-half-closed": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{AllowHalfOpen: true}, consume)
		c := r.client(nil)
		consume(c)
		c.On.Ready(func() {
			must(r, c.SetTimeout(40*ms))
			c.End()
		})
		c.On.Timeout(func() {
			r.log("client", "readyState=%v destroyed=%v", c.ReadyState(), c.Destroyed())
			r.end()
		})
		c.Connect("tcp", address)
	}},
	"timeout-while-paused": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) { c.WriteString("x") })
		c := r.client(nil)
		c.Pause()
		c.On.Ready(func() { must(r, c.SetTimeout(40*ms)) })
		c.On.Timeout(r.end)
		c.Connect("tcp", address)
	}},
	"timeout-option": {play: func(r *rig) { // Connect takes none: SetTimeout before it is the same
		address := r.accept(nil, nil)
		c := r.client(nil)
		must(r, c.SetTimeout(40*ms))
		r.log("client", "timeout=%d", c.Timeout()/ms)
		c.On.Ready(r.end)
		c.Connect("tcp", address)
	}},
	"timeout-while-attempting": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{Dialer: silent()})
		must(r, c.SetTimeout(60*ms))
		c.On.Timeout(func() {
			r.log("client", "connecting=%v readyState=%v", c.Connecting(), c.ReadyState())
			r.after(60, func() { c.Destroy(nil) })
		})
		c.Connect("tcp", "127.0.0.3:80")
	}},
	"timeout-blocked-writer": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, nil)
		c := r.client(nil)
		c.On.Ready(func() {
			must(r, c.SetTimeout(100*ms))
			c.Write(make([]byte, 8<<20))
			r.log("client", "write returned %v", !c.NeedDrain())
			r.after(150, func() { r.log("client", "150 ms mark") })
		})
		c.On.Timeout(r.end)
		c.Connect("tcp", address)
	}},
	"timeout-not-postponed-by-corked-write": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(100*ms))
		r.after(60, func() {
			c.Cork()
			c.WriteString("x")
			r.log("client", "corked write")
		})
		r.after(130, func() {
			r.log("client", "130 ms mark")
			r.end()
		})
	})},
	"timeout-set-again-restarts": {play: connected(func(r *rig, c *evnet.Socket) {
		must(r, c.SetTimeout(100*ms))
		r.after(60, func() { must(r, c.SetTimeout(100*ms)) })
		r.after(130, func() { r.log("client", "130 ms mark") })
		c.On.Timeout(r.end)
	})},
}

var lessonScenarios = map[string]scenario{
	"lesson-echo": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			must(r, c.SetEncoding(evnet.UTF8))
			c.On.Data(func(p []byte) { c.Write(p) })
		})
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"127.0.0.1"}})
		must(r, c.SetEncoding(evnet.UTF8))
		c.On.Connect(func() { c.WriteString("Hello") })
		c.On.Data(func([]byte) { c.End() })
		c.Connect("tcp", "localhost:"+port(address))
	}},
	"lesson-echo-goodbye": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
			c.On.Data(func(p []byte) { c.Write(p) })
			c.On.End(func() {
				c.WriteString("bye")
				c.End()
			})
		})
		c := r.client(nil)
		must(r, c.SetEncoding(evnet.UTF8))
		c.On.Connect(func() { c.WriteString("Hello") })
		c.On.Data(func([]byte) { c.End() })
		c.Connect("tcp", address)
	}},
	"lesson-server-hello-then-echo": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.WriteString("hello\r\n")
			c.Pipe(c)
		})
		r.hide("client", "data")
		c := r.client(nil)
		got := 0
		c.On.Data(func(p []byte) {
			before := got
			got += len(p)
			if before < 7 && got >= 7 {
				r.log("client", "got greeting")
				c.WriteString("world!\r\n")
			}
			if got == 15 {
				r.log("client", "got 15 bytes")
				c.End()
			}
		})
		c.Connect("tcp", address)
	}},
	"lesson-timeout-kick": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			must(r, c.SetTimeout(40*ms))
			c.On.Timeout(func() {
				c.WriteString("idle")
				c.End()
			})
		})
		c := r.client(nil)
		must(r, c.SetEncoding(evnet.UTF8))
		consume(c)
		c.Connect("tcp", address)
	}},
}
