package dgram_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// multicaster returns the name and an address of a network interface that supports multicast, or of the loopback interface.
func multicaster(t *testing.T, network string) (name string, ip netip.Addr) {
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch {
			case err != nil || i.Flags&net.FlagUp == 0:
			case network == "udp4" && i.Flags&net.FlagLoopback != 0 && p.Addr().Is4():
				return i.Name, p.Addr()
			case network == "udp6" && i.Flags&net.FlagMulticast != 0 && p.Addr().IsLinkLocalUnicast():
				return i.Name, p.Addr().WithZone(i.Name)
			}
		}
	}
	t.Skip("no network interface has multicast of " + network)
	return "", netip.Addr{}
}

// family is an address family with groups for the tests, and the way to specify the interface.
type family struct {
	network, group, ssm string
	naming              string
}

var families = []family{
	{"udp4", "224.0.0.114", "232.1.1.1", "name"},
	{"udp4", "224.0.0.114", "232.1.1.1", "address"},
	{"udp6", "ff02::1234", "ff32::1234", "name"},
	{"udp6", "ff02::1234", "ff32::1234", "zone"},
}

// iface returns the text that specifies the interface, and an address of the interface.
func (f family) iface(t *testing.T) (iface, source string) {
	name, ip := multicaster(t, f.network)
	switch f.naming {
	case "address":
		name = ip.String()
	case "zone":
		name = "::%" + name
	}
	return name, ip.String()
}

// unusable skips the test if err means that multicast is not available, and fails it for any other error.
func unusable(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.ENOPROTOOPT) || errors.Is(err, errors.ErrUnsupported) {
		t.Skip("multicast is not available: ", err)
	}
	require.NoError(t, err)
}

// exchange sends a message to a group, then one directly to the member, and waits for the latter. It does so twice: after
// join, and after leave. It reports for each whether the member received the message to the group.
func exchange(t *testing.T, f family, group string, join, leave func(member *dgram.Socket) error) (before, after bool) {
	l := evnet.NewLoop()
	member, sender := open(t, l, dgram.SocketOptions{Network: f.network, ReuseAddr: true}), open(t, l, dgram.SocketOptions{Network: f.network})
	require.NoError(t, member.Bind("", nil))
	require.NoError(t, sender.Bind("", nil))
	defer func() {
		closed(member, sender)
		run(t, l)
	}()
	unusable(t, join(member))
	iface, source := f.iface(t)
	unusable(t, sender.SetMulticastInterface(iface))
	require.NoError(t, sender.SetMulticastTTL(1))
	require.NoError(t, sender.SetMulticastLoopback(true))
	to := net.JoinHostPort(group, port(member))
	direct := net.JoinHostPort(source, port(member))
	var failed error
	send := func(text, address string) {
		require.NoError(t, sender.Send([]byte(text), address, func(err error) {
			if err != nil {
				failed = err
				closed(member, sender)
			}
		}))
	}
	rounds := 0
	member.On.Message(func(msg []byte, _ netip.AddrPort) {
		switch text := string(msg); {
		case text == "to the group" && rounds == 0:
			before = true
		case text == "to the group":
			after = true
		case rounds == 0: // the direct message, which follows
			rounds++
			require.NoError(t, leave(member))
			send("to the group", to)
			send("directly", direct)
		default:
			closed(member, sender)
		}
	})
	send("to the group", to)
	send("directly", direct)
	member.Loop().AfterFunc(patience/2, func() { closed(member, sender) }).Unref()
	run(t, l)
	unusable(t, failed)
	return before, after
}

func TestMembership(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, f := range families {
			t.Run(f.network+" by "+f.naming, func(t *testing.T) {
				iface, _ := f.iface(t)
				before, after := exchange(t, f, f.group,
					func(s *dgram.Socket) error { return s.AddMembership(f.group, iface) },
					func(s *dgram.Socket) error { return s.DropMembership(f.group, iface) })
				assert.True(t, before, "a member receives messages to the group")
				assert.False(t, after, "it does not after leaving")
			})
		}
	})
}

func TestSourceSpecificMembership(t *testing.T) {
	for _, f := range families {
		t.Run(f.network+" by "+f.naming, func(t *testing.T) {
			iface, source := f.iface(t)
			source, _, _ = strings.Cut(source, "%")
			before, after := exchange(t, f, f.ssm,
				func(s *dgram.Socket) error { return s.AddSourceSpecificMembership(source, f.ssm, iface) },
				func(s *dgram.Socket) error { return s.DropSourceSpecificMembership(source, f.ssm, iface) })
			assert.True(t, before, "messages of the source are received")
			assert.False(t, after, "they are not after leaving")

			other := map[string]string{"udp4": "127.0.0.77", "udp6": "fd00::77"}[f.network]
			before, _ = exchange(t, f, f.ssm,
				func(s *dgram.Socket) error { return s.AddSourceSpecificMembership(other, f.ssm, iface) },
				func(s *dgram.Socket) error { return s.DropSourceSpecificMembership(other, f.ssm, iface) })
			assert.False(t, before, "messages of another source are not received")
		})
	}
}

func TestMulticastBadInput(t *testing.T) {
	l := evnet.NewLoop()
	four, six := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{Network: "udp6"})
	type attempt struct {
		err  error
		code string
	}
	for name, a := range map[string]attempt{
		"a junk group":                {four.AddMembership("junk", ""), "EINVAL"},
		"no group":                    {four.AddMembership("", ""), "ERR_MISSING_ARGS"},
		"not a group":                 {four.AddMembership("1.2.3.4", ""), "EINVAL"},
		"a group of IPv6":             {four.AddMembership("ff02::1", ""), "EINVAL"},
		"a group of IPv4":             {six.AddMembership("224.0.0.114", ""), "EINVAL"},
		"a junk interface":            {four.AddMembership("224.0.0.114", "no such interface"), "EINVAL"},
		"a group not joined":          {four.DropMembership("224.0.0.114", "127.0.0.1"), "EADDRNOTAVAIL"},
		"an unknown zone":             {six.AddMembership("ff02::1234", "::%nothing9"), "EINVAL"},
		"a junk source":               {four.AddSourceSpecificMembership("junk", "232.1.1.1", "127.0.0.1"), "EINVAL"},
		"no source":                   {four.AddSourceSpecificMembership("", "232.1.1.1", "127.0.0.1"), "ERR_MISSING_ARGS"},
		"a junk sending interface":    {four.SetMulticastInterface("junk"), "EINVAL"},
		"no sending interface":        {four.SetMulticastInterface(""), "EINVAL"},
		"another host's address":      {four.SetMulticastInterface("9.9.9.9"), "EADDRNOTAVAIL"},
		"another host's IPv6 address": {six.SetMulticastInterface("2001:db8::9"), "EADDRNOTAVAIL"},
	} {
		require.Error(t, a.err, name)
		assert.Equal(t, a.code, evnet.Code(a.err), "%s: %v", name, a.err)
		assert.Regexp(t, `^dgram: (Add|Drop|Set)\w+: `, a.err.Error())
	}
	require.NoError(t, four.SetMulticastInterface("0.0.0.0"))
	require.NoError(t, six.SetMulticastInterface("::"))
	if err := four.AddMembership("224.0.0.114", "127.0.0.1"); err == nil {
		require.ErrorIs(t, four.AddMembership("224.0.0.114", "127.0.0.1"), syscall.EADDRINUSE)
	}
	closed(four, six)
	run(t, l)
}

// A membership binds a socket that is not bound yet.
func TestMembershipBinds(t *testing.T) {
	l := evnet.NewLoop()
	s := open(t, l, dgram.SocketOptions{})
	listening := false
	s.On.Listening(func() {
		listening = true
		closed(s)
	})
	unusable(t, s.AddMembership("224.0.0.114", "127.0.0.1"))
	assert.NotZero(t, s.Address().Port())
	run(t, l)
	assert.True(t, listening)
}

// Several sockets receive a message to a group if they share the port.
func TestGroupIsShared(t *testing.T) {
	l := evnet.NewLoop()
	a, b := open(t, l, dgram.SocketOptions{ReuseAddr: true}), open(t, l, dgram.SocketOptions{ReuseAddr: true})
	require.NoError(t, a.Bind("", nil))
	require.NoError(t, b.Bind(":"+port(a), nil))
	got := 0
	for _, s := range []*dgram.Socket{a, b} {
		unusable(t, s.AddMembership("224.0.0.114", "127.0.0.1"))
		s.On.Message(func([]byte, netip.AddrPort) {
			if got++; got == 2 {
				closed(a, b)
			}
		})
	}
	require.NoError(t, a.SetMulticastInterface("127.0.0.1"))
	require.NoError(t, a.Send([]byte("x"), "224.0.0.114:"+port(a), nil))
	giveUp := l.AfterFunc(patience/2, func() { closed(a, b) })
	giveUp.Unref()
	run(t, l)
	assert.Equal(t, 2, got)
}
