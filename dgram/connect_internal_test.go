package dgram

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSamePeer(t *testing.T) {
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	if len(interfaces) == 0 {
		t.Skip("no network interface")
	}
	byName := fmt.Sprintf("[fe80::1%%%s]:7", interfaces[0].Name)
	byIndex := fmt.Sprintf("[fe80::1%%%d]:7", interfaces[0].Index)
	for _, c := range []struct {
		peer, from string
		same       bool
	}{
		{"10.0.0.1:7", "10.0.0.1:7", true},
		{"10.0.0.1:7", "10.0.0.1:8", false},
		{"10.0.0.1:7", "10.0.0.2:7", false},
		{"10.0.0.1:7", "[::ffff:10.0.0.1]:7", true},
		{"[::ffff:10.0.0.1]:7", "10.0.0.1:7", true},
		{"[::ffff:10.0.0.1]:7", "[::ffff:10.0.0.1]:8", false},
		{"[::ffff:10.0.0.1]:7", "[::10.0.0.1]:7", false},
		{"[64:ff9b::10.0.0.1]:7", "10.0.0.1:7", false},
		{"[::1]:7", "[::1]:7", true},
		{"[::1]:7", "[::2]:7", false},
		{byName, byName, true},
		{byName, byIndex, true},
		{byIndex, byName, true},
		{byName, fmt.Sprintf("[fe80::1%%%d]:7", interfaces[0].Index+1), false},
		{byName, fmt.Sprintf("[fe80::2%%%d]:7", interfaces[0].Index), false},
		{byName, "[fe80::1]:7", true},
		{"[fe80::1]:7", byName, true},
	} {
		assert.Equal(t, c.same, samePeer(netip.MustParseAddrPort(c.peer), netip.MustParseAddrPort(c.from)), "%s, from %s", c.peer, c.from)
	}
	assert.True(t, samePeer(netip.MustParseAddrPort("10.0.0.1:7"), netip.AddrPort{}), "an unknown sender")
}
