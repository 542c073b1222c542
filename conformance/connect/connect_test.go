package connect_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// With a local address, a socket tries only addresses of the same family, because it cannot reach the others.
func TestConnectLocalAddrFamily(t *testing.T) {
	for local, c := range map[string]struct{ queried, tried string }{
		"127.0.0.1":        {"ip4 name.example", "127.0.0.1"},
		"::ffff:127.0.0.1": {"ip4 name.example", "127.0.0.1"},
		"::1":              {"ip6 name.example", "::1"},
	} {
		a := &answers{list: []string{"::1", "127.0.0.1"}}
		l := evnet.NewLoop()
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: a,
			Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}})
		s.On.Error(func(error) {})
		tried := attempts(s)
		p := evtest.FreePort(t)
		s.Connect("tcp", "name.example:"+p)
		kit.Run(t, l)
		assert.Equal(t, []string{c.queried}, a.queried)
		assert.Equal(t, []string{net.JoinHostPort(c.tried, p)}, *tried)
	}
	// A port without an address does not limit the family.
	r := &tries{of: evnet.SocketOptions{Resolver: evtest.IPs("::1", "127.0.0.1")}}
	r.run(t, "tcp")
	assert.Len(t, r.started, 2)
}

// attempts collects the addresses that a socket tries.
func attempts(s *evnet.Socket) *[]string {
	tried := new([]string)
	s.On.ConnectionAttempt(func(a evnet.Attempt) { *tried = append(*tried, a.Address) })
	return tried
}

func TestConnectAttemptedAddresses(t *testing.T) {
	l := evnet.NewLoop()
	p := evtest.FreePort(t)
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.IPs("127.0.0.1", "127.0.0.2")})
	assert.Empty(t, s.AttemptedAddresses())
	s.On.Error(func(error) {})
	s.Connect("tcp", "name.example:"+p)
	kit.Run(t, l)
	want := []string{"127.0.0.1:" + p, "127.0.0.2:" + p}
	got := s.AttemptedAddresses()
	assert.Equal(t, want, got)
	got[0] = "mine"
	assert.Equal(t, want, s.AttemptedAddresses())
	s.Connect("tcp", "127.0.0.1:"+p) // starts a new attempt
	kit.Run(t, l)
	assert.Empty(t, s.AttemptedAddresses())
	s.Connect("unix", "/nowhere/at/all")
	kit.Run(t, l)
	assert.Empty(t, s.AttemptedAddresses())
}

// resolverFunc is a Resolver that is a function.
type resolverFunc func(ctx context.Context) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return f(ctx)
}

// For any failure of a Resolver or a Dialer, Error and Close are emitted, the error names the address, and nothing
// leaks.
func TestConnectBadHelpers(t *testing.T) {
	p := evtest.FreePort(t)
	loopback := netip.MustParseAddr("127.0.0.1")
	shortly := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), 10*time.Millisecond)
	}
	cases := map[string]struct {
		opts  evnet.SocketOptions
		ctx   func() (context.Context, context.CancelFunc)
		tried []string
		is    error
		as    any
		code  string
	}{
		"a zero Addr among good ones": {opts: evnet.SocketOptions{Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) {
			return []netip.Addr{{}, loopback, {}}, nil
		})}, tried: []string{"127.0.0.1:" + p}, is: syscall.ECONNREFUSED, code: "ECONNREFUSED"},
		"duplicates": {opts: evnet.SocketOptions{Resolver: evtest.IPs("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1")},
			tried: []string{"127.0.0.1:" + p}, is: syscall.ECONNREFUSED, code: "ECONNREFUSED"},
		"wrong family": {opts: evnet.SocketOptions{Resolver: evtest.IPs("::1"), Family: 4}, as: kit.AddrError(), code: "ERR_INVALID_ARG_VALUE"},
		"panic": {opts: evnet.SocketOptions{Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) { panic("at the resolver") })},
			as: new(*evnet.PanicError)},
		"panic with an error": {opts: evnet.SocketOptions{Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) { panic(evtest.Boom("boom")) })},
			as: new(*evnet.PanicError), is: evtest.Boom("boom")},
		"goexit": {opts: evnet.SocketOptions{Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) { runtime.Goexit(); return nil, nil })},
			as: new(*evnet.PanicError)},
		"panic while dialing": {opts: evnet.SocketOptions{Resolver: evtest.IPs("127.0.0.1"),
			Dialer: &net.Dialer{Control: func(string, string, syscall.RawConn) error { panic("at the dialer") }}},
			tried: []string{"127.0.0.1:" + p}, as: new(*evnet.PanicError)},
		"answers once the context has ended": {ctx: shortly, opts: evnet.SocketOptions{Resolver: resolverFunc(func(ctx context.Context) ([]netip.Addr, error) {
			<-ctx.Done()
			return []netip.Addr{loopback}, nil
		})}, is: context.DeadlineExceeded, code: "ETIMEDOUT"},
		"fails once the context has ended": {ctx: shortly, opts: evnet.SocketOptions{Resolver: evtest.NeverResolves{}},
			is: context.DeadlineExceeded, code: "ETIMEDOUT"},
		"never answers": {opts: evnet.SocketOptions{Resolver: evtest.NeverResolves{}, IdleTimeout: 10 * time.Millisecond},
			is: os.ErrDeadlineExceeded, code: "ERR_SOCKET_CONNECTION_TIMEOUT"},
		"tiny delay": {opts: evnet.SocketOptions{Resolver: evtest.IPs("127.0.0.1", "127.0.0.2", "127.0.0.4"), AttemptDelay: 1},
			tried: []string{"127.0.0.1:" + p, "127.0.0.2:" + p, "127.0.0.4:" + p}, is: syscall.ECONNREFUSED, code: "ECONNREFUSED"},
		"serial": {opts: evnet.SocketOptions{Resolver: evtest.IPs("127.0.0.1", "127.0.0.2"), AttemptDelay: -1},
			tried: []string{"127.0.0.1:" + p, "127.0.0.2:" + p}, is: syscall.ECONNREFUSED, code: "ECONNREFUSED"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before, open := goleak.IgnoreCurrent(), evtest.Descriptors()
			l := evnet.NewLoop()
			c.opts.Loop = l
			s := evnet.NewSocket(&c.opts)
			var events kit.Notes
			var reported error
			tried := attempts(s)
			s.On.Error(func(err error) { reported = err; events.Say("error")() })
			s.On.Close(func(hadError bool) { events.Say("close")(); assert.True(t, hadError) })
			ctx, cancel := context.Background(), context.CancelFunc(func() {})
			if c.ctx != nil {
				ctx, cancel = c.ctx()
			}
			defer cancel()
			s.ConnectContext(ctx, "tcp", "name.example:"+p)
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"error", "close"}, events)
			assert.Equal(t, c.tried, *tried)
			assert.ErrorContains(t, reported, p)
			assert.Equal(t, c.code, evnet.Code(reported), "%v", reported)
			if c.is != nil {
				assert.ErrorIs(t, reported, c.is)
			}
			if c.as != nil {
				assert.ErrorAs(t, reported, c.as)
			}
			goleak.VerifyNone(t, before)
			assert.Equal(t, open, evtest.Descriptors())
		})
	}
}

// Once the context has ended, only Error and Close are emitted, no matter how the socket detects the end.
func TestConnectContextEndsSilently(t *testing.T) {
	for range 50 {
		l := evnet.NewLoop()
		ctx, cancel := context.WithCancel(context.Background())
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: evtest.IPs("127.0.0.3", "127.0.0.1"), Dialer: evtest.UnresponsiveDialer(), AttemptDelay: -1})
		var got kit.Notes
		kit.NoteEvents(s, &got)
		s.On.ConnectionAttempt(func(evnet.Attempt) { cancel(); got = nil })
		s.ConnectContext(ctx, "tcp", "name.example:80")
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{"error ABORT_ERR", "close true"}, got)
		assert.ErrorIs(t, s.Err(), context.Canceled)
	}
}

// A Resolver or Dialer of the user may ignore its context. The socket still reports the end of the context
// immediately.
func TestConnectContext_IgnoredByTheDial(t *testing.T) {
	for _, what := range []string{"resolver", "dial"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, began := evnet.NewLoop(), time.Now()
				ctx, cancel := context.WithCancel(context.Background())
				opts := evnet.SocketOptions{Loop: l}
				if what == "resolver" {
					opts.Resolver = resolverFunc(func(context.Context) ([]netip.Addr, error) {
						cancel()
						time.Sleep(time.Second) // in the bubble: no real time passes
						return nil, evtest.Boom("late")
					})
				} else {
					opts.Resolver = evtest.IPs("127.0.0.1")
					opts.Dial = func(context.Context, string, string) (net.Conn, error) {
						cancel()
						time.Sleep(time.Second)
						return nil, evtest.Boom("late")
					}
				}
				s := evnet.NewSocket(&opts)
				var got kit.Notes
				kit.NoteEvents(s, &got)
				s.On.ConnectionAttempt(func(evnet.Attempt) { got = nil })
				s.On.Close(func(bool) { assert.Zero(t, time.Since(began)) })
				s.ConnectContext(ctx, "tcp", "name.example:80")
				kit.Run(t, l)
				assert.Equal(t, kit.Notes{"error ABORT_ERR", "close true"}, got)
				assert.ErrorIs(t, s.Err(), context.Canceled)
			})
		})
	}
}

// full makes a listener at 127.0.0.4 with a full backlog: the kernel does not answer further connects.
func full(t *testing.T, p string) {
	if !evtest.OnLinux {
		t.Skip("the effect of a full backlog depends on the kernel")
	}
	ln, err := net.Listen("tcp", "127.0.0.4:"+p)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	shrinkBacklog(t, ln.(*net.TCPListener))
	for range 10 {
		c, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("the listener accepts every connection")
}

// The second address wins after about the attempt delay, and the first attempt leaves nothing open.
func TestConnectPastABlackHole(t *testing.T) {
	for _, hole := range []string{"waiting", "full"} {
		t.Run(hole, func(t *testing.T) {
			l := evnet.NewLoop()
			const delay = 50 * time.Millisecond
			p := ""
			opts := &evnet.SocketOptions{Loop: l, AttemptDelay: delay}
			var server *evnet.Server
			server, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) { _ = server.Close(nil); c.Resume() })
			p = evtest.Port(addr)
			switch hole {
			case "waiting":
				opts.Resolver, opts.Dialer = evtest.IPs("127.0.0.3", "127.0.0.1"), evtest.UnresponsiveDialer()
			case "full":
				t.Cleanup(func() { _ = server.Close(nil) })
				full(t, p)
				opts.Resolver = evtest.IPs("127.0.0.4", "127.0.0.1")
			}
			before := evtest.Descriptors() // includes the listener, which is closed at the end
			s := evnet.NewSocket(opts)
			began := time.Now()
			s.On.Error(func(err error) { t.Error(err) })
			s.On.Ready(func() {
				assert.Equal(t, "127.0.0.1:"+p, s.RemoteAddr().String())
				assert.GreaterOrEqual(t, time.Since(began), delay)
				assert.Less(t, time.Since(began), delay+5*time.Second)
				s.End()
			})
			s.Resume()
			s.Connect("tcp", "name.example:"+p)
			kit.Run(t, l)
			assert.Len(t, s.AttemptedAddresses(), 2)
			if evtest.OnLinux {
				assert.Equal(t, before-1, evtest.Descriptors())
			}
		})
	}
}

// An error of bind names the operation and the local address.
func TestConnectBindErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	busy := ln.Addr().(*net.TCPAddr)
	for name, c := range map[string]struct {
		local  net.Addr
		remote string
		kit.BadInput
	}{
		"busy": {busy, "127.0.0.1:1", kit.BadInput{Is: []error{syscall.EADDRINUSE}, Code: "EADDRINUSE", Says: []string{"bind", busy.String()}}},
		"not of this machine": {&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, "127.0.0.1:1",
			kit.BadInput{Is: []error{syscall.EADDRNOTAVAIL}, Code: "EADDRNOTAVAIL", Says: []string{"bind", "192.0.2.1"}}},
		"wrong family": {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "[::1]:1",
			kit.BadInput{Is: []error{syscall.EINVAL}, Code: "EINVAL", Says: []string{"bind", "127.0.0.1", "[::1]:1"}}},
		"typed nil": {(*net.TCPAddr)(nil), "127.0.0.1:1",
			kit.BadInput{As: []any{kit.AddrError()}, Code: "ERR_INVALID_IP_ADDRESS", Says: []string{"127.0.0.1:1"}}},
		"not a TCP address": {&net.UnixAddr{Name: "/x", Net: "unix"}, "127.0.0.1:1",
			kit.BadInput{As: []any{kit.AddrError()}, Code: "ERR_INVALID_IP_ADDRESS", Says: []string{"127.0.0.1:1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: &net.Dialer{LocalAddr: c.local}})
			s.On.Error(func(err error) { c.Err = err })
			s.Connect("tcp", c.remote)
			kit.Run(t, l)
			c.As = append(c.As, kit.OpError())
			c.Check(t)
			var sys *os.SyscallError
			if errors.As(c.Err, &sys) {
				assert.Equal(t, "bind", sys.Syscall)
			}
		})
	}
}

// Dial makes the conns instead of the Dialer, and is called for each address.
func TestConnectDial(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	var queried []string
	c := evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, Resolver: evtest.IPs("10.0.0.1", "10.0.0.2"), AttemptDelay: -1,
		Dialer: &net.Dialer{LocalAddr: &net.UnixAddr{}}, // not used
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			queried = append(queried, network+" "+address)
			if len(queried) == 1 {
				return nil, evtest.Boom("the first fails")
			}
			return here, nil
		},
	})
	var got kit.Notes
	c.On.ConnectionAttemptFailed(func(_ evnet.Attempt, err error) { got = append(got, err.Error()) })
	c.On.Data(got.Chunk("data "))
	c.On.Close(func(hadError bool) { assert.False(t, hadError) })
	c.Connect("tcp", "somewhere.test:80")
	go func() { _, _ = there.Write([]byte("hello")); _ = there.Close() }()
	kit.Run(t, l)
	assert.Equal(t, []string{"tcp4 10.0.0.1:80", "tcp4 10.0.0.2:80"}, queried)
	assert.Equal(t, kit.Notes{"the first fails", "data hello"}, got)

	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"panics":          func(context.Context, string, string) (net.Conn, error) { panic(evtest.Boom("boom")) },
		"exits":           func(context.Context, string, string) (net.Conn, error) { runtime.Goexit(); return nil, nil },
		"answers nothing": func(context.Context, string, string) (net.Conn, error) { return nil, nil },
	} {
		c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dial: dial})
		var failed error
		c.On.Error(func(err error) { failed = err })
		c.Connect("unix", "a path")
		kit.Run(t, l)
		assert.Error(t, failed, name)
		assert.Equal(t, name != "answers nothing", errors.As(failed, new(*evnet.PanicError)), name)
	}
}

// End directly before Connect ends the connection once it is made: Finish is emitted then, and the peer gets the end.
func TestConnectAfterEnd(t *testing.T) {
	for name, turns := range map[string]func(l *evnet.Loop, connect func()){
		"Lookup Ready Finish": func(_ *evnet.Loop, connect func()) { connect() },
		"Finish Lookup Ready": func(l *evnet.Loop, connect func()) { l.AfterFunc(0, connect) }, // no data was queued
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			var peerSawEnd bool
			var events []string
			require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
			server.On.Connection(func(a *evnet.Socket) {
				a.On.End(func() { peerSawEnd = true })
				a.Resume()
				assert.NoError(t, server.Close(nil))
			})
			c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Family: 4})
			c.Once.Lookup(func(evnet.Lookup) { events = append(events, "Lookup") })
			c.On.Ready(func() { events = append(events, "Ready"); c.Resume() })
			c.On.Finish(func() { events = append(events, "Finish") })
			c.End()
			_, port, err := net.SplitHostPort(server.Address().String())
			require.NoError(t, err)
			turns(l, func() { c.Connect("tcp", "localhost:"+port) })
			kit.Run(t, l)
			assert.Equal(t, name, strings.Join(events, " "))
			assert.True(t, peerSawEnd)
		})
	}
}
