package blocklist_test

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A blocked peer is accepted and closed without an event, before it counts. The next peer may be allowed.
func TestServerBlockList(t *testing.T) {
	for name, c := range map[string]struct {
		network, listen, dial string // dial is the client's host
		rule                  string
	}{
		"address":         {"tcp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		"mapped address":  {"tcp4", "127.0.0.1:0", "127.0.0.1", "::ffff:127.0.0.1"},
		"subnet":          {"tcp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.0/8"},
		"IPv6":            {"tcp6", "[::1]:0", "::1", "::1"},
		"IPv6 range":      {"tcp6", "[::1]:0", "::1", "::-::9"},
		"IPv4 on all":     {"tcp", ":0", "127.0.0.1", "127.0.0.1"},
		"IPv6 on all":     {"tcp", ":0", "::1", "::1/128"},
		"mapped, dialled": {"tcp4", "127.0.0.1:0", "::ffff:127.0.0.1", "127.0.0.1-127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			list := blocking(t, c.rule)
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, BlockList: list, MaxConnections: -1})
			if err := server.Listen(c.network, c.listen, nil); err != nil {
				t.Skip(err)
			}
			address := net.JoinHostPort(c.dial, evtest.Port(server.Address().String()))
			if probe, err := net.Dial("tcp", address); err != nil {
				_ = server.Close(nil)
				kit.Run(t, l)
				t.Skip(err)
			} else {
				_ = probe.Close() // another blocked connection
			}
			var emitted kit.Notes
			server.On.Connection(func(s *evnet.Socket) { emitted = append(emitted, "connection"); s.Destroy(nil) })
			server.On.Drop(func(evnet.Drop) { emitted = append(emitted, "drop"); _ = server.Close(nil) })
			server.On.Error(func(err error) { emitted = append(emitted, err.Error()) })

			blocked, welcome := kit.NewClient(l), kit.NewClient(l)
			got := kit.NoteLife(blocked)
			blocked.On.Data(func(p []byte) { assert.Empty(t, p) })
			blocked.On.Close(func(bool) {
				assert.Empty(t, emitted)
				assert.Zero(t, server.Connections())
				assert.Empty(t, server.Sockets())
				list.Clear()
				welcome.Connect("tcp", address)
			})
			blocked.Connect("tcp", address)
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"connect", "ready", "end", "finish", "close false"}, without(*got, "attempt"))
			assert.Equal(t, kit.Notes{"drop"}, emitted, "only the allowed connection counts")
		})
	}
}

// without returns the notes that do not begin with word.
func without(list []string, word string) kit.Notes {
	return slices.DeleteFunc(slices.Clone(list), func(note string) bool { return strings.HasPrefix(note, word) })
}

// from is a conn with any remote address.
type from struct {
	net.Conn
	addr   net.Addr
	closed chan struct{}
}

func (f *from) RemoteAddr() net.Addr { return f.addr }
func (f *from) Close() error {
	close(f.closed)
	return f.Conn.Close()
}

// arrive makes a conn from addr to the listener.
func arrive(m *evtest.MemoryListener, addr net.Addr) *from {
	_, there := net.Pipe()
	f := &from{there, addr, make(chan struct{})}
	m.Conns <- f
	return f
}

// addrText is a net.Addr of a type unknown to evnet.
type addrText struct{ network, text string }

func (a addrText) Network() string { return a.network }
func (a addrText) String() string  { return a.text }

// Every peer with an IP address is checked, for any type of address.
func TestServerBlockListPeers(t *testing.T) {
	for name, c := range map[string]struct {
		addr    net.Addr
		blocked bool
	}{
		"4 bytes":        {&net.TCPAddr{IP: net.IP{10, 0, 0, 1}, Port: 80}, true},
		"16 bytes":       {&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1).To16(), Port: 80}, true},
		"other":          {&net.TCPAddr{IP: net.IP{10, 0, 0, 2}, Port: 80}, false},
		"zone":           {&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, true},
		"no IP":          {&net.TCPAddr{}, false},
		"no TCPAddr":     {(*net.TCPAddr)(nil), false},
		"nil":            {nil, false},
		"UDPAddr":        {&net.UDPAddr{IP: net.IP{10, 0, 0, 1}, Port: 80}, true},
		"text":           {addrText{"quic", "10.0.0.1:80"}, true},
		"text, IPv6":     {addrText{"quic", "[fe80::1%eth0]:80"}, true},
		"other text":     {addrText{"quic", "10.0.0.2:80"}, false},
		"name":           {addrText{"memory", "here"}, false},
		"path":           {&net.UnixAddr{Name: "10.0.0.1:80", Net: "unix"}, false},
		"path of a kind": {addrText{"unix", "10.0.0.1:80"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			m := evtest.NewMemoryListener()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, BlockList: blocking(t, "10.0.0.1", "fe80::/10")})
			last := &net.TCPAddr{IP: net.IP{192, 0, 2, 1}}
			blocked := true
			server.On.Connection(func(s *evnet.Socket) {
				if s.RemoteAddr() == last {
					_ = server.Close(nil)
				} else {
					blocked = false
				}
				s.Destroy(nil)
			})
			require.NoError(t, server.Serve(m))
			conn := arrive(m, c.addr)
			arrive(m, last)
			kit.Run(t, l)
			assert.Equal(t, c.blocked, blocked)
			<-conn.closed
		})
	}
}

// Once a peer is on the list, Connection is not emitted for it, even if it had connected earlier.
func TestServerBlockListChanges(t *testing.T) {
	l := evnet.NewLoop()
	m := evtest.NewMemoryListener()
	list := &evnet.BlockList{}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, BlockList: list})
	var seen []string
	server.On.Connection(func(s *evnet.Socket) {
		seen = append(seen, s.RemoteAddr().String())
		if len(seen) == 1 {
			require.NoError(t, list.Add("10.0.0.1"))
		} else {
			server.CloseAllConnections()
			_ = server.Close(nil)
		}
	})
	for _, n := range []byte{1, 1, 1, 2} {
		arrive(m, &net.TCPAddr{IP: net.IP{10, 0, 0, n}, Port: 80})
	}
	require.NoError(t, server.Serve(m))
	kit.Run(t, l)
	assert.Equal(t, []string{"10.0.0.1:80", "10.0.0.2:80"}, seen)
}

// A blocked address is never dialed. The socket fails as after any failed attempt.
func TestConnectBlocked(t *testing.T) {
	for name, c := range map[string]struct {
		host, rule string
		addr       string
		lookup     kit.Notes
	}{
		"IPv4":         {"127.0.0.1", "127.0.0.1", "127.0.0.1:80", nil},
		"mapped rule":  {"127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1:80", nil},
		"mapped host":  {"::ffff:127.0.0.1", "127.0.0.0/8", "127.0.0.1:80", nil},
		"IPv6":         {"::1", "::1-::9", "[::1]:80", nil},
		"zone":         {"fe80::1%lo", "fe80::/10", "[fe80::1%lo]:80", nil},
		"NAT64":        {"64:ff9b::7f00:1", "127.0.0.0/8", "[64:ff9b::7f00:1]:80", nil},
		"6to4":         {"2002:7f00:1::1", "127.0.0.1-127.0.0.9", "[2002:7f00:1::1]:80", nil},
		"name, NAT64":  {"nat64.example", "127.0.0.1", "[64:ff9b::7f00:1]:80", kit.Notes{"lookup <nil> 64:ff9b::7f00:1 6 nat64.example"}},
		"name":         {"name.example", "127.0.0.1", "127.0.0.1:80", kit.Notes{"lookup <nil> 127.0.0.1 4 name.example"}},
		"name, mapped": {"mapped.example", "127.0.0.1", "127.0.0.1:80", kit.Notes{"lookup <nil> 127.0.0.1 4 mapped.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			answer := evtest.IPs("127.0.0.1")
			switch name {
			case "name, mapped":
				answer = evtest.IPs("::ffff:127.0.0.1")
			case "name, NAT64":
				answer = evtest.IPs("64:ff9b::7f00:1")
			}
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, BlockList: blocking(t, c.rule), Resolver: answer, Dialer: refusing()})
			got := kit.NoteLife(s)
			s.WriteThen([]byte("x"), func(err error) { assert.ErrorIs(t, err, evnet.ErrSocketClosed) })
			s.Connect("tcp", net.JoinHostPort(c.host, "80"))
			s.WriteThen([]byte("x"), func(err error) {
				assert.ErrorIs(t, err, evnet.ErrClosedBeforeConnect)
				assert.ErrorIs(t, err, evnet.ErrBlocked)
			})
			assert.Empty(t, *got)
			assert.True(t, s.Connecting())
			kit.Run(t, l)
			assert.Equal(t, append(c.lookup, "error ERR_IP_BLOCKED", "close true"), *got)
			kit.BadInput{Err: s.Err(), Is: []error{evnet.ErrBlocked}, As: []any{kit.OpError()}, Code: "ERR_IP_BLOCKED", Says: []string{c.addr}}.Check(t)
			var op *net.OpError
			require.ErrorAs(t, s.Err(), &op)
			assert.Equal(t, "dial", op.Op)
			assert.Equal(t, c.addr, op.Addr.(*net.TCPAddr).String())
		})
	}
}

// refusing returns a Dialer that reaches only these hosts.
func refusing(reached ...string) *net.Dialer {
	return &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		if host, _, _ := net.SplitHostPort(address); !slices.Contains(reached, host) {
			return evtest.ErrRefused
		}
		return nil
	}}
}

// In a race a blocked address counts as failed: the next address is tried immediately.
func TestConnectBlockedInARace(t *testing.T) {
	const a, b, c = "127.0.0.1", "127.0.0.2", "127.0.0.3"
	for name, want := range map[string]struct {
		blocked   []string
		reached   []string
		attempted []string
		errs      []string // blocked and refused addresses, in the order of ConnectError
	}{
		"first":         {[]string{a}, []string{b}, []string{b}, nil},
		"first two":     {[]string{a, b}, []string{c}, []string{c}, nil},
		"middle":        {[]string{b}, []string{c}, []string{a, c}, nil},
		"not needed":    {[]string{b, c}, []string{a}, []string{a}, nil},
		"all":           {[]string{a + "-" + c}, nil, nil, []string{"blocked " + a, "blocked " + b, "blocked " + c}},
		"first, failed": {[]string{a}, nil, []string{b, c}, []string{"blocked " + a, "refused " + b, "refused " + c}},
		"last, failed":  {[]string{c}, nil, []string{a, b}, []string{"refused " + a, "refused " + b, "blocked " + c}},
		"but the last":  {[]string{a, b}, nil, []string{c}, []string{"blocked " + a, "blocked " + b, "refused " + c}},
	} {
		t.Run(name, func(t *testing.T) {
			if len(want.reached) > 0 && want.reached[0] != a && !evtest.OnLinux {
				t.Skip("127.0.0.2 may not be there")
			}
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			require.NoError(t, server.Listen("tcp4", "0.0.0.0:0", nil))
			server.Unref()
			s := evnet.NewSocket(&evnet.SocketOptions{
				Loop: l, BlockList: blocking(t, want.blocked...), Resolver: evtest.IPs(a, b, c),
				Dialer: refusing(want.reached...), AttemptDelay: time.Hour,
			})
			var attempted, failed []string
			s.On.ConnectionAttempt(func(x evnet.Attempt) { attempted = append(attempted, host(x.Address)) })
			s.On.ConnectionAttemptFailed(func(x evnet.Attempt, err error) {
				failed = append(failed, "refused "+host(x.Address))
				assert.ErrorIs(t, err, evtest.ErrRefused)
			})
			s.On.Ready(func() { s.Destroy(nil) })
			s.On.Error(func(error) {})
			s.Connect("tcp", "name.example:"+evtest.Port(server.Address().String()))
			kit.Run(t, l)
			assert.Equal(t, want.attempted, attempted)
			if want.errs == nil {
				assert.NoError(t, s.Err())
				return
			}
			assert.ElementsMatch(t, without(want.errs, "blocked"), failed)
			assert.Equal(t, want.errs, outcomes(t, s.Err()))
			assert.ErrorIs(t, s.Err(), evnet.ErrBlocked)
		})
	}
}

func host(address string) string {
	h, _, _ := net.SplitHostPort(address)
	return h
}

// outcomes lists the result for each address.
func outcomes(t *testing.T, err error) []string {
	t.Helper()
	var all *evnet.ConnectError
	require.ErrorAs(t, err, &all)
	var list []string
	for _, err := range all.Errs {
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		what := "refused "
		if evnet.Code(err) == "ERR_IP_BLOCKED" {
			what = "blocked "
		}
		list = append(list, what+host(op.Addr.String()))
	}
	return list
}

// The socket waits for a slow attempt if all other addresses are blocked.
func TestConnectBlockedBesideASlowAttempt(t *testing.T) {
	for name, reached := range map[string]bool{"reached": true, "refused": false} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			server, address := kit.Serve(t, l, nil, nil)
			server.Unref()
			slow := make(chan struct{})
			s := evnet.NewSocket(&evnet.SocketOptions{
				Loop: l, BlockList: blocking(t, "127.0.0.2/31"), Resolver: evtest.IPs("127.0.0.1", "127.0.0.2", "127.0.0.3"),
				AttemptDelay: time.Millisecond,
				Dialer: &net.Dialer{ControlContext: func(context.Context, string, string, syscall.RawConn) error {
					<-slow
					if !reached {
						return evtest.ErrRefused
					}
					return nil
				}},
			})
			got := kit.NoteLife(s)
			s.On.ConnectionAttemptTimeout(func(evnet.Attempt) { l.AfterFunc(0, func() { close(slow) }) }) // the other addresses are finished
			s.On.Ready(func() { s.Destroy(nil) })
			s.Connect("tcp", "name.example:"+evtest.Port(address))
			kit.Run(t, l)
			events := without(*got, "lookup")
			begin := kit.Notes{"attempt tcp4 " + address + " 4", "slow tcp4 " + address + " 4"}
			if reached {
				assert.Equal(t, append(begin, "connect", "ready", "close false"), events)
				return
			}
			assert.Equal(t, append(begin, "failed tcp4 "+address+" 4 ", "error ERR_IP_BLOCKED", "close true"), events)
			assert.Equal(t, []string{"blocked 127.0.0.2", "blocked 127.0.0.3", "refused 127.0.0.1"}, outcomes(t, s.Err()))
		})
	}
}

// The list is checked directly before each attempt, so changes by earlier callbacks count.
func TestConnectBlockListChanges(t *testing.T) {
	l := evnet.NewLoop()
	list := blocking(t, "127.0.0.1", "127.0.0.3")
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, BlockList: list, Resolver: evtest.IPs("127.0.0.1", "127.0.0.2", "127.0.0.3"), Dialer: refusing(), AttemptDelay: -1,
	})
	s.Once.Lookup(func(evnet.Lookup) { list.RemoveAddress(netip.MustParseAddr("127.0.0.1")) })
	s.Once.ConnectionAttemptFailed(func(evnet.Attempt, error) {
		list.Clear()
		assert.NoError(t, list.Add("127.0.0.2"))
	})
	s.On.Error(func(error) {})
	s.Connect("tcp", "name.example:80")
	kit.Run(t, l)
	assert.Equal(t, []string{"refused 127.0.0.1", "blocked 127.0.0.2", "refused 127.0.0.3"}, outcomes(t, s.Err()))
}

// A blocked socket may connect again once its address is unblocked. Paths are never blocked.
func TestConnectBlockedAndAgain(t *testing.T) {
	l := evnet.NewLoop()
	list := blocking(t, "0.0.0.0/0", "::/0")
	server, address := kit.Serve(t, l, nil, nil)
	server.Unref()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, BlockList: list})
	got := kit.NoteLife(s)
	s.Once.Close(func(bool) {
		list.Clear()
		s.Connect("tcp", address)
	})
	s.On.Ready(func() { s.Destroy(nil) })
	s.Connect("tcp", address)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{
		"error ERR_IP_BLOCKED", "close true", "attempt tcp4 " + address + " 4", "connect", "ready", "close false",
	}, *got)

	require.NoError(t, list.Add("::/0"))
	path := filepath.Join(evtest.SocketDir(t), "s")
	server = evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, BlockList: list})
	server.On.Connection(func(c *evnet.Socket) { c.Destroy(nil); _ = server.Close(nil) })
	if err := server.Listen("unix", path, nil); err != nil {
		t.Skip(err)
	}
	*got = nil
	s.Connect("unix", path)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"attempt unix " + path + " 0", "connect", "ready", "close false"}, *got)
	s.Connect("unix", "10.0.0.1:80") // a path, though it looks like an address
	kit.Run(t, l)
	require.Error(t, s.Err())
	assert.NotErrorIs(t, s.Err(), evnet.ErrBlocked)
}
