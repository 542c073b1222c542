package evnet_test

import (
	"context"
	"net"
	"os"

	"evnet"

	"github.com/stretchr/testify/require"
)

// idle makes a watched server that does not listen yet. When it is not referenced, Run closes it at
// the end, which a Node process does without an event.
func (r *rig) idle(opts *evnet.ServerOptions) *evnet.Server {
	var o evnet.ServerOptions
	if opts != nil {
		o = *opts
	}
	o.Loops = []*evnet.Loop{r.l}
	s := evnet.NewServer(&o)
	r.watch(s, "server")
	return s
}

// unref lets the scenario end although s listens.
func (r *rig) unref(s *evnet.Server) {
	s.Unref()
	r.hide("server", "close")
}

func (r *rig) listen(s *evnet.Server) string {
	must(r, s.Listen("tcp", "127.0.0.1:0", nil))
	return s.Address().String()
}

var serverScenarios = map[string]scenario{
	"server-listen-close": {
		why: "Listen has bound when it returns, and Close is emitted after the callbacks of this turn",
		want: `server:listen() returned listening=true address=true
			server:listening
			server:listen callback listening=true address=true
			server:close() returned listening=false address=null
			server:close
			server:close cb ok
			server:nextTick`,
		play: func(r *rig) {
			s := r.idle(nil)
			must(r, s.Listen("tcp", "127.0.0.1:0", func() {
				r.log("server", "listen callback listening=%v address=%v", s.Listening(), s.Address() != nil)
				must(r, s.Close(func() { r.log("server", "close cb ok") }))
				r.log("server", "close() returned listening=%v address=%s", s.Listening(), addressOrNull(s))
				r.l.Post(func() { r.log("server", "nextTick") })
			}))
			r.log("server", "listen() returned listening=%v address=%v", s.Listening(), s.Address() != nil)
		},
	},
	"server-close-not-running": {
		why:  "Close returns the error, and no event follows",
		want: `server:close() returned ERR_SERVER_NOT_RUNNING`,
		play: func(r *rig) {
			s := r.idle(nil)
			r.log("server", "close() returned %s", evnet.Code(s.Close(func() { r.log("server", "close cb") })))
		},
	},
	"server-close-twice": {
		why: "Close is emitted once; the second call returns the error",
		want: `server:listening
			server:second close() returned ERR_SERVER_NOT_RUNNING
			server:close
			server:close cb1 ok`,
		play: func(r *rig) {
			s := r.idle(nil)
			must(r, s.Listen("tcp", "127.0.0.1:0", func() {
				must(r, s.Close(func() { r.log("server", "close cb1 ok") }))
				err := s.Close(func() { r.log("server", "close cb2") })
				r.log("server", "second close() returned %s", evnet.Code(err))
			}))
		},
	},
	"server-eaddrinuse": {
		why: "Listen returns the error; an error event would come too late to act on",
		want: `server:listen() returned listening=false
			server:listen() returned EADDRINUSE syscall=bind address=127.0.0.1 port=PORT
			server:listening
			server:listen callback`,
		play: func(r *rig) {
			_, address := r.server(nil, nil)
			s := r.idle(nil)
			err := s.Listen("tcp", address, func() { r.log("server", "wrong callback") })
			r.log("server", "listen() returned listening=%v", s.Listening())
			var op *net.OpError
			require.ErrorAs(r, err, &op)
			var sys *os.SyscallError
			require.ErrorAs(r, err, &sys)
			require.Equal(r, address, op.Addr.String())
			r.log("server", "listen() returned %s syscall=%s address=%s port=PORT",
				evnet.Code(err), sys.Syscall, op.Addr.(*net.TCPAddr).IP)
			must(r, s.Listen("tcp", "127.0.0.1:0", func() { r.log("server", "listen callback") }))
			r.unref(s)
		},
	},
	"server-listen-twice": {play: func(r *rig) {
		s := r.idle(nil)
		r.unref(s)
		r.listen(s)
		r.log("server", "listening=%v", s.Listening())
		r.log("server", "threw %s", evnet.Code(s.Listen("tcp", "127.0.0.1:0", nil)))
		s.On.Listening(func() { r.log("server", "listening=%v", s.Listening()) })
	}},
	"server-close-before-listening-no-host": {play: func(r *rig) {
		s := r.idle(nil)
		must(r, s.Listen("tcp", "127.0.0.1:0", func() { r.log("server", "listen cb") }))
		r.log("server", "listening=%v", s.Listening())
		must(r, s.Close(func() { r.log("server", "close cb ok") }))
	}},
	"server-listen-sync-no-host": {play: func(r *rig) {
		s := r.idle(nil)
		r.unref(s)
		must(r, s.Listen("tcp", ":0", func() { r.log("server", "listen cb") }))
		r.log("server", "returned listening=%v hasAddress=%v", s.Listening(), s.Address() != nil)
		r.l.Post(func() { r.log("server", "nextTick") })
	}},
	"server-relisten-after-close": {play: func(r *rig) {
		s := r.idle(nil)
		r.listen(s)
		s.Once.Close(func() {
			s.Unref()
			r.listen(s)
		})
		s.Once.Listening(func() { must(r, s.Close(nil)) })
		s.On.Listening(func() {
			if s.ListenerCount(evnet.EventClose) == 0 {
				r.over = true
			}
		})
	}},
	"server-close-with-connections": {play: func(r *rig) {
		s := r.idle(nil)
		r.watch(s, "server")
		address := r.listen(s)
		c := r.client(nil)
		consume(c)
		s.On.Connection(func(a *evnet.Socket) {
			r.watch(a, "socket")
			consume(a)
			must(r, s.Close(func() { r.log("server", "close cb ok") }))
			r.log("server", "close() returned listening=%v", s.Listening())
			r.after(40, func() {
				r.log("server", "still waiting")
				c.End()
			})
		})
		c.Connect("tcp", address)
	}},
	"server-refuses-after-close": {play: func(r *rig) {
		s := r.idle(nil)
		address := r.listen(s)
		r.hide("server", "close")
		s.On.Connection(func(a *evnet.Socket) {
			must(r, s.Close(nil))
			c2 := r.socket("client2", nil)
			c2.On.Close(func(bool) { r.l.Post(r.end) })
			c2.Connect("tcp", address)
		})
		r.socket("client", nil).Connect("tcp", address)
	}},
	"server-max-connections": {play: func(r *rig) {
		s := r.idle(&evnet.ServerOptions{MaxConnections: 1})
		r.unref(s)
		r.hide("server", "listening")
		address := r.listen(s)
		c1, c2 := r.socket("client1", nil), r.socket("client2", nil)
		consume(c1)
		consume(c2)
		c1.On.Ready(func() { c2.Connect("tcp", address) })
		c2.On.Close(func(bool) {
			r.l.Post(func() {
				r.log("client1", "destroyed=%v", c1.Destroyed())
				r.end()
			})
		})
		c1.Connect("tcp", address)
	}},
	"server-max-connections-unix-drop": {play: func(r *rig) {
		s := r.idle(&evnet.ServerOptions{MaxConnections: 1})
		r.unref(s)
		r.hide("server", "listening")
		path := r.path("s")
		must(r, s.Listen("unix", path, nil))
		c1, c2 := r.socket("client1", nil), r.socket("client2", nil)
		c1.On.Ready(func() { c2.Connect("unix", path) })
		s.On.Drop(func(evnet.Drop) { r.l.Post(r.end) })
		c1.Connect("unix", path)
	}},
	"server-get-connections": {
		why: "Connections returns the number at once",
		want: `server:count 2
			server:count 1`,
		play: func(r *rig) {
			s := r.idle(nil)
			r.unref(s)
			r.hide("server", "listening", "connection")
			address := r.listen(s)
			c1, c2 := r.socket("client1", nil), r.socket("client2", nil)
			n := 0
			s.On.Connection(func(a *evnet.Socket) {
				consume(a)
				if n++; n == 2 {
					r.log("server", "count %d", s.Connections())
					c1.End()
				}
				a.On.Close(func(bool) {
					r.log("server", "count %d", s.Connections())
					r.end()
				})
			})
			c1.Connect("tcp", address)
			c2.Connect("tcp", address)
		},
	},
	"server-listen-signal": {
		why: "a context tells its end on a goroutine of its own",
		want: `server:listening
			server:close`,
		play: func(r *rig) {
			ctx, cancel := context.WithCancel(context.Background())
			s := r.idle(nil)
			must(r, s.ListenContext(ctx, "tcp", "127.0.0.1:0", cancel))
		},
	},
	"server-unix-file": {play: func(r *rig) {
		s := r.idle(nil)
		path := r.path("s")
		exists := func() bool {
			_, err := os.Stat(path)
			return err == nil
		}
		name := func() string {
			require.Equal(r, path, s.Address().String())
			return "PATH"
		}
		must(r, s.Listen("unix", path, func() {
			must(r, s.Close(nil))
			r.log("server", "close() returned fileExists=%v address=%s", exists(), name())
		}))
		r.log("server", "listen() returned fileExists=%v address=%s", exists(), name())
	}},
	"server-unix-in-use": {
		why: "a stale socket file is replaced",
		want: `server:listen() returned ok address=PATH fileExists=true
			server:listening`,
		play: func(r *rig) {
			path := r.path("stale")
			staleSocket(r, path)
			s := r.idle(nil)
			r.unref(s)
			must(r, s.Listen("unix", path, nil))
			require.Equal(r, path, s.Address().String())
			_, err := os.Stat(path)
			r.log("server", "listen() returned ok address=PATH fileExists=%v", err == nil)
		},
	},
	"server-connection-then-data": {play: func(r *rig) {
		s := r.idle(nil)
		delete(r.names, s)
		r.unref(s)
		address := r.listen(s)
		s.On.Connection(func(a *evnet.Socket) {
			r.watch(a, "socket")
			consume(a)
			r.log("socket", "readyState=%v connecting=%v server=%v allowHalfOpen=%v",
				a.ReadyState(), a.Connecting(), a.Server() == s, a.AllowHalfOpen())
		})
		c := r.socket("ignored", nil)
		consume(c)
		c.On.Connect(func() {
			c.WriteString("hi")
			c.End()
		})
		c.Connect("tcp", address)
	}},
	"server-socket-error-no-listener-on-server": {play: func(r *rig) {
		s := r.idle(nil)
		r.unref(s)
		r.hide("server", "listening")
		address := r.listen(s)
		s.On.Error(func(err error) { r.log("server", "error %v", err) })
		s.On.Connection(func(a *evnet.Socket) {
			r.watch(a, "socket")
			a.On.Error(func(error) {})
			consume(a)
		})
		c := r.socket("ignored", nil)
		c.On.Ready(c.Reset)
		c.Connect("tcp", address)
	}},
	"server-close-vs-last-socket-close": {
		why: "the server's Close comes after the Close of its last socket",
		want: `server:connection
			server:socket end
			server:socket finish
			server:socket close
			server:close
			server:close callback`,
		play: func(r *rig) {
			s := r.idle(nil)
			r.hide("server", "listening")
			address := r.listen(s)
			c := r.socket("ignored", nil)
			consume(c)
			s.On.Connection(func(a *evnet.Socket) {
				consume(a)
				a.On.End(func() { r.log("server", "socket end") })
				a.On.Finish(func() { r.log("server", "socket finish") })
				a.On.Close(func(bool) { r.log("server", "socket close") })
				must(r, s.Close(func() { r.log("server", "close callback") }))
				c.End()
			})
			c.Connect("tcp", address)
		},
	},
	"server-max-connections-frees-slot": {play: func(r *rig) {
		s := r.idle(&evnet.ServerOptions{MaxConnections: 1})
		r.unref(s)
		r.hide("server", "listening")
		address := r.listen(s)
		s.On.Connection(consume)
		c1, c2 := r.socket("client1", nil), r.socket("client2", nil)
		for _, c := range []*evnet.Socket{c1, c2} {
			consume(c)
			c.On.Ready(c.End)
		}
		c1.On.Close(func(bool) { c2.Connect("tcp", address) })
		c1.Connect("tcp", address)
	}},
	"server-close-keeps-accepted": {play: func(r *rig) {
		s := r.idle(nil)
		r.hide("server", "listening")
		address := r.listen(s)
		s.On.Connection(func(a *evnet.Socket) {
			a.On.Data(func(p []byte) {
				a.Write(p)
				if s.Listening() {
					must(r, s.Close(nil))
				}
			})
		})
		c := r.client(nil)
		c.On.Connect(func() { c.WriteString("a") })
		c.On.Data(func(p []byte) {
			if string(p) == "a" {
				c.WriteString("b")
			} else {
				c.End()
			}
		})
		c.Connect("tcp", address)
	}},
}

func addressOrNull(s *evnet.Server) string {
	if s.Address() == nil {
		return "null"
	}
	return s.Address().String()
}

var emitterScenarios = map[string]scenario{
	"emitter-order": {
		why: "emit is not public: its result does not show",
		want: `client:P count=4
			client:A count=4
			client:B count=3
			client:C count=3
			client:P count=3
			client:A count=3
			client:C count=3`,
		play: func(r *rig) {
			c := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
			note := func(name string) func() {
				return func() { r.log("client", "%s count=%d", name, c.ListenerCount(evnet.EventTimeout)) }
			}
			c.On.Timeout(note("A"))
			c.Once.Timeout(note("B"))
			c.On.Timeout(note("C"))
			c.Prepend.Timeout(note("P"))
			r.twice(c, nil)
		},
	},
	"emitter-mutation-during-emit": {
		why: "Off takes effect at once",
		want: `client:A
			client:-
			client:A
			client:D`,
		play: func(r *rig) {
			c := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
			var third evnet.Listener
			first := true
			c.On.Timeout(func() {
				r.log("client", "A")
				if first {
					first = false
					third.Off()
					c.On.Timeout(func() { r.log("client", "D") })
				}
			})
			third = c.On.Timeout(func() { r.log("client", "C") })
			r.twice(c, func() { r.log("client", "-") })
		},
	},
	"emitter-remove-self": {play: func(r *rig) {
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
		var self evnet.Listener
		self = c.On.Timeout(func() {
			r.log("client", "A")
			self.Off()
		})
		c.On.Timeout(func() { r.log("client", "B") })
		r.twice(c, nil)
	}},
	"emitter-duplicate": {play: func(r *rig) {
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
		a := func() { r.log("client", "A") }
		c.On.Timeout(a)
		c.On.Timeout(func() { r.log("client", "B") })
		c.On.Timeout(a).Off()
		r.l.Post(func() {
			evnet.EmitTimeout(c)
			r.log("client", "count=%d", c.ListenerCount(evnet.EventTimeout))
		})
	}},
	"emitter-throw": {play: func(r *rig) {
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: r.l})
		c.On.Timeout(func() {
			r.log("client", "A")
			panic("BOOM")
		})
		c.On.Timeout(func() { r.log("client", "B") })
		r.l.OnPanic(func(err *evnet.PanicError) { r.log("client", "caught %v", err.Value) })
		r.l.Post(func() { evnet.EmitTimeout(c) })
	}},
	"once-helper": {play: func(r *rig) {
		c := r.client(nil)
		c.Once.Connect(func() {})
		c.Once.Error(func(error) {
			r.log("client", "failed connectListeners=%d errorListeners=%d",
				c.ListenerCount(evnet.EventConnect), c.ListenerCount(evnet.EventError))
		})
		c.Connect("tcp", closedPort(r))
	}},
	"remove-all-listeners-breaks-socket": {
		why: "the socket has no listeners of its own to lose: the write is sent",
		want: `client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:write cb hello ok
			client:ready
			client:writableLength=0`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			c.Connect("tcp", address)
			c.WriteThen([]byte("hello"), func(err error) {
				r.then("client", "hello")(err)
				r.after(20, func() {
					r.log("client", "writableLength=%d", c.BufferedAmount())
					r.end()
				})
			})
			c.RemoveAllListeners()
		},
	},
}

// twice emits an event two times, with something between.
func (r *rig) twice(c *evnet.Socket, between func()) {
	r.l.Post(func() {
		evnet.EmitTimeout(c)
		if between != nil {
			between()
		}
		evnet.EmitTimeout(c)
	})
}
