package evnet_test

import "evnet"

// sends writes the pieces 15 ms apart and ends.
func sends(r *rig, pieces ...string) string {
	return r.accept(nil, func(c *evnet.Socket) {
		var next func()
		next = func() {
			if len(pieces) == 0 {
				c.End()
				return
			}
			c.WriteString(pieces[0])
			pieces = pieces[1:]
			r.after(15, next)
		}
		next()
	})
}

// decoded plays a client with an encoding that is sent the pieces.
func decoded(e evnet.Encoding, pieces ...string) func(r *rig) {
	return func(r *rig) {
		address := sends(r, pieces...)
		c := r.client(nil)
		must(r, c.SetEncoding(e))
		consume(c)
		c.Connect("tcp", address)
	}
}

var readScenarios = map[string]scenario{
	"setencoding-utf8-split": {play: func(r *rig) {
		address := sends(r, "h\xe2", "\x82\xacllo")
		c := r.client(nil)
		must(r, c.SetEncoding(evnet.UTF8))
		consume(c)
		c.On.Close(func(bool) { r.l.Post(func() { r.log("client", "bytesRead=%d", c.BytesRead()) }) })
		c.Connect("tcp", address)
	}},
	"setencoding-flush-at-end":    {play: decoded(evnet.UTF8, "a\xe2\x82")},
	"setencoding-only-incomplete": {play: decoded(evnet.UTF8, "\xf0", "\x9f", "\x98", "\x80")},
	"setencoding-after-buffered": {
		why: "one chunk is held while nobody reads, and lengths count bytes",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:readableLength=2
			client:readableLength=2
			client:data "ab"
			client:data "c€"
			client:end
			client:finish
			client:close false`,
		play: func(r *rig) {
			address := sends(r, "ab", "c€")
			c := r.client(nil)
			c.On.Ready(func() {
				r.after(60, func() {
					r.log("client", "readableLength=%d", c.ReadableLength())
					must(r, c.SetEncoding(evnet.UTF8))
					r.log("client", "readableLength=%d", c.ReadableLength())
					consume(c)
				})
			})
			c.Connect("tcp", address)
		},
	},
	"encoding-changed-loses-partial": {
		why: "what the first decoder holds is flushed, not lost",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:data "A"
			client:data "�"
			client:data "�B"
			client:end
			client:finish
			client:close false`,
		play: func(r *rig) {
			address := sends(r, "A\xe2\x82", "\xacB")
			c := r.client(nil)
			must(r, c.SetEncoding(evnet.UTF8))
			consume(c)
			c.Once.Data(func([]byte) { must(r, c.SetEncoding(evnet.UTF8)) })
			c.Connect("tcp", address)
		},
	},

	"late-data-listener": {
		why: "one chunk is held while nobody reads",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:readableLength=3
			client:data 6
			client:end
			client:finish
			client:close false`,
		play: func(r *rig) {
			address := sends(r, "abc", "def")
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
	"resume-without-listener-loses-data": {play: func(r *rig) {
		address := sends(r, "abc", "def")
		c := r.client(nil)
		c.Resume()
		c.On.Close(func(bool) {
			r.l.Post(func() { r.log("client", "bytesRead=%d readableLength=%d", c.BytesRead(), c.ReadableLength()) })
		})
		c.Connect("tcp", address)
	}},
	"removed-data-listener-keeps-flowing": {
		why: "the socket holds what comes once the last Data listener has gone, and gives it to the next",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:listener got abc
			client:data listeners=0
			client:another listener got def
			client:another listener got ghi
			client:end
			client:finish
			client:close false
			client:bytesRead=9`,
		play: func(r *rig) {
			address := sends(r, "abc", "def", "ghi")
			c := r.client(nil)
			r.hide("client", "data")
			var l evnet.Listener
			l = c.On.Data(func(p []byte) {
				r.log("client", "listener got %s", p)
				l.Off()
				r.log("client", "data listeners=%d", c.ListenerCount(evnet.EventData))
				r.after(60, func() {
					c.On.Data(func(p []byte) { r.log("client", "another listener got %s", p) })
				})
			})
			c.On.Close(func(bool) { r.l.Post(func() { r.log("client", "bytesRead=%d", c.BytesRead()) }) })
			c.Connect("tcp", address)
		},
	},
	"pause-in-data": {
		why: "after Pause nothing is read: the bytes wait in the kernel",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:ready
			client:data 3
			client:paused isPaused=true
			client:readableLength=0
			client:resume() returned
			client:data 3
			client:end
			client:finish
			client:close false`,
		play: func(r *rig) {
			address := sends(r, "abc", "def")
			c := r.client(nil)
			c.Once.Data(func([]byte) {
				c.Pause()
				r.log("client", "paused isPaused=%v", c.Paused())
				r.after(60, func() {
					r.log("client", "readableLength=%d", c.ReadableLength())
					c.Resume()
					r.log("client", "resume() returned")
				})
			})
			consume(c)
			c.Connect("tcp", address)
		},
	},
	"pause-before-listener": {play: func(r *rig) {
		address := sends(r, "abc")
		c := r.client(nil)
		c.Pause()
		consume(c)
		r.log("client", "isPaused=%v", c.Paused())
		c.On.Ready(func() {
			r.after(60, func() {
				r.log("client", "bytesRead=%d readableLength=%d", c.BytesRead(), c.ReadableLength())
				c.Resume()
			})
		})
		c.Connect("tcp", address)
	}},
	"pause-resume-same-turn": {play: func(r *rig) {
		address := sends(r, "abc")
		c := r.client(nil)
		consume(c)
		c.On.Connect(func() {
			c.Pause()
			c.Resume()
			c.Pause()
			c.Resume()
			r.log("client", "done")
		})
		c.Connect("tcp", address)
	}},
	"pauseonconnect": {play: func(r *rig) {
		address := r.accept(&evnet.ServerOptions{PauseOnConnect: true}, func(c *evnet.Socket) {
			consume(c)
			r.log("server", "isPaused=%v", c.Paused())
			r.after(60, func() {
				r.log("server", "bytesRead=%d", c.BytesRead())
				c.Resume()
			})
		})
		c := r.socket("ignored", nil)
		c.On.Connect(func() {
			c.WriteString("hello")
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"onread-buffer": {play: func(r *rig) {
		address := sends(r, "hello")
		c := r.client(nil)
		c.OnRead(func(p []byte) bool {
			r.log("client", "onread %d %s", len(p), p)
			return true
		})
		c.Connect("tcp", address)
	}},
	"onread-return-false": {play: func(r *rig) {
		address := sends(r, "abc", "def")
		c := r.client(nil)
		first := true
		c.OnRead(func(p []byte) bool {
			r.log("client", "onread %s", p)
			if first {
				first = false
				r.after(60, func() {
					r.log("client", "resume")
					c.Resume()
				})
				return false
			}
			return true
		})
		c.Connect("tcp", address)
	}},
	"unread-server-socket-leaks": {play: func(r *rig) {
		var accepted *evnet.Socket
		s, address := r.server(nil, func(c *evnet.Socket) {
			r.watch(c, "server")
			accepted = c
		})
		c := r.client(nil)
		c.On.Connect(func() {
			c.WriteString("x")
			c.End()
		})
		c.On.Ready(func() {
			r.after(60, func() {
				r.log("client", "readyState=%v", c.ReadyState())
				c.Destroy(nil)
				r.after(60, func() {
					r.log("server", "destroyed=%v readyState=%v readableLength=%d",
						accepted.Destroyed(), accepted.ReadyState(), accepted.ReadableLength())
					r.log("server", "getConnections=%d", s.Connections())
					r.end()
				})
			})
		})
		c.Connect("tcp", address)
	}},
	"unread-client-never-closes": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			consume(c)
			c.WriteString("data")
		})
		c := r.client(nil)
		c.On.Connect(func() {
			c.WriteString("x")
			c.End()
			r.after(60, func() {
				r.log("client", "readyState=%v readableLength=%d", c.ReadyState(), c.ReadableLength())
				consume(c)
			})
		})
		c.Connect("tcp", address)
	}},
}

var pipeScenarios = map[string]scenario{
	"pipe-echo": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) { c.Pipe(c) })
		c := r.client(nil)
		got := 0
		c.On.Data(func(p []byte) {
			if got += len(p); got == 4 {
				c.End()
			}
		})
		c.On.Connect(func() { c.WriteString("ping") })
		c.Connect("tcp", address)
	}},
	"pipe-two-sockets": {play: func(r *rig) {
		source, destination := twoSockets(r, func(c *evnet.Socket) {
			c.WriteString("abc")
			c.End()
		})
		source.Pipe(destination)
	}},
	"pipe-end-false": {play: func(r *rig) {
		source, destination := twoSockets(r, func(c *evnet.Socket) {
			c.WriteString("abc")
			c.End()
		})
		source.Pipe(struct{ *writer }{&writer{destination}}) // not a socket, so not ended
		source.On.Close(func(bool) {
			r.after(20, func() {
				r.log("destination", "writable=%v destroyed=%v", destination.Writable(), destination.Destroyed())
				r.end()
			})
		})
	}},
	"pipe-destination-destroyed": {play: func(r *rig) {
		source, destination := twoSockets(r, func(c *evnet.Socket) {
			var send func()
			send = func() {
				if !c.Destroyed() {
					c.WriteString("x")
					r.after(10, send)
				}
			}
			send()
		})
		r.hide("source", "data")
		source.Pipe(destination)
		destination.On.Ready(func() {
			r.after(35, func() { destination.Destroy(nil) })
		})
		destination.On.Close(func(bool) {
			r.after(30, func() {
				r.log("source", "isPaused=%v destroyed=%v buffered=true", source.Paused(), source.Destroyed())
				r.end()
			})
		})
	}},
	"pipe-destination-error": {play: func(r *rig) {
		source, destination := twoSockets(r, nil)
		source.Pipe(destination)
		destination.On.Ready(func() {
			r.after(30, func() { destination.Destroy(boom("BOOM")) })
		})
		destination.On.Close(func(bool) {
			r.after(20, func() {
				r.log("source", "destroyed=%v isPaused=%v", source.Destroyed(), source.Paused())
				r.end()
			})
		})
	}},
	"pipe-source-destroyed": {play: func(r *rig) {
		source, destination := twoSockets(r, nil)
		source.Pipe(destination)
		destination.On.Ready(func() {
			r.after(30, func() { source.Destroy(nil) })
		})
		source.On.Close(func(bool) {
			r.after(20, func() {
				r.log("destination", "destroyed=%v writableEnded=%v", destination.Destroyed(), !destination.Writable())
				r.end()
			})
		})
	}},
	"unpipe": {play: func(r *rig) {
		source, destination := twoSockets(r, nil)
		source.Pipe(destination)
		destination.On.Ready(func() {
			r.after(20, func() {
				source.Unpipe(destination)
				r.log("source", "isPaused=%v", source.Paused())
				r.end()
			})
		})
	}},
	"pipe-backpressure": {play: func(r *rig) {
		const size = 8 << 20
		var b *evnet.Socket
		a := r.accept(nil, func(c *evnet.Socket) {
			c.Write(make([]byte, size))
			c.End()
		})
		_, bAddress := r.server(&evnet.ServerOptions{PauseOnConnect: true}, func(c *evnet.Socket) {
			b = c
			r.watch(c, "B")
			got := 0
			c.On.Data(func(p []byte) { got += len(p) })
			c.On.End(func() { r.log("B", "end after all bytes=%v", got == size) })
		})
		r.hide("B", "data", "end", "finish")
		r.hide("source", "data")
		r.hide("destination", "drain")
		source, destination := r.socket("source", nil), r.socket("destination", nil)
		consume(destination)
		source.Connect("tcp", a)
		destination.Connect("tcp", bAddress)
		source.Pipe(destination)
		destination.On.Ready(func() {
			// Blocked once a while has passed without a byte read.
			var last int64 = -1
			var look func()
			look = func() {
				if now := source.BytesRead(); now == 0 || now != last {
					last = now
					r.after(50, look)
					return
				}
				r.log("source", "while blocked isPaused=%v readAll=%v", source.Paused(), source.BytesRead() == size)
				b.Resume()
			}
			look()
		})
		source.On.Close(func(bool) {
			r.l.Post(func() { r.log("source", "readAll=%v", source.BytesRead() == size) })
		})
	}},
}

// writer hides that a destination is a socket.
type writer struct{ s *evnet.Socket }

func (w *writer) Write(p []byte) (int, error) { return w.s.Write(p) }

// twoSockets connects "source" to a server that does onSource, and "destination" to one that
// consumes, "B".
func twoSockets(r *rig, onSource func(*evnet.Socket)) (source, destination *evnet.Socket) {
	_, a := r.server(nil, func(c *evnet.Socket) {
		consume(c)
		if onSource != nil {
			onSource(c)
		}
	})
	_, b := r.server(nil, func(c *evnet.Socket) {
		r.watch(c, "B")
		consume(c)
	})
	source, destination = r.socket("source", nil), r.socket("destination", nil)
	consume(destination)
	source.Connect("tcp", a)
	destination.Connect("tcp", b)
	return source, destination
}
