package blocklist_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"evnet"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// reference is a minimal rule: it compares bytes one by one.
type reference struct {
	kind, text  string
	first, last [16]byte // the range that it matches
}

func (r reference) matches(ip [16]byte) bool {
	return slices.Compare(ip[:], r.first[:]) >= 0 && slices.Compare(ip[:], r.last[:]) <= 0
}

// forms returns the addresses that block ip when a rule matches them: itself, and the IPv4 address within
// a NAT64 or 6to4 address.
func forms(ip netip.Addr) [][16]byte {
	ip = ip.WithZone("")
	all := [][16]byte{ip.As16()}
	for prefix, at := range map[string]int{"64:ff9b::/96": 12, "2002::/16": 2} {
		if mustNet(prefix).Contains(ip) {
			v4, _ := netip.AddrFromSlice(ip.AsSlice()[at : at+4])
			all = append(all, v4.As16())
		}
	}
	return all
}

// drawAddress draws from a few addresses, so that rules overlap.
func drawAddress(t *rapid.T) netip.Addr {
	n := rapid.ByteRange(0, 20).Draw(t, "n")
	high := rapid.SampledFrom([]byte{0, 1, 128}).Draw(t, "high")
	v4 := netip.AddrFrom4([4]byte{10, high, 0, n})
	bytes := v4.As4()
	switch rapid.IntRange(0, 6).Draw(t, "form") {
	case 0, 1:
		return v4
	case 2:
		return netip.AddrFrom16(v4.As16())
	case 3:
		nat64 := mustIP("64:ff9b::").As16()
		copy(nat64[12:], bytes[:])
		return netip.AddrFrom16(nat64).WithZone(rapid.SampledFrom([]string{"", "eth0"}).Draw(t, "zone"))
	case 4:
		sixToFour := [16]byte{0: 0x20, 1: 0x02, 15: high}
		copy(sixToFour[2:], bytes[:])
		return netip.AddrFrom16(sixToFour)
	case 5:
		return netip.AddrFrom16([16]byte{15: n}).WithZone(rapid.SampledFrom([]string{"", "eth0"}).Draw(t, "zone"))
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 8: high, 15: n})
}

// Check and Rules return the same results as a plain list of rules, after any additions and removals.
func TestBlockListAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := &evnet.BlockList{}
		var rules []reference
		family := func(ip netip.Addr) string {
			if ip.Is4() {
				return "IPv4 "
			}
			return "IPv6 "
		}
		do := func(r reference, add func() error, remove func() bool) {
			if rapid.IntRange(0, 2).Draw(t, "remove") > 0 {
				require.NoError(t, add())
				rules = append(rules, r)
				return
			}
			at := -1
			for i, other := range rules {
				if other.kind == r.kind && other.first == r.first && other.last == r.last {
					at = i
				}
			}
			require.Equal(t, at >= 0, remove())
			if at >= 0 {
				rules = slices.Delete(rules, at, at+1)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"address": func(t *rapid.T) {
				ip := drawAddress(t)
				r := reference{"address", "Address: " + family(ip) + ip.WithZone("").String(), ip.As16(), ip.As16()}
				do(r, func() error { return list.AddAddress(ip) }, func() bool { return list.RemoveAddress(ip) })
			},
			"range": func(t *rapid.T) {
				a, b := drawAddress(t).WithZone(""), drawAddress(t).WithZone("")
				r := reference{"range", "Range: " + family(a) + a.String() + "-" + b.String(), a.As16(), b.As16()}
				if a.Is4() != b.Is4() || slices.Compare(r.first[:], r.last[:]) > 0 {
					require.ErrorIs(t, list.AddRange(a, b), evnet.ErrInvalidRange)
					return
				}
				do(r, func() error { return list.AddRange(a, b) }, func() bool { return list.RemoveRange(a, b) })
			},
			"subnet": func(t *rapid.T) {
				ip := drawAddress(t)
				bits := rapid.IntRange(0, ip.BitLen()).Draw(t, "bits")
				net := netip.PrefixFrom(ip, bits)
				r := reference{"subnet", "Subnet: " + family(ip) + net.String(), ip.As16(), ip.As16()}
				for i := 128 - ip.BitLen() + bits; i < 128; i++ {
					r.first[i/8] &^= 128 >> (i % 8)
					r.last[i/8] |= 128 >> (i % 8)
				}
				do(r, func() error { return list.AddSubnet(net) }, func() bool { return list.RemoveSubnet(net) })
			},
			"": func(t *rapid.T) {
				ip := drawAddress(t)
				want := slices.ContainsFunc(rules, func(r reference) bool { return slices.ContainsFunc(forms(ip), r.matches) })
				require.Equal(t, want, list.Check(ip), "%v, %v", ip, rules)
				texts := []string{}
				for _, r := range slices.Backward(rules) {
					texts = append(texts, r.text)
				}
				require.Equal(t, texts, list.Rules())
				require.Equal(t, len(texts), list.Len())
			},
		})
	})
}

// FuzzBlockListRule checks that a text is either refused without effect, or makes a rule whose text makes the
// same rule.
func FuzzBlockListRule(f *testing.F) {
	for _, text := range []string{
		"10.0.0.1", "::1", "fe80::1%eth0", "::ffff:1.2.3.4", "10.0.0.1-10.0.0.9", "::1-::ffff:1.2.3.4", "10.1.2.3/8", "::/0",
		"Address: IPv4 1.2.3.4", "Range: IPv6 ::1-::9", "Subnet: IPv6 8592:757c:efae:4e45::/64", "", "1.2.3.4/-0", "-", "fe80::1%a-b",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := &evnet.BlockList{}
		if err := list.Add(text); err != nil {
			if list.Len() != 0 || evnet.Code(err) == "" {
				t.Fatalf("%q: %v, and %d rules", text, err, list.Len())
			}
			return
		}
		rules := list.Rules()
		if len(rules) != 1 {
			t.Fatalf("%q makes %q", text, rules)
		}
		again := &evnet.BlockList{}
		if err := again.Add(rules[0]); err != nil || !slices.Equal(rules, again.Rules()) {
			t.Fatalf("%q makes %q, which makes %q: %v", text, rules, again.Rules(), err)
		}
		data, err := json.Marshal(list)
		if err == nil {
			err = json.Unmarshal(data, again)
		}
		if err != nil || !slices.Equal(rules, again.Rules()) {
			t.Fatalf("%q makes %s, which makes %q: %v", text, data, again.Rules(), err)
		}
	})
}

// FuzzBlockListJSON checks that a document is either refused without effect, or makes rules that survive being
// written and read again.
func FuzzBlockListJSON(f *testing.F) {
	for _, text := range []string{
		`[]`, `null`, `["10.0.0.1"]`, `["Address: IPv4 1.2.3.4", "Subnet: IPv6 ::/0", "Range: IPv4 1.2.3.4-1.2.3.9"]`, `{}`, `[1]`, `[null]`, `[""]`,
		`["1.2.3.4", "no rule"]`, `"1.2.3.4"`, `[["1.2.3.4"]]`, `["1.2.3.4"`, `["\u0031.2.3.4"]`, `["1.2.3.4","1.2.3.4"]`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list := &evnet.BlockList{}
		if err := list.Add("192.0.2.7"); err != nil {
			t.Fatal(err)
		}
		before := list.Rules()
		for _, read := range []func() error{
			func() error { return list.UnmarshalJSON(data) },
			func() error { return json.Unmarshal(data, list) },
		} {
			if err := read(); err != nil {
				if !slices.Equal(before, list.Rules()) {
					t.Fatalf("%q is refused with %v, and makes %q", data, err, list.Rules())
				}
				continue
			}
			rules := list.Rules()
			text, err := json.Marshal(list)
			again := &evnet.BlockList{}
			if err == nil {
				err = json.Unmarshal(text, again)
			}
			if err != nil || !slices.Equal(rules, again.Rules()) || list.Len() != len(rules) {
				t.Fatalf("%q makes %q, written %s, which makes %q: %v", data, rules, text, again.Rules(), err)
			}
			before = rules
		}
	})
}

// BenchmarkBlockListCheck checks an address that is on the list, one that is not, and their NAT64 forms.
func BenchmarkBlockListCheck(b *testing.B) {
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for name, add := range map[string]func(*evnet.BlockList) error{
		"empty": func(*evnet.BlockList) error { return nil },
		"100000 addresses": func(list *evnet.BlockList) (err error) {
			for i := range 100_000 {
				err = list.AddAddress(address(i))
			}
			return err
		},
		"5000 subnets of 20 lengths": func(list *evnet.BlockList) (err error) {
			for i := range 5000 {
				err = list.AddSubnet(netip.PrefixFrom(address(i*64), 13+i%20))
			}
			return err
		},
		"100 ranges": func(list *evnet.BlockList) (err error) {
			for i := range 100 {
				err = list.AddRange(address(i*16), address(i*16+9))
			}
			return err
		},
	} {
		list := &evnet.BlockList{}
		require.NoError(b, add(list))
		for kind, ip := range map[string]netip.Addr{
			"hit": address(99 * 16), "miss": mustIP("192.0.2.1"), "IPv6 miss": mustIP("2001:db8::1"),
			"NAT64 hit": mustIP("64:ff9b::10.0.6.48"), "NAT64 miss": mustIP("64:ff9b::192.0.2.1"),
		} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					list.Check(ip)
				}
			})
		}
	}
}
