package evnet_test

import (
	"bytes"
	"os"

	"evnet"

	"github.com/stretchr/testify/require"
)

// connected plays what does something to a client as soon as it is connected; the server consumes.
func connected(act func(r *rig, c *evnet.Socket)) func(r *rig) {
	return func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Ready(func() { act(r, c) })
		c.Connect("tcp", address)
	}
}

// helloThen plays what does something to a client that is sent "hello" and the end.
func helloThen(setUp func(r *rig, c *evnet.Socket)) func(r *rig) {
	return func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.WriteString("hello")
			c.End()
		})
		c := r.client(nil)
		setUp(r, c)
		c.Connect("tcp", address)
	}
}

var bulk = bytes.Repeat([]byte("x"), 32<<20)

var destroyScenarios = map[string]scenario{
	"destroy-before-connect": {
		why: "hadError is always a boolean",
		want: `client:destroy() returned destroyed=true
			client:close false
			client:nextTick`,
		play: func(r *rig) {
			c := r.client(nil)
			c.Destroy(nil)
			r.log("client", "destroy() returned destroyed=%v", c.Destroyed())
			r.l.Post(func() { r.log("client", "nextTick") })
		},
	},
	"destroy-err-before-connect": {
		why: "hadError is always a boolean",
		want: `client:destroy() returned
			client:error BOOM
			client:close true`,
		play: func(r *rig) {
			c := r.client(nil)
			c.Destroy(boom("BOOM"))
			r.log("client", "destroy() returned")
		},
	},
	"destroy-during-connect": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(nil)
		c.Connect("tcp", address)
		c.Destroy(nil)
		r.log("client", "destroy() returned connecting=%v readyState=%v", c.Connecting(), c.ReadyState())
	}},
	"destroy-err-during-connect": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(nil)
		c.Connect("tcp", address)
		c.Destroy(boom("BOOM"))
	}},
	"destroy-in-lookup": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"127.0.0.1"}})
		c.On.Lookup(func(evnet.Lookup) { c.Destroy(nil) })
		c.Connect("tcp", "h.h:80")
	}},
	"destroy-in-connect-listener": {
		why: "nothing but Error and Close follows Destroy: no Ready",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:destroy() returned
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			c.On.Connect(func() {
				c.Destroy(nil)
				r.log("client", "destroy() returned")
			})
			c.Connect("tcp", address)
		},
	},
	"destroy-established": {play: connected(func(r *rig, c *evnet.Socket) {
		r.after(20, func() {
			c.Destroy(nil)
			r.log("client", "destroy() returned")
		})
	})},
	"destroy-err-established": {
		why: "both addresses stay readable for ever",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:destroy() returned
			client:error BOOM
			client:error listener destroyed=true remotePort=PORT localPort=PORT
			client:nextTick
			client:close true`,
		play: connected(func(r *rig, c *evnet.Socket) {
			local, remote := c.LocalAddr(), c.RemoteAddr()
			c.On.Error(func(error) {
				require.Equal(r, local, c.LocalAddr())
				require.Equal(r, remote, c.RemoteAddr())
				r.log("client", "error listener destroyed=%v remotePort=PORT localPort=PORT", c.Destroyed())
			})
			c.Destroy(boom("BOOM"))
			r.log("client", "destroy() returned")
			r.l.Post(func() { r.log("client", "nextTick") })
		}),
	},
	"destroy-twice": {play: connected(func(r *rig, c *evnet.Socket) {
		c.Destroy(boom("BOOM"))
		c.Destroy(boom("BANG"))
		c.Destroy(nil)
		require.Equal(r, boom("BOOM"), c.Err())
	})},
	"destroy-then-destroy-err": {play: connected(func(r *rig, c *evnet.Socket) {
		c.Destroy(nil)
		c.Destroy(boom("BOOM"))
	})},
	"destroy-with-queued-writes": {play: connected(func(r *rig, c *evnet.Socket) {
		c.Cork()
		c.WriteThen([]byte("a"), r.then("client", "a"))
		c.WriteThen([]byte("b"), r.then("client", "b"))
		c.Destroy(nil)
		r.log("client", "destroy() returned")
	})},
	"destroy-with-blocked-writes": {
		why: "dropped writes are told that the socket was destroyed, not ECANCELED",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:write big returned false
			client:write b returned false
			client:destroy() returned
			client:write cb big ERR_STREAM_DESTROYED
			client:write cb b ERR_STREAM_DESTROYED
			client:close false`,
		play: func(r *rig) {
			address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, nil)
			c := r.client(nil)
			c.On.Ready(func() {
				c.WriteThen(bulk, r.then("client", "big"))
				r.log("client", "write big returned %v", !c.NeedDrain())
				c.WriteThen([]byte("b"), r.then("client", "b"))
				r.log("client", "write b returned %v", !c.NeedDrain())
				c.End()
				r.after(50, func() {
					c.Destroy(nil)
					r.log("client", "destroy() returned")
				})
			})
			c.On.Close(func(bool) { r.l.Post(r.end) })
			c.Connect("tcp", address)
		},
	},
	"destroy-before-connected-with-writes": {
		why: "write callbacks run before Close",
		want: `client:destroy() returned
			client:write cb a ERR_SOCKET_CLOSED_BEFORE_CONNECTION
			client:write cb b ERR_SOCKET_CLOSED_BEFORE_CONNECTION
			client:close false`,
		play: func(r *rig) {
			address := r.accept(nil, nil)
			c := r.client(nil)
			c.Connect("tcp", address)
			c.WriteThen([]byte("a"), r.then("client", "a"))
			c.WriteThen([]byte("b"), r.then("client", "b"))
			c.End()
			c.Destroy(nil)
			r.log("client", "destroy() returned")
		},
	},
	"destroy-in-data": {play: helloThen(func(r *rig, c *evnet.Socket) {
		c.On.Data(func([]byte) {
			c.Destroy(nil)
			r.log("client", "destroy() returned")
		})
	})},
	"destroy-in-end": {play: helloThen(func(r *rig, c *evnet.Socket) {
		consume(c)
		c.On.End(func() { c.Destroy(nil) })
	})},
	"destroy-in-error": {play: connected(func(r *rig, c *evnet.Socket) {
		c.On.Error(func(error) { c.Destroy(boom("BANG")) })
		c.Destroy(boom("BOOM"))
	})},
	"destroy-with-buffered-data": {play: helloThen(func(r *rig, c *evnet.Socket) {
		c.On.Ready(func() {
			r.after(40, func() {
				r.log("client", "readableLength=%d", c.ReadableLength())
				c.Destroy(nil)
				consume(c)
			})
		})
		c.On.Close(func(bool) {
			r.l.Post(func() { r.log("client", "bytesRead=%d read()=null", c.BytesRead()) })
		})
	})},
	"destroysoon": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
			consume(c)
			c.On.End(func() { r.l.Post(c.End) })
		})
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			c.WriteThen([]byte("abc"), func(error) { r.log("client", "write cb ok") })
			must(r, c.Close())
			r.log("client", "destroySoon() returned destroyed=%v", c.Destroyed())
		})
		c.Connect("tcp", address)
	}},
	"end-then-destroy": {play: func(r *rig) {
		address := r.accept(nil, consume)
		c := r.client(nil)
		consume(c)
		c.On.Ready(func() {
			c.WriteString("abc")
			c.End()
			c.Destroy(nil)
		})
		c.On.Connect(func() { r.log("client", "destroy() returned") })
		c.Connect("tcp", address)
	}},

	"reset-from-client": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			consume(c)
			c.On.Error(func(err error) {
				var sys *os.SyscallError
				require.ErrorAs(r, err, &sys)
				r.log("server", "error listener syscall=%s message=read %s", sys.Syscall, evnet.Code(err))
			})
		})
		c := r.client(nil)
		c.On.Ready(func() {
			c.Reset()
			r.log("client", "resetAndDestroy() returned destroyed=%v", c.Destroyed())
		})
		c.Connect("tcp", address)
	}},
	"reset-from-server": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) { r.after(30, c.Reset) })
		c := r.client(nil)
		consume(c)
		c.Connect("tcp", address)
	}},
	"reset-while-connecting": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(nil)
		c.Connect("tcp", address)
		c.Reset()
		r.log("client", "returned destroyed=%v readyState=%v", c.Destroyed(), c.ReadyState())
	}},
	"reset-unconnected": {
		why: "hadError is always a boolean",
		want: `client:error ERR_SOCKET_CLOSED
			client:close true`,
		play: func(r *rig) { r.client(nil).Reset() },
	},
	"reset-after-destroy": {play: connected(func(r *rig, c *evnet.Socket) {
		c.Destroy(nil)
		c.Reset()
	})},
	"reset-with-pending-write": {
		why: "a dropped write is told the cause, not ECANCELED; reader or writer may be the one to see it",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:error ECONNRESET
			client:write cb ECONNRESET
			client:write cb 2 ECONNRESET
			client:close true`,
		play: func(r *rig) {
			address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, func(c *evnet.Socket) { r.after(40, c.Reset) })
			c := r.client(nil)
			consume(c)
			c.On.Ready(func() {
				c.WriteThen(bulk, func(err error) { r.log("client", "write cb %s", evnet.Code(err)) })
				c.WriteThen([]byte("2"), func(err error) { r.log("client", "write cb 2 %s", evnet.Code(err)) })
			})
			c.Connect("tcp", address)
		},
	},
	"peer-destroyed-unread-data": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, func(c *evnet.Socket) {
			r.after(30, func() { c.Destroy(nil) })
		})
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() { c.WriteString("unread") })
		c.Connect("tcp", address)
	}},
	"paused-socket-misses-reset": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) { r.after(20, c.Reset) })
		c := r.client(nil)
		consume(c)
		c.Pause()
		c.On.Error(func(err error) {
			var sys *os.SyscallError
			require.ErrorAs(r, err, &sys)
			r.log("client", "error listener syscall=%s", sys.Syscall)
		})
		c.On.Ready(func() {
			r.after(60, func() {
				r.log("client", "readyState=%v", c.ReadyState())
				c.WriteThen([]byte("a"), r.then("client", "a"))
			})
		})
		c.Connect("tcp", address)
	}},
	"reset-drops-buffered-data": {
		why: "a socket without a consumer reads one chunk ahead and no further: it sees the reset once the chunk is consumed",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:readableLength=5
			client:data 5
			client:error ECONNRESET
			client:close true`,
		play: func(r *rig) {
			address := r.accept(nil, func(c *evnet.Socket) {
				c.WriteString("hello")
				r.after(20, c.Reset)
			})
			c := r.client(nil)
			c.On.Ready(func() {
				r.after(60, func() {
					r.log("client", "readableLength=%d", c.ReadableLength())
					consume(c)
				})
			})
			c.Connect("tcp", address)
		},
	},
}
