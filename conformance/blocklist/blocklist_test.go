package blocklist_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"evnet"
	"evnet/conformance/kit"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	mustIP  = netip.MustParseAddr
	mustNet = netip.MustParsePrefix
)

// blocking makes a list of these rules.
func blocking(t testing.TB, rules ...string) *evnet.BlockList {
	t.Helper()
	list := &evnet.BlockList{}
	for _, rule := range rules {
		require.NoError(t, list.Add(rule))
	}
	return list
}

func TestBlockListRules(t *testing.T) {
	for rule, c := range map[string]struct {
		text    string // in Rules
		blocks  []string
		ignores []string
	}{
		"1.2.3.4": {"Address: IPv4 1.2.3.4",
			[]string{"1.2.3.4", "::ffff:1.2.3.4", "::ffff:1.2.3.4%eth0"}, []string{"1.2.3.5", "::1.2.3.4", "1.2.3.3"}},
		"::ffff:1.2.3.4": {"Address: IPv6 ::ffff:1.2.3.4",
			[]string{"1.2.3.4", "::ffff:1.2.3.4"}, []string{"1.2.3.5", "::ffff:1.2.3.5"}},
		"::1": {"Address: IPv6 ::1",
			[]string{"::1", "0:0::1"}, []string{"::2", "0.0.0.1", "127.0.0.1"}},
		"fe80::1%eth0": {"Address: IPv6 fe80::1",
			[]string{"fe80::1", "fe80::1%eth0", "fe80::1%eth1"}, []string{"fe80::2%eth0"}},
		"10.0.0.1-10.0.0.9": {"Range: IPv4 10.0.0.1-10.0.0.9",
			[]string{"10.0.0.1", "10.0.0.5", "10.0.0.9", "::ffff:10.0.0.9"}, []string{"10.0.0.0", "10.0.0.10", "::10.0.0.5"}},
		"10.0.0.1-10.0.0.1": {"Range: IPv4 10.0.0.1-10.0.0.1",
			[]string{"10.0.0.1"}, []string{"10.0.0.0", "10.0.0.2"}},
		"9.255.255.255-10.0.0.1": {"Range: IPv4 9.255.255.255-10.0.0.1",
			[]string{"9.255.255.255", "10.0.0.0", "10.0.0.1"}, []string{"9.255.255.254", "10.0.0.2"}},
		"::ffff:10.0.0.1-::ffff:10.0.0.9": {"Range: IPv6 ::ffff:10.0.0.1-::ffff:10.0.0.9",
			[]string{"10.0.0.1", "::ffff:10.0.0.9"}, []string{"10.0.0.10"}},
		"2001:db8::a-2001:db8::1:0": {"Range: IPv6 2001:db8::a-2001:db8::1:0",
			[]string{"2001:db8::a", "2001:db8::ffff", "2001:db8::1:0"}, []string{"2001:db8::9", "2001:db8::1:1", "1.2.3.4"}},
		"::-ffff::": {"Range: IPv6 ::-ffff::", // in Node it does not match 1.2.3.4, but does match ::ffff:1.2.3.4
			[]string{"1.2.3.4", "::ffff:1.2.3.4", "::", "ffff::"}, []string{"ffff::1"}},
		"fe80::1%a-fe80::9%b": {"Range: IPv6 fe80::1-fe80::9",
			[]string{"fe80::5%c"}, []string{"fe80::10%a"}},
		"10.0.0.0/8": {"Subnet: IPv4 10.0.0.0/8",
			[]string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"}, []string{"9.255.255.255", "11.0.0.0", "::10.1.1.1", "a00::"}},
		"10.1.2.3/8": {"Subnet: IPv4 10.1.2.3/8",
			[]string{"10.0.0.0", "10.9.9.9"}, []string{"11.0.0.0"}},
		"10.1.2.3/32": {"Subnet: IPv4 10.1.2.3/32",
			[]string{"10.1.2.3"}, []string{"10.1.2.2"}},
		"0.0.0.0/0": {"Subnet: IPv4 0.0.0.0/0",
			[]string{"0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"}, []string{"::", "::1", "2001:db8::1"}},
		"::/0": {"Subnet: IPv6 ::/0",
			[]string{"::1", "ffff::", "1.2.3.4"}, nil},
		"::/64": {"Subnet: IPv6 ::/64",
			[]string{"::1", "1.2.3.4"}, []string{"0:0:0:1::"}},
		"::ffff:1.2.3.0/120": {"Subnet: IPv6 ::ffff:1.2.3.0/120",
			[]string{"1.2.3.255", "::ffff:1.2.3.0"}, []string{"1.2.4.0"}},
		"8592:757c:efae:4e45:1::/64": {"Subnet: IPv6 8592:757c:efae:4e45:1::/64",
			[]string{"8592:757c:efae:4e45::", "8592:757c:efae:4e45:ffff::%x"}, []string{"8592:757c:efae:4e44::"}},
		"fe80::%eth0/10": {"Subnet: IPv6 fe80::/10",
			[]string{"fe80::1", "febf::1%eth1"}, []string{"fec0::"}},
	} {
		t.Run(rule, func(t *testing.T) {
			list := blocking(t, rule)
			assert.Equal(t, []string{c.text}, list.Rules())
			same := blocking(t, c.text)
			assert.Equal(t, []string{c.text}, same.Rules())
			for _, list := range []*evnet.BlockList{list, same} {
				for _, text := range c.blocks {
					assert.True(t, list.Check(mustIP(text)), text)
				}
				for _, text := range c.ignores {
					assert.False(t, list.Check(mustIP(text)), text)
				}
			}
		})
	}
}

// An invalid rule adds nothing, and the error names the text and the reason.
func TestBlockListBadInput(t *testing.T) {
	address, ends, prefix := evnet.ErrInvalidAddress, evnet.ErrInvalidRange, evnet.ErrInvalidPrefix
	codes := map[error]string{address: "ERR_INVALID_ADDRESS", ends: "ERR_INVALID_ARG_VALUE", prefix: "ERR_OUT_OF_RANGE"}
	list := blocking(t, "1.1.1.1")
	for text, want := range map[string]error{
		"": address, " ": address, "localhost": address, "1.2.3": address, "1.2.3.4 ": address, " 1.2.3.4": address,
		"1.2.3.4\n": address, "1.2.3.4:80": address, "[::1]": address, "1.2.3.4%eth0": address, "fe80::1%": address,
		"1.2.3.4-": address, "-1.2.3.4": address, "-": address, "1.2.3.4-x": address, "1.1.1.1-1.1.1.2-1.1.1.3": address,
		"1.2.3.4/": address, "/8": address, "/": address, "1.2.3.4/x": address, "1.2.3.4/08": address, "1.2.3.4/+8": address,
		"1.2.3.4/8/8": address, "1.2.3.4/255.0.0.0": address, "fe80::1%a-b": address, "fe80::1%a/b": address,
		"1.2.3.4/33": prefix, "1.2.3.4/-1": prefix, "::/129": prefix, "1.2.3.4/264": prefix, "Subnet: IPv4 1.2.3.4/33": prefix,
		"1.2.3.9-1.2.3.4": ends, "::2-::1": ends, "1.2.3.4-::1": ends, "::1-1.2.3.4": ends, "1.2.3.4-::ffff:1.2.3.9": ends,
		"Range: IPv4 1.2.3.9-1.2.3.4": ends,
		"Address: IPv4 ::1":           address, "Address: IPv6 1.2.3.4": address, "Address: IPv4 ::ffff:1.2.3.4": address,
		"Address: IPv4 10.0.0.0/8": address, "Subnet: IPv4 1.2.3.4": address, "Range: IPv4 1.2.3.4": address,
		"address: ipv4 1.2.3.4": address, "Address: 1.2.3.4": address, "Address:IPv4 1.2.3.4": address,
		"Address: IPv4": address, "Address: IPv4 ": address, "Address: IPv4  1.2.3.4": address, "Host: IPv4 1.2.3.4": address,
	} {
		kit.BadInput{Err: list.Add(text), Is: []error{want}, Code: codes[want], Says: []string{fmt.Sprintf("%q", text)}}.Check(t)
	}
	v4, v6, none := mustIP("1.2.3.4"), mustIP("::1"), netip.Addr{}
	for name, b := range map[string]kit.BadInput{
		"no address":      {Err: list.AddAddress(none), Is: []error{address}, Code: "ERR_INVALID_ADDRESS", Says: []string{"zero Addr"}},
		"no first":        {Err: list.AddRange(none, v4), Is: []error{address}, Code: "ERR_INVALID_ADDRESS"},
		"no last":         {Err: list.AddRange(v4, none), Is: []error{address}, Code: "ERR_INVALID_ADDRESS"},
		"reversed":        {Err: list.AddRange(v4, mustIP("1.2.3.3")), Is: []error{ends}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"1.2.3.4-1.2.3.3", "above"}},
		"two families":    {Err: list.AddRange(v4, v6), Is: []error{ends}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"1.2.3.4-::1", "families"}},
		"no prefix":       {Err: list.AddSubnet(netip.Prefix{}), Is: []error{address}, Code: "ERR_INVALID_ADDRESS", Says: []string{"zero Prefix"}},
		"long prefix":     {Err: list.AddSubnet(netip.PrefixFrom(v4, 33)), Is: []error{prefix}, Code: "ERR_OUT_OF_RANGE", Says: []string{"1.2.3.4", "32"}},
		"long prefix, v6": {Err: list.AddSubnet(netip.PrefixFrom(v6, 129)), Is: []error{prefix}, Code: "ERR_OUT_OF_RANGE", Says: []string{"::1", "128"}},
		"negative prefix": {Err: list.AddSubnet(netip.PrefixFrom(v4, -1)), Is: []error{prefix}, Code: "ERR_OUT_OF_RANGE"},
	} {
		t.Run(name, b.Check)
	}
	assert.False(t, list.Check(none))
	assert.False(t, list.RemoveAddress(none))
	assert.False(t, list.RemoveRange(v4, v6))
	assert.False(t, list.RemoveSubnet(netip.Prefix{}))
	assert.Equal(t, []string{"Address: IPv4 1.1.1.1"}, list.Rules())
}

func TestBlockListNil(t *testing.T) {
	var list *evnet.BlockList
	assert.False(t, list.Check(mustIP("1.2.3.4")))
	assert.Zero(t, list.Len())
	assert.Empty(t, list.Rules())
	assert.Empty(t, list.String())
	assert.False(t, list.RemoveAddress(mustIP("1.2.3.4")))
	list.Clear()
	for _, err := range []error{list.Add("1.2.3.4"), list.AddAddress(mustIP("1.2.3.4")), list.UnmarshalJSON([]byte("[]"))} {
		kit.BadInput{Err: err, Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"BlockList"}}.Check(t)
	}
}

func TestBlockListRemove(t *testing.T) {
	list := blocking(t, "1.2.3.4", "10.0.0.1-10.0.0.9", "10.1.2.3/8", "1.2.3.4/32", "::ffff:1.2.3.4", "10.0.0.0/8")
	assert.Equal(t, 6, list.Len())
	all := []string{
		"Subnet: IPv4 10.0.0.0/8", "Address: IPv6 ::ffff:1.2.3.4", "Subnet: IPv4 1.2.3.4/32", "Subnet: IPv4 10.1.2.3/8",
		"Range: IPv4 10.0.0.1-10.0.0.9", "Address: IPv4 1.2.3.4",
	}
	assert.Equal(t, all, list.Rules(), "newest first, each as given")
	assert.Equal(t, strings.Join(all, "\n"), list.String())

	assert.True(t, list.RemoveAddress(mustIP("1.2.3.4")), "the newest rule, in another spelling")
	assert.True(t, list.RemoveAddress(mustIP("1.2.3.4")))
	assert.False(t, list.RemoveAddress(mustIP("1.2.3.4")), "a subnet is not an address")
	assert.True(t, list.Check(mustIP("1.2.3.4")))
	assert.True(t, list.RemoveSubnet(mustNet("1.2.3.4/32")))
	assert.False(t, list.Check(mustIP("1.2.3.4")))

	assert.False(t, list.RemoveRange(mustIP("10.0.0.1"), mustIP("10.0.0.8")))
	assert.False(t, list.RemoveRange(mustIP("10.0.0.2"), mustIP("10.0.0.9")))
	assert.True(t, list.RemoveRange(mustIP("10.0.0.1"), mustIP("10.0.0.9")))
	assert.False(t, list.RemoveSubnet(mustNet("10.0.0.0/9")))
	assert.True(t, list.RemoveSubnet(mustNet("10.9.9.9/8")))
	assert.Equal(t, []string{"Subnet: IPv4 10.1.2.3/8"}, list.Rules())
	assert.True(t, list.RemoveSubnet(mustNet("10.0.0.0/8")))
	assert.Zero(t, list.Len())
	assert.False(t, list.Check(mustIP("10.0.0.1")))

	require.NoError(t, list.Add("1.2.3.4"))
	require.NoError(t, list.Add("::-::9"))
	list.Clear()
	assert.Zero(t, list.Len())
	assert.Empty(t, list.Rules())
	assert.False(t, list.Check(mustIP("1.2.3.4")))
	assert.False(t, list.Check(mustIP("::1")))
	require.NoError(t, list.Add("1.2.3.4"), "the list stays usable")
	assert.True(t, list.Check(mustIP("1.2.3.4")))
}

func TestBlockListJSON(t *testing.T) {
	list := blocking(t, "1.2.3.4", "2001:db8::1-2001:db8::9", "10.1.2.3/8", "1.2.3.4", "::ffff:0:0/96")
	type config struct{ Blocked *evnet.BlockList }
	data, err := json.Marshal(config{list})
	require.NoError(t, err)
	assert.JSONEq(t, `{"Blocked": ["Subnet: IPv6 ::ffff:0.0.0.0/96", "Address: IPv4 1.2.3.4", "Subnet: IPv4 10.1.2.3/8",
		"Range: IPv6 2001:db8::1-2001:db8::9", "Address: IPv4 1.2.3.4"]}`, string(data))
	var got config
	require.NoError(t, json.Unmarshal(data, &got))
	assert.Equal(t, list.Rules(), got.Blocked.Rules())

	empty, err := json.Marshal(&evnet.BlockList{})
	require.NoError(t, err)
	assert.Equal(t, "[]", string(empty))

	before := list.Rules()
	for data, want := range map[string]string{
		`["2.2.2.2", "nonsense"]`: "nonsense", `["2.2.2.2", "1.1.1.1/40"]`: "1.1.1.1/40", `["2.2.2.2", null]`: `""`,
		`["2.2.2.2", 7]`: "number", `{"a": 1}`: "object", `"2.2.2.2"`: "string",
	} {
		assert.ErrorContains(t, json.Unmarshal([]byte(data), list), want)
		assert.Equal(t, before, list.Rules(), data)
	}
	require.NoError(t, json.Unmarshal([]byte("null"), list))
	assert.Equal(t, before, list.Rules())
	require.NoError(t, json.Unmarshal([]byte(`["2.2.2.2", "3.3.3.0/24"]`), list))
	assert.Equal(t, []string{"Address: IPv4 2.2.2.2", "Subnet: IPv4 3.3.3.0/24"}, list.Rules(), "they replace the previous rules")
	require.NoError(t, json.Unmarshal([]byte("[]"), list))
	assert.Zero(t, list.Len())
}

// A goroutine sees the rules that it has added, while other goroutines change the list.
func TestBlockListConcurrent(t *testing.T) {
	list := &evnet.BlockList{}
	var all sync.WaitGroup
	for i := range byte(8) {
		all.Go(func() {
			for j := range byte(100) {
				mine := netip.AddrFrom4([4]byte{10, i, j, 1})
				last := netip.AddrFrom4([4]byte{10, i, j, 9})
				net := netip.PrefixFrom(mine, 24+int(j%8))
				assert.NoError(t, list.AddAddress(mine))
				assert.NoError(t, list.AddSubnet(net))
				assert.NoError(t, list.AddRange(mine, last))
				assert.True(t, list.Check(mine))
				assert.True(t, list.RemoveAddress(mine))
				assert.True(t, list.RemoveSubnet(net))
				assert.True(t, list.Check(last))
				_, err := list.MarshalJSON()
				assert.NoError(t, err)
				assert.True(t, list.RemoveRange(mine, last))
				assert.False(t, list.Check(mine))
				assert.LessOrEqual(t, list.Len(), 8*3)
			}
		})
	}
	all.Wait()
	assert.Empty(t, list.Rules())
}
