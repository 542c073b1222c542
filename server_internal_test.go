package evnet

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Checking the limits allocates nothing for a connection, except for the first one of an address.
func TestLimitsDoNotAllocate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	assert.NoError(t, err)
	defer conn.Close()
	for name, opts := range map[string]ServerOptions{
		"off":   {},
		"pass":  {MaxConnectionsPerAddress: 2, MaxConnections: 2, MaxConnectionRate: 1_000_000},
		"drop":  {MaxConnectionsPerAddress: 1},
		"drops": {MaxConnectionRate: 1},
	} {
		s := NewServer(&opts)
		s.countLocked(newSocket(s.settings[0]), s.peerAddress(conn.RemoteAddr()))
		c := newSocket(s.settings[0])
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			peer := s.peerAddress(conn.RemoteAddr())
			if _, exceeds := s.exceedsLocked(peer); !exceeds {
				s.countLocked(c, peer)
				s.uncountLocked(c)
			}
		}), name)
		assert.Equal(t, opts.MaxConnectionsPerAddress == 0, s.addresses == nil, "no map if the option is off")
	}
}

func TestCountedAs(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":                   "192.0.2.1",
		"::ffff:192.0.2.1":            "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":        "2001:db8:1:2::",
		"2001:db8:1:2::":              "2001:db8:1:2::",
		"fe80::1%eth0":                "fe80::",
		"::1":                         "::",
		"::192.0.2.1":                 "::",
		"64:ff9b::192.0.2.1":          "64:ff9b::",
		"ffff:ffff:ffff:ffff:ffff::1": "ffff:ffff:ffff:ffff::",
	} {
		assert.Equal(t, netip.MustParseAddr(want), countedAs(netip.MustParseAddr(ip)), ip)
	}
	assert.False(t, countedAs(netip.Addr{}).IsValid())
	assert.False(t, ipOf((*net.TCPAddr)(nil)).IsValid(), "a nil address of a custom conn")
}

// Check does one lookup for each prefix length in use: a length without rules must cost nothing.
func TestBlockListForgetsLengths(t *testing.T) {
	var list BlockList
	rules := []string{"10.0.0.0/8", "11.0.0.0/8", "10.0.0.0/8", "::/64", "1.2.3.4", "1.2.3.4/32"}
	for _, rule := range rules {
		require.NoError(t, list.Add(rule))
	}
	assert.Len(t, list.rules.lengths, 3)
	for i, left := range []int{3, 3, 2, 1, 1} {
		network := netip.MustParsePrefix([]string{"10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8", "::/64", "1.2.3.4/32"}[i])
		require.True(t, list.RemoveSubnet(network))
		assert.Len(t, list.rules.lengths, left, "without %v", network)
	}
	require.True(t, list.RemoveAddress(netip.MustParseAddr("1.2.3.4")))
	assert.Empty(t, list.rules.lengths)
	assert.Empty(t, list.rules.nets)
}
