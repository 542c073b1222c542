package evnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"evnet"

	"github.com/stretchr/testify/require"
)

// state lists what may be asked of a socket, as the scenarios about properties do.
func state(s *evnet.Socket) string {
	return fmt.Sprintf("readyState=%v connecting=%v readable=%v writable=%v destroyed=%v",
		s.ReadyState(), s.Connecting(), s.Readable(), s.Writable(), s.Destroyed())
}

var connectScenarios = map[string]scenario{
	"connect-hostname": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"127.0.0.1"}})
		c.Once.Connect(func() { r.log("client", "callback of connect()") })
		c.On.Connect(func() {
			r.log("client", "connect listener readyState=%v connecting=%v", c.ReadyState(), c.Connecting())
		})
		c.On.Ready(r.end)
		c.Connect("tcp", "test.host:"+port(address))
		r.log("client", "connect() returned readyState=%v", c.ReadyState())
	}},
	"connect-ip-literal": {play: func(r *rig) {
		c := r.client(nil)
		c.On.Ready(r.end)
		c.Connect("tcp", r.accept(nil, nil))
		r.log("client", "connect() returned")
	}},
	"connect-unix": {
		why: "no event is emitted before a method returns",
		want: `client:connect() returned
			client:connectionAttempt PATH undefined undefined
			client:connect
			client:ready`,
		play: func(r *rig) {
			path := r.path("s")
			s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{r.l}})
			require.NoError(r, s.Listen("unix", path, nil))
			s.Unref()
			c := r.client(nil)
			c.On.Ready(r.end)
			c.Connect("unix", path)
			r.log("client", "connect() returned")
		},
	},
	"connect-lookup-error": {play: func(r *rig) {
		r.client(&evnet.SocketOptions{Resolver: resolver{}}).Connect("tcp", "no.host:80")
	}},
	"connect-lookup-invalid-ip": {
		why: "a Resolver's answers are typed: the only junk is the zero Addr, whose text is empty",
		want: `client:lookup null  0 no.host
			client:error ERR_INVALID_IP_ADDRESS
			client:close true`,
		play: func(r *rig) {
			r.client(&evnet.SocketOptions{Family: 4, Resolver: resolver{"junk"}}).Connect("tcp", "no.host:80")
		},
	},
	"connect-refused": {play: func(r *rig) {
		address := closedPort(r)
		c := r.client(nil)
		c.On.Error(func(err error) {
			var op *net.OpError
			require.ErrorAs(r, err, &op)
			var sys *os.SyscallError
			require.ErrorAs(r, err, &sys)
			remote := op.Addr.(*net.TCPAddr)
			require.Equal(r, address, remote.String())
			r.log("client", "error listener destroyed=%v readyState=%v syscall=%s address=%s port=PORT",
				c.Destroyed(), c.ReadyState(), sys.Syscall, remote.IP)
		})
		c.Connect("tcp", address)
	}},
	"connect-refused-with-pending-write": {
		why: "write callbacks run in order, before Close, and every one says that the socket closed before it connected",
		want: `client:write abc returned true
			client:write de returned true
			client:connectionAttempt 127.0.0.1 PORT 4
			client:connectionAttemptFailed 127.0.0.1 PORT 4 ECONNREFUSED
			client:error ECONNREFUSED
			client:write cb abc ERR_SOCKET_CLOSED_BEFORE_CONNECTION
			client:write cb de ERR_SOCKET_CLOSED_BEFORE_CONNECTION
			client:close true`,
		play: func(r *rig) {
			c := r.client(nil)
			c.Connect("tcp", closedPort(r))
			for _, text := range []string{"abc", "de"} {
				c.WriteThen([]byte(text), r.then("client", text))
				r.log("client", "write %s returned %v", text, !c.NeedDrain())
			}
			c.End()
		},
	},
	"autoselect-fallback": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"::1", "127.0.0.1"}})
		var attempted string
		c.On.ConnectionAttempt(func(a evnet.Attempt) {
			host, _, _ := net.SplitHostPort(a.Address)
			attempted += " " + host + ":PORT"
		})
		c.On.Ready(func() {
			r.log("client", "attempted%s", attempted)
			r.end()
		})
		c.Connect("tcp", "dual.host:"+port(address))
	}},
	"autoselect-all-fail": {
		why: "the error is a ConnectError whose text lists every attempt, not an AggregateError without a text",
		want: `client:lookup null ::1 6 dual.host
			client:lookup null 127.0.0.1 4 dual.host
			client:connectionAttempt ::1 PORT 6
			client:connectionAttemptFailed ::1 PORT 6 ECONNREFUSED
			client:connectionAttempt 127.0.0.1 PORT 4
			client:connectionAttemptFailed 127.0.0.1 PORT 4 ECONNREFUSED
			client:error ECONNREFUSED
			client:error listener ConnectError errors=ECONNREFUSED ::1,ECONNREFUSED 127.0.0.1
			client:close true`,
		play: func(r *rig) {
			c := r.client(&evnet.SocketOptions{Resolver: resolver{"::1", "127.0.0.1"}})
			c.On.Error(func(err error) {
				var all *evnet.ConnectError
				require.ErrorAs(r, err, &all)
				text := ""
				for _, err := range all.Errs {
					var op *net.OpError
					require.ErrorAs(r, err, &op)
					require.Contains(r, all.Error(), op.Addr.String())
					text += fmt.Sprintf(",%s %s", evnet.Code(err), op.Addr.(*net.TCPAddr).IP)
				}
				r.log("client", "error listener ConnectError errors=%s", text[1:])
			})
			c.Connect("tcp", "dual.host:"+port(closedPort(r)))
		},
	},
	"autoselect-interleave": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"127.0.0.1", "127.0.0.2", "127.0.0.1", "::1"}})
		c.Connect("tcp", "multi.host:"+port(closedPort(r)))
	}},
	"autoselect-single-address": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{Resolver: resolver{"127.0.0.1"}})
		c.On.Error(func(err error) {
			var all *evnet.ConnectError
			require.False(r, errors.As(err, &all))
			r.log("client", "error is Error attempted=undefined")
		})
		c.Connect("tcp", "one.host:"+port(closedPort(r)))
	}},
	"autoselect-off": {play: func(r *rig) {
		c := r.client(&evnet.SocketOptions{NoAutoSelectFamily: true, Resolver: resolver{"::1", "127.0.0.1"}})
		c.Connect("tcp", "dual.host:"+port(closedPort(r)))
	}},
	"autoselect-attempt-timeout": {play: func(r *rig) {
		address := r.accept(nil, nil)
		c := r.client(&evnet.SocketOptions{
			Resolver: resolver{"127.0.0.3", "127.0.0.1"}, AttemptDelay: 50 * ms, Dialer: silent(),
		})
		c.On.Ready(r.end)
		c.Connect("tcp", "dual.host:"+port(address))
	}},
	"autoselect-timeout-then-refused": {
		why: "a slow attempt is not given up: the addresses race, as in RFC 8305",
		want: `client:lookup null 127.0.0.3 4 dual.host
			client:lookup null ::1 6 dual.host
			client:connectionAttempt 127.0.0.3 PORT 4
			client:connectionAttemptTimeout 127.0.0.3 PORT 4
			client:connectionAttempt ::1 PORT 6
			client:connectionAttemptFailed ::1 PORT 6 ECONNREFUSED
			client:connecting=true`,
		play: func(r *rig) {
			c := r.client(&evnet.SocketOptions{
				Resolver: resolver{"127.0.0.3", "::1"}, AttemptDelay: 50 * ms, Dialer: silent(),
			})
			c.On.ConnectionAttemptFailed(func(evnet.Attempt, error) {
				r.l.Post(func() {
					r.log("client", "connecting=%v", c.Connecting())
					r.end()
				})
			})
			c.Connect("tcp", "dual.host:"+port(closedPort(r)))
		},
	},
	"connect-unix-enoent": {
		why: "no event is emitted before a method returns",
		want: `client:connect() returned readyState=opening destroyed=false
			client:connectionAttempt PATH undefined undefined
			client:connectionAttemptFailed PATH undefined undefined ENOENT
			client:error ENOENT
			client:error listener syscall=connect address=PATH port=undefined
			client:close true`,
		play: func(r *rig) {
			path := r.path("missing")
			c := r.client(nil)
			c.On.Error(func(err error) {
				var op *net.OpError
				require.ErrorAs(r, err, &op)
				var sys *os.SyscallError
				require.ErrorAs(r, err, &sys)
				require.Equal(r, path, op.Addr.String())
				r.log("client", "error listener syscall=%s address=PATH port=undefined", sys.Syscall)
			})
			c.Connect("unix", path)
			r.log("client", "connect() returned readyState=%v destroyed=%v", c.ReadyState(), c.Destroyed())
		},
	},
	"connect-unix-stale": {play: func(r *rig) {
		path := r.path("stale")
		staleSocket(r, path)
		r.client(nil).Connect("unix", path)
	}},
	"connect-abort-signal": {
		why: "Go's cancelled context is not named AbortError",
		want: `client:abort() returned destroyed=true
			client:error ABORT_ERR
			client:error context.Canceled code=ABORT_ERR
			client:close true`,
		play: func(r *rig) {
			ctx, cancel := context.WithCancel(context.Background())
			c := r.client(nil)
			c.On.Error(func(err error) {
				require.ErrorIs(r, err, context.Canceled)
				r.log("client", "error context.Canceled code=%s", evnet.Code(err))
			})
			address := r.accept(nil, nil)
			c.ConnectContext(ctx, "tcp", address)
			cancel()
			for !c.Destroyed() {
				runtime.Gosched() // the context tells on a goroutine of its own
			}
			r.log("client", "abort() returned destroyed=%v", c.Destroyed())
		},
	},
	"reconnect-after-close": {play: func(r *rig) {
		address := r.accept(nil, func(c *evnet.Socket) {
			c.On.Data(func(p []byte) {
				c.Write(p)
				c.End()
			})
		})
		c := r.client(nil)
		consume(c)
		again := false
		c.On.Connect(func() { c.WriteString("hello") })
		c.On.Close(func(bool) {
			require.EqualValues(r, 5, c.BytesRead())
			if !again {
				again = true
				r.log("client", "reconnecting")
				c.Connect("tcp", address)
			}
		})
		c.Connect("tcp", address)
	}},
	"state-properties-connect": {
		why: "a fresh socket is new, not open",
		want: `client:[created] readyState=new connecting=false readable=true writable=true destroyed=false
			client:[connect called] readyState=opening connecting=true readable=true writable=true destroyed=false
			client:connectionAttempt 127.0.0.1 PORT 4
			client:connect
			client:[in connect] readyState=open connecting=false readable=true writable=true destroyed=false
			client:[end called] readyState=readOnly connecting=false readable=true writable=false destroyed=false
			client:ready
			client:finish
			client:[in finish] readyState=readOnly connecting=false readable=true writable=false destroyed=false
			client:end
			client:[in end] readyState=closed connecting=false readable=false writable=false destroyed=false
			client:close false
			client:[in close] readyState=closed connecting=false readable=false writable=false destroyed=true
			client:[after close] readyState=closed connecting=false readable=false writable=false destroyed=true`,
		play: func(r *rig) {
			address := r.accept(nil, consume)
			c := r.client(nil)
			note := func(when string) { r.log("client", "[%s] %s", when, state(c)) }
			note("created")
			consume(c)
			c.On.Connect(func() {
				note("in connect")
				c.End()
				note("end called")
			})
			c.On.Finish(func() { note("in finish") })
			c.On.End(func() { note("in end") })
			c.On.Close(func(bool) {
				note("in close")
				r.l.Post(func() { note("after close") })
			})
			c.Connect("tcp", address)
			note("connect called")
		},
	},
	"state-properties-refused": {
		play: func(r *rig) {
			c := r.client(nil)
			note := func(when string) { r.log("client", "[%s] %s errored=%s", when, state(c), evnet.Code(c.Err())) }
			c.On.Error(func(error) { note("in error") })
			c.On.Close(func(bool) {
				note("in close")
				r.l.Post(func() { note("after close") })
			})
			c.Connect("tcp", closedPort(r))
			r.log("client", "[connect called] %s errored=null", state(c))
		},
	},
}

// staleSocket leaves a socket file behind that nobody listens on.
func staleSocket(r *rig, path string) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(r, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(r, ln.Close())
}

// notApplicable says why a recorded trace has no counterpart in Go.
var notApplicable = map[string]string{
	"connect-lookup-invalid-family": "a Resolver answers with netip.Addr, which has no other families",
	"reset-unix":                    "Reset has no error to throw: it destroys a conn that knows no reset, and says so",
	"readable-read":                 "there is no readable event and no read(n): Data, OnRead and Pipe deliver",
	"unshift":                       "there is no read() to put bytes back for",
	"async-iteration":               "there is no iteration over a socket yet",
	"async-iteration-break":         "there is no iteration over a socket yet",
	"async-iteration-error":         "there is no iteration over a socket yet",
	"server-listen-hostname":        "Listen has bound when it returns",
	"server-close-before-listening": "Listen has bound when it returns",
	"server-listen-twice-with-host": "Listen has bound when it returns",
	"emitter-error-unhandled":       "there is no public emit and no error monitor",
	"emitter-newlistener":           "there are no newListener and removeListener events",
	"emitter-builtin-listeners":     "the socket has no listeners of its own",
	"timeout-callbacks-accumulate":  "SetTimeout takes no callback",
}
