package evnet

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Check looks once for each length of prefix: one that no rule has any more must cost nothing.
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
