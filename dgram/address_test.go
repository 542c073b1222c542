package dgram_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unknownZones are neither names nor indexes of interfaces.
var unknownZones = []string{"nothing9", "9999999", "0"}

// A zone that names no interface is EINVAL for every method and every kind of address. Node sends such a message without
// the zone.
func TestZone_UnknownInterfaceIsRefused(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, zone := range unknownZones {
			l := evnet.NewLoop()
			s := bound(t, l, dgram.SocketOptions{Network: "udp6"})
			results := 0
			refused := func(what string, err error) {
				results++
				assert.ErrorIs(t, err, syscall.EINVAL, "%s %s", what, zone)
				assert.ErrorContains(t, err, "no network interface "+strconv.Quote(zone))
			}
			hosts := []string{"fe80::1", "ff02::1", "2001:db8::1", "::1"}
			for _, host := range hosts {
				to := "[" + host + "%" + zone + "]:9"
				require.NoError(t, s.Send([]byte("x"), to, func(err error) { refused("Send "+to, err) }))
				require.NoError(t, s.SendTo([]byte("x"), netip.MustParseAddrPort(to), func(err error) { refused("SendTo "+to, err) }))
				c := open(t, l, dgram.SocketOptions{Network: "udp6"})
				require.NoError(t, c.Connect(to, func(err error) { refused("Connect "+to, err); closed(c) }))
				b := open(t, l, dgram.SocketOptions{Network: "udp6"})
				refused("Bind", b.Bind(to, nil))
				closed(b)
			}
			refused("SetMulticastInterface", s.SetMulticastInterface("::%"+zone))
			refused("AddMembership, interface", s.AddMembership("ff02::1234", "::%"+zone))
			refused("AddMembership, group", s.AddMembership("ff02::1234%"+zone, ""))
			refused("DropMembership", s.DropMembership("ff02::1234%"+zone, ""))
			refused("AddSourceSpecificMembership", s.AddSourceSpecificMembership("fe80::1%"+zone, "ff32::1", ""))
			require.NoError(t, s.Send(nil, "[::1]:"+strconv.Itoa(int(s.Address().Port())), func(error) { closed(s) }))
			run(t, l)
			assert.Equal(t, 4*len(hosts)+5, results)
		}
	})
}

// The zone of an interface that exists is accepted, by name and by index.
func TestZone_KnownInterfaceIsUsed(t *testing.T) {
	loopback := loopbackInterface(t)
	each(t, func(t *testing.T) {
		for _, zone := range []string{loopback.Name, strconv.Itoa(loopback.Index)} {
			l := evnet.NewLoop()
			s := bound(t, l, dgram.SocketOptions{Network: "udp6"})
			s.On.Message(func([]byte, netip.AddrPort) { closed(s) })
			to := netip.AddrPortFrom(netip.IPv6Loopback().WithZone(zone), s.Address().Port())
			require.NoError(t, s.Send([]byte("x"), to.String(), nil))
			run(t, l)
		}
	})
}

func loopbackInterface(t *testing.T) net.Interface {
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			return i
		}
	}
	t.Skip("there is no loopback interface")
	return net.Interface{}
}

// countingResolver counts its calls, and answers with the loopback address.
type countingResolver struct{ names []string }

func (r *countingResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	r.names = append(r.names, host)
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// The Resolver is not called for an IP address, nor without a host, as for TCP. Node calls the lookup option of a dgram
// socket in both cases.
func TestResolver_IsNotCalledForAnIPAddress(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		r := &countingResolver{}
		server := bound(t, l, dgram.SocketOptions{})
		p := ":" + strconv.Itoa(int(server.Address().Port()))
		left := 4
		server.On.Message(func([]byte, netip.AddrPort) {
			if left--; left == 0 {
				closed(server)
			}
		})
		for _, to := range []string{"127.0.0.1" + p, p} {
			s := open(t, l, dgram.SocketOptions{Resolver: r})
			require.NoError(t, s.Bind("127.0.0.1:0", nil))
			require.NoError(t, s.Send(nil, to, func(err error) { assert.NoError(t, err); closed(s) }))
			c := open(t, l, dgram.SocketOptions{Resolver: r})
			require.NoError(t, c.Bind("", nil))
			require.NoError(t, c.Connect(to, func(err error) {
				assert.NoError(t, err)
				require.NoError(t, c.Send(nil, "", func(err error) { assert.NoError(t, err); closed(c) }))
			}))
		}
		run(t, l)
		assert.Empty(t, r.names)

		s := open(t, l, dgram.SocketOptions{Resolver: r})
		require.NoError(t, s.Send(nil, "name.example:9", func(error) { closed(s) }))
		run(t, l)
		assert.Equal(t, []string{"name.example"}, r.names)
	})
}

// An emit continues with all its listeners after the first has closed the socket, as in Node and as for a stream socket.
// No other event than Error and Close follows.
func TestEmit_ContinuesAfterClose(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, in := range []dgram.Event{dgram.EventListening, dgram.EventConnect, dgram.EventMessage, dgram.EventError} {
			l := evnet.NewLoop()
			s := open(t, l, dgram.SocketOptions{})
			var order []string
			note := func(event dgram.Event, close bool) func() {
				return func() {
					order = append(order, string(event))
					if close && event == in {
						closed(s)
					}
				}
			}
			for _, first := range []bool{true, false} {
				s.On.Listening(note(dgram.EventListening, first))
				s.On.Connect(note(dgram.EventConnect, first))
				message, failed := note(dgram.EventMessage, first), note(dgram.EventError, first)
				s.On.Message(func([]byte, netip.AddrPort) { message() })
				s.On.Error(func(error) { failed() })
				s.On.Close(note(dgram.EventClose, false))
			}
			require.NoError(t, s.Bind("127.0.0.1:0", note(dgram.EventListening, false)))
			switch in {
			case dgram.EventConnect:
				require.NoError(t, s.Connect(s.Address().String(), func(error) { note(dgram.EventConnect, false)() }))
			case dgram.EventMessage:
				for range 3 {
					require.NoError(t, s.Send([]byte("x"), s.Address().String(), nil))
				}
			case dgram.EventError:
				require.NoError(t, s.Send(make([]byte, 70_000), s.Address().String(), nil))
			}
			run(t, l)
			want := []string{"listening", "listening", "listening"}
			switch in {
			case dgram.EventConnect:
				want = append(want, "connect", "connect", "connect")
			case dgram.EventMessage, dgram.EventError:
				want = append(want, string(in), string(in))
			}
			assert.Equal(t, append(want, "close", "close"), order, in)
		}
	})
}
