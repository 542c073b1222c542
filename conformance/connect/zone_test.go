package connect_test

import (
	"context"
	"net"
	"strconv"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A zone that names no interface is EINVAL for every kind of address, to connect to and to listen at. Package dgram has the
// same rule. In Node it is EINVAL for a link-local address, and has no effect for others.
func TestZone_UnknownInterfaceIsRefused(t *testing.T) {
	for _, zone := range []string{"nothing9", "9999999", "0"} {
		for _, host := range []string{"fe80::1", "2001:db8::1", "::1"} {
			address := "[" + host + "%" + zone + "]:9"
			l := evnet.NewLoop()
			s := kit.NewClient(l)
			var reported error
			s.On.Error(func(err error) { reported = err })
			s.Connect("tcp", address)
			kit.Run(t, l)
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			for op, err := range map[string]error{"dial": reported, "listen": server.Listen("tcp", address, nil)} {
				evtest.AssertOpError(t, err, syscall.EINVAL, op)
				assert.Equal(t, "EINVAL", evnet.Code(err))
				assert.ErrorContains(t, err, "no network interface "+strconv.Quote(zone))
			}
			assert.False(t, server.Listening())
		}
	}
}

// The zone of an interface that exists is accepted, by name and by index. With SocketOptions.Dial a zone may belong to
// another network.
func TestZone_IsAccepted(t *testing.T) {
	l := evnet.NewLoop()
	for _, zone := range loopbackZones(t) {
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		require.NoError(t, server.Listen("tcp6", "[::1%"+zone+"]:0", nil))
		server.On.Connection(func(c *evnet.Socket) { c.End(); c.Resume() })
		s := kit.NewClient(l)
		s.Resume()
		s.Connect("tcp", "[::1%"+zone+"]:"+evtest.Port(server.Address().String()))
		s.On.Close(func(hadError bool) { assert.False(t, hadError); _ = server.Close(nil) })
		kit.Run(t, l)
	}
	var dialed string
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dialed = address
		return nil, evtest.Boom("refused")
	}})
	s.On.Error(func(error) {})
	s.Connect("tcp", "[fe80::1%nothing9]:9")
	kit.Run(t, l)
	assert.Equal(t, "[fe80::1%nothing9]:9", dialed)
}

func loopbackZones(t *testing.T) []string {
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			return []string{i.Name, strconv.Itoa(i.Index)}
		}
	}
	t.Skip("there is no loopback interface")
	return nil
}

// The Resolver is not called for an IP address, as in Node. Package dgram has the same rule.
func TestResolver_IsNotCalledForAnIPAddress(t *testing.T) {
	a := &answers{list: []string{"127.0.0.1"}}
	for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		l := evnet.NewLoop()
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: a})
		s.On.Error(func(error) {})
		s.On.Lookup(func(evnet.Lookup) { assert.Fail(t, "no Lookup is emitted") })
		s.Connect("tcp", net.JoinHostPort(host, "1"))
		kit.Run(t, l)
	}
	assert.Empty(t, a.queried)
}
