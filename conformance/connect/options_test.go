package connect_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answers is a Resolver that returns the same addresses for every network, and records the requested networks.
type answers struct {
	list    []string
	queried []string
}

func (a *answers) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	a.queried = append(a.queried, network+" "+host)
	var ips []netip.Addr
	for _, text := range a.list {
		ips = append(ips, netip.MustParseAddr(text))
	}
	return ips, nil
}

// tries connects to a name without a real network. Each attempt is recorded, refused, or left pending.
type tries struct {
	l       *evnet.Loop
	of      evnet.SocketOptions
	hang    map[string]bool // addresses that never answer
	started []string
	slow    int
	at      []time.Duration
	err     error
}

func (r *tries) run(t *testing.T, network string) {
	began := time.Now()
	r.l = evnet.NewLoop()
	r.of.Loop = r.l
	r.of.Dialer = &net.Dialer{ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		host, _, _ := net.SplitHostPort(address)
		if r.hang[host] {
			<-ctx.Done()
			return ctx.Err()
		}
		return evtest.ErrRefused
	}}
	s := evnet.NewSocket(&r.of)
	s.On.ConnectionAttempt(func(a evnet.Attempt) {
		host, _, _ := net.SplitHostPort(a.Address)
		r.started = append(r.started, host)
		r.at = append(r.at, time.Since(began))
	})
	s.On.ConnectionAttemptTimeout(func(evnet.Attempt) {
		if r.slow++; r.slow == len(r.hang) {
			s.Destroy(nil)
		}
	})
	s.On.Error(func(err error) { r.err = err })
	s.Connect(network, "name.example:80")
	kit.Run(t, r.l)
}

func TestOptionsResolver(t *testing.T) {
	for network, want := range map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"} {
		a := &answers{list: []string{"127.0.0.1"}}
		r := &tries{of: evnet.SocketOptions{Resolver: a}}
		r.run(t, network)
		assert.Equal(t, []string{want + " name.example"}, a.queried)
	}
}

// Family limits the attempts to addresses of one family, even if the resolver returns others too.
func TestOptionsFamily(t *testing.T) {
	list := []string{"127.0.0.1", "::1", "127.0.0.2", "::2"}
	for family, c := range map[int]struct {
		queried string
		want    []string
	}{
		0: {"ip name.example", []string{"127.0.0.1", "::1", "127.0.0.2", "::2"}},
		4: {"ip4 name.example", []string{"127.0.0.1", "127.0.0.2"}},
		6: {"ip6 name.example", []string{"::1", "::2"}},
	} {
		a := &answers{list: list}
		r := &tries{of: evnet.SocketOptions{Resolver: a, Family: family}}
		r.run(t, "tcp")
		assert.Equal(t, []string{c.queried}, a.queried)
		assert.Equal(t, c.want, r.started, "family %d", family)
	}
	r := &tries{of: evnet.SocketOptions{Family: 5}}
	r.run(t, "tcp")
	assert.Equal(t, "ERR_INVALID_ARG_VALUE", evnet.Code(r.err))
}

func TestOptionsNoAutoSelectFamily(t *testing.T) {
	a := &answers{list: []string{"127.0.0.2", "::1", "127.0.0.1"}}
	r := &tries{of: evnet.SocketOptions{Resolver: a, NoAutoSelectFamily: true}}
	r.run(t, "tcp")
	assert.Equal(t, []string{"127.0.0.2"}, r.started)
	assert.ErrorIs(t, r.err, evtest.ErrRefused)
	var all *evnet.ConnectError
	assert.NotErrorAs(t, r.err, &all, "one address, one error")
}

func TestOptionsAttemptDelay(t *testing.T) {
	t.Run("slow attempts", func(t *testing.T) {
		a := &answers{list: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}}
		hang := map[string]bool{"127.0.0.1": true, "127.0.0.2": true}
		r := &tries{of: evnet.SocketOptions{Resolver: a, AttemptDelay: 30 * time.Millisecond}, hang: hang}
		r.run(t, "tcp")
		require.Equal(t, 2, r.slow)
		for i, at := range r.at {
			assert.GreaterOrEqual(t, at, time.Duration(i)*30*time.Millisecond)
		}
	})
	t.Run("failed attempts cause no delay", func(t *testing.T) {
		a := &answers{list: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}}
		r := &tries{of: evnet.SocketOptions{Resolver: a, AttemptDelay: time.Hour}}
		r.run(t, "tcp")
		assert.Len(t, r.started, 3)
		var all *evnet.ConnectError
		require.ErrorAs(t, r.err, &all)
		assert.Len(t, all.Errs, 3)
	})
	t.Run("negative", func(t *testing.T) { // a slow attempt may take any time
		synctest.Test(t, func(t *testing.T) {
			a := &answers{list: []string{"127.0.0.1", "127.0.0.2"}}
			r := &tries{of: evnet.SocketOptions{Resolver: a, AttemptDelay: -1, IdleTimeout: 10 * time.Second}, hang: map[string]bool{"127.0.0.1": true}}
			r.run(t, "tcp")
			assert.Equal(t, []string{"127.0.0.1"}, r.started)
			assert.Zero(t, r.slow)
		})
	})
}

func TestOptionsDialerLocalAddr(t *testing.T) {
	if !evtest.OnLinux {
		t.Skip("127.0.0.2 may not be there")
	}
	l := evnet.NewLoop()
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	kit.ConnectPair(t, l, &evnet.SocketOptions{Dialer: &net.Dialer{LocalAddr: local}}, nil, func(c, a *evnet.Socket) {
		assert.Equal(t, "127.0.0.2", c.LocalAddr().(*net.TCPAddr).IP.String())
		assert.Equal(t, c.LocalAddr().String(), a.RemoteAddr().String())
		a.Resume()
		c.Resume()
		c.End()
	})
	kit.Run(t, l)
}

// Timeout of the Dialer limits each attempt.
func TestOptionsDialerTimeout(t *testing.T) {
	d := &net.Dialer{Timeout: 10 * time.Millisecond, ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: d, Resolver: &answers{list: []string{"127.0.0.1", "127.0.0.2"}}})
	failed := 0
	s.On.ConnectionAttemptFailed(func(_ evnet.Attempt, err error) {
		failed++
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
	})
	s.On.Error(func(error) {})
	s.Connect("tcp", "name.example:80")
	kit.Run(t, l)
	assert.Equal(t, 2, failed)
	assert.Equal(t, "ETIMEDOUT", evnet.Code(s.Err()))
}

func TestOptionsAllowHalfOpen(t *testing.T) {
	for _, allow := range []bool{false, true} {
		l := evnet.NewLoop()
		kit.ConnectPair(t, l, &evnet.SocketOptions{AllowHalfOpen: allow}, &evnet.ServerOptions{AllowHalfOpen: true}, func(c, a *evnet.Socket) {
			assert.Equal(t, allow, c.AllowHalfOpen())
			assert.True(t, a.AllowHalfOpen())
			a.Resume()
			c.Resume()
			a.End()
			c.On.End(func() {
				l.AfterFunc(0, func() {
					assert.Equal(t, allow, c.Writable())
					c.End()
				})
			})
		})
		kit.Run(t, l)
	}
}

// Errors without an Error listener go to Logger, on either side.
func TestOptionsLogger(t *testing.T) {
	mine, servers := &evtest.Records{}, &evtest.Records{}
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, &evnet.SocketOptions{Logger: slog.New(mine)}, &evnet.ServerOptions{Logger: slog.New(servers)}, func(c, a *evnet.Socket) {
		c.Destroy(evtest.Boom("mine"))
		a.Destroy(evtest.Boom("theirs"))
	})
	kit.Run(t, l)
	require.Len(t, mine.List, 1)
	require.Len(t, servers.List, 1)
	assert.Equal(t, slog.LevelWarn, mine.List[0].Level)
}

// closedByPeer fails unless the other end of conn is closed.
func closedByPeer(t *testing.T, conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(evtest.Patience))
	_, err := conn.Read(make([]byte, 1))
	assert.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "a conn was left open")
	_ = conn.Close()
}

// If a socket ends while it connects, no conn stays open and Connect is never emitted. The cause and the time do
// not matter.
func TestOptionsConnectEndedOnTheWay(t *testing.T) {
	cause := errors.New("a cause")
	ends := map[string]struct {
		end  func(s *evnet.Socket, cancel func())
		want error
	}{
		"context": {func(_ *evnet.Socket, cancel func()) { cancel() }, context.Canceled},
		"destroy": {func(s *evnet.Socket, _ func()) { s.Destroy(cause) }, cause},
	}
	for how, e := range ends {
		for _, when := range []string{"immediately", "requested", "lookup", "attempt", "dialing", "dialed"} {
			t.Run(how+" "+when, func(t *testing.T) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				defer ln.Close()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				l := evnet.NewLoop()
				var s *evnet.Socket
				at := func(stage string) {
					if stage == when {
						e.end(s, cancel)
					}
				}
				d := &net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error {
					at("dialing")
					return nil
				}}
				s = evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: d, Resolver: evtest.Hook(func() { at("requested") })})
				s.On.Lookup(func(evnet.Lookup) { at("lookup") })
				s.On.ConnectionAttempt(func(evnet.Attempt) {
					at("attempt")
					if when != "dialed" {
						return
					}
					l.Post(func() { // after the conn is made, and before the loop gets it
						conn, err := ln.Accept()
						require.NoError(t, err)
						at("dialed")
						kit.Aside(l, func() { closedByPeer(t, conn) })
					})
				})
				s.On.Connect(func() { t.Error("Connect emitted after the end"); s.Destroy(nil) })
				s.On.Error(func(err error) { assert.ErrorIs(t, err, e.want) })
				closes := 0
				s.On.Close(func(bool) { closes++ })
				s.ConnectContext(ctx, "tcp", "name.example:"+evtest.Port(ln.Addr().String()))
				at("immediately")
				kit.Run(t, l)
				assert.Equal(t, 1, closes)
				assert.ErrorIs(t, s.Err(), e.want)

				mine, err := net.Dial("tcp", ln.Addr().String()) // the last conn: all earlier ones are closed
				require.NoError(t, err)
				for {
					conn, err := ln.Accept()
					require.NoError(t, err)
					if conn.RemoteAddr().String() == mine.LocalAddr().String() {
						_ = conn.Close()
						break
					}
					closedByPeer(t, conn)
				}
				_ = mine.Close()
			})
		}
	}
}

// A context that ends after Connect, or after a destruction, has no effect.
func TestOptionsContextEndsLater(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, nil)
	server.On.Connection(func(a *evnet.Socket) {
		_ = server.Close(nil)
		a.Pipe(a)
	})
	ctx, cancel := context.WithCancel(context.Background())
	c := kit.NewClient(l)
	c.On.Connect(func() {
		cancel()
		_, _ = c.WriteString("still here")
	})
	got := ""
	c.On.Data(func(p []byte) {
		got += string(p)
		c.End()
	})
	c.ConnectContext(ctx, "tcp", addr)
	kit.Run(t, l)
	assert.NoError(t, c.Err())
	assert.Equal(t, "still here", got)
}

// In Connect there is already a conn to close.
func TestOptionsDestroyInConnect(t *testing.T) {
	l := evnet.NewLoop()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c := kit.NewClient(l)
	c.On.Connect(func() { c.Destroy(nil) })
	c.On.Ready(func() { t.Error("Ready after Destroy") })
	c.Connect("tcp", ln.Addr().String())
	kit.Run(t, l)
	conn, err := ln.Accept()
	require.NoError(t, err)
	closedByPeer(t, conn)
}

// overtaken is a conn during whose SetNoDelay another caller sets another value.
type overtaken struct {
	net.Conn
	s     *evnet.Socket
	calls []bool
}

func (c *overtaken) SetNoDelay(on bool) error {
	if on {
		_ = c.s.SetNoDelay(false)
	}
	c.calls = append(c.calls, on)
	return nil
}

// The conn ends up with the last value given to SetNoDelay, even if the value of the options is being set.
func TestOptionsOvertaken(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	conn := &overtaken{Conn: here}
	conn.s = evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, NoDelay: true, Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	})
	conn.s.On.Ready(func() { conn.s.Destroy(nil) })
	conn.s.Connect("tcp", "127.0.0.1:1")
	kit.Run(t, l)
	assert.Equal(t, []bool{false, true, false}, conn.calls)
	assert.NoError(t, there.Close())
}
