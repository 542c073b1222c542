package blocklist_test

import (
	"net"
	"net/netip"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A rule that blocks an IPv4 address blocks its NAT64 and 6to4 forms too, but not their neighbors.
func TestBlockListTranslatedForms(t *testing.T) {
	for rule, c := range map[string]struct{ blocks, ignores []string }{
		"10.0.0.1": {
			[]string{"64:ff9b::10.0.0.1", "64:ff9b::a00:1", "64:ff9b::a00:1%eth0", "2002:a00:1::", "2002:a00:1::1", "2002:a00:1:ffff:ffff:ffff:ffff:ffff", "2002:a00:1::1%eth0"},
			[]string{"64:ff9b::a00:2", "64:ff9b::a00:0", "2002:a00:2::", "2002:a00:0:ffff:ffff:ffff:ffff:ffff", "2002::a00:1", "2003:a00:1::", "64:ff9b:0:0:0:1:a00:1", "64:ff9c::a00:1", "65:ff9b::a00:1", "164:ff9b::a00:1"},
		},
		"::ffff:10.0.0.1": {
			[]string{"64:ff9b::a00:1", "2002:a00:1::1"},
			[]string{"64:ff9b::a00:2", "2002:a00:2::1"},
		},
		"10.0.0.1-10.0.0.9": {
			[]string{"64:ff9b::a00:1", "64:ff9b::a00:9", "2002:a00:1::", "2002:a00:9:ffff::"},
			[]string{"64:ff9b::a00:0", "64:ff9b::a00:a", "2002:a00:0:ffff::", "2002:a00:a::"},
		},
		"9.255.255.255-10.0.0.0": {
			[]string{"64:ff9b::9ff:ffff", "64:ff9b::a00:0", "2002:9ff:ffff::1", "2002:a00::"},
			[]string{"64:ff9b::9ff:fffe", "64:ff9b::a00:1", "2002:9ff:fffe::", "2002:a00:1::"},
		},
		"127.0.0.0/8": {
			[]string{"64:ff9b::7f00:1", "64:ff9b::7f00:0", "64:ff9b::7fff:ffff", "2002:7f00:1::1", "2002:7fff:ffff::"},
			[]string{"64:ff9b::7eff:ffff", "64:ff9b::8000:0", "2002:7eff:ffff::", "2002:8000::", "::1"},
		},
		"10.1.2.3/15": { // covers half of the address's second byte
			[]string{"64:ff9b::a00:0", "64:ff9b::a01:ffff", "2002:a01:ffff:1::"},
			[]string{"64:ff9b::a02:0", "2002:a02::", "2002:9ff:ffff::"},
		},
		"10.0.0.1/32": {
			[]string{"64:ff9b::a00:1", "2002:a00:1::1"},
			[]string{"64:ff9b::a00:2", "2002:a00:2::1"},
		},
		"0.0.0.0/0": {
			[]string{"64:ff9b::", "64:ff9b::ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
			[]string{"64:ff9b::1:0:0", "64:ff9b:1::", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff::", "2003::", "::1", "::"},
		},
		"0.0.0.0/8": { // Linux treats 0.0.0.0 as this machine
			[]string{"64:ff9b::", "64:ff9b::1", "2002::1"},
			[]string{"::", "::1", "64:ff9b::100:0", "2002:100::"},
		},
		"::/64": { // contains ::ffff:0:0/96, and so all of IPv4
			[]string{"64:ff9b::a00:1", "2002:a00:1::1"},
			[]string{"64:ff9b:1::a00:1", "2001::1"},
		},
		// A rule for a translated form does not match the IPv4 address or its other form.
		"64:ff9b::a00:1":                   {[]string{"64:ff9b::a00:1"}, []string{"10.0.0.1", "::ffff:10.0.0.1", "2002:a00:1::1"}},
		"64:ff9b::/96":                     {[]string{"64:ff9b::a00:1"}, []string{"10.0.0.1", "2002:a00:1::1"}},
		"64:ff9b::a00:0/104":               {[]string{"64:ff9b::a00:1"}, []string{"10.0.0.1", "64:ff9b::b00:1"}},
		"2002:a00:1::1":                    {[]string{"2002:a00:1::1"}, []string{"10.0.0.1", "2002:a00:1::2", "64:ff9b::a00:1"}},
		"2002:a00:1:8000::/49":             {[]string{"2002:a00:1:8000::1"}, []string{"10.0.0.1", "2002:a00:1:7fff::1"}},
		"2002::-2002:ffff:ffff::":          {[]string{"2002:a00:1::1"}, []string{"10.0.0.1", "64:ff9b::a00:1"}},
		"64:ff9b::a00:1-64:ff9b::a00:ffff": {[]string{"64:ff9b::a00:9"}, []string{"10.0.0.9", "2002:a00:9::"}},
	} {
		t.Run(rule, func(t *testing.T) {
			list := blocking(t, rule)
			for _, text := range c.blocks {
				assert.True(t, list.Check(mustIP(text)), text)
			}
			for _, text := range c.ignores {
				assert.False(t, list.Check(mustIP(text)), text)
			}
		})
	}
}

// Removing the rule frees all forms of the address, and each of several rules is enough to block them.
func TestBlockListTranslatedFormsAreFreed(t *testing.T) {
	list := blocking(t, "10.0.0.1", "10.0.0.0/8", "10.0.0.0-10.0.0.9")
	forms := []netip.Addr{mustIP("10.0.0.1"), mustIP("::ffff:10.0.0.1"), mustIP("64:ff9b::a00:1"), mustIP("2002:a00:1::1")}
	check := func(want bool) {
		t.Helper()
		for _, form := range forms {
			assert.Equal(t, want, list.Check(form), form)
		}
	}
	check(true)
	assert.True(t, list.RemoveAddress(forms[0]))
	check(true)
	assert.True(t, list.RemoveRange(mustIP("10.0.0.0"), mustIP("10.0.0.9")))
	check(true)
	assert.False(t, list.RemoveAddress(forms[2]), "there is no rule for this form")
	assert.True(t, list.RemoveSubnet(mustNet("10.0.0.0/8")))
	check(false)
}

// Other forms need their own rules; the documentation names these.
func TestBlockListOtherForms(t *testing.T) {
	for form, rule := range map[string]string{
		"64:ff9b:1::a00:1":             "64:ff9b:1::/48",     // NAT64, a prefix of the network's own
		"2001:0:a00:1::1":              "2001::/32",          // Teredo, its server
		"2001:0:1:1:0:0:f5ff:fffe":     "2001::/32",          // Teredo, its client, inverted
		"::10.0.0.1":                   "::2-::ffff:ffff",    // IPv4-compatible
		"2001:db8::5efe:a00:1":         "2001:db8::/64",      // ISATAP
		"::ffff:0:a00:1":               "::ffff:0:0:0/96",    // SIIT
		"2001:db8:122:344::a00:1":      "2001:db8:122::/48",  // NAT64, another prefix
		"2001:db8:a00:1::":             "2001:db8:a00::/40",  // 6rd
		"fe80::5efe:a00:1%eth0":        "fe80::5efe:0:0/96",  // ISATAP, link-local
		"64:ff9b:1:a00:0:100::":        "64:ff9b:1:a00::/56", // NAT64, a prefix of 48 bits
		"fd00:64:ff9b::10.0.0.1":       "fd00:64:ff9b::/96",
		"2001:db8::64:ff9b:0:10.0.0.1": "2001:db8::/32",
	} {
		ip := mustIP(form)
		assert.False(t, blocking(t, "10.0.0.1", "0.0.0.0/0").Check(ip), form)
		list := blocking(t, rule)
		assert.True(t, list.Check(ip), form)
		for _, other := range []string{"10.0.0.1", "::1", "::", "64:ff9b::a00:1", "2002:a00:1::1"} {
			assert.False(t, list.Check(mustIP(other)), "%s, by %s", other, rule)
		}
	}
}

// A server refuses peers from a translated form of a blocked address, from any port.
func TestServerBlockListTranslatedPeers(t *testing.T) {
	for name, c := range map[string]struct {
		addr    net.Addr
		blocked bool
	}{
		"NAT64":          {&net.TCPAddr{IP: net.ParseIP("64:ff9b::10.0.0.1"), Port: 1}, true},
		"6to4":           {&net.TCPAddr{IP: net.ParseIP("2002:a00:1::5"), Port: 65535}, true},
		"zone":           {&net.TCPAddr{IP: net.ParseIP("64:ff9b::10.0.0.1"), Port: 80, Zone: "eth0"}, true},
		"text":           {addrText{"quic", "[64:ff9b::a00:1]:80"}, true},
		"text, and zone": {addrText{"quic", "[2002:a00:1::%eth0]:80"}, true},
		"other address":  {&net.TCPAddr{IP: net.ParseIP("64:ff9b::10.0.0.2"), Port: 80}, false},
		"other prefix":   {&net.TCPAddr{IP: net.ParseIP("64:ff9c::10.0.0.1"), Port: 80}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			m := evtest.NewMemoryListener()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, BlockList: blocking(t, "10.0.0.1")})
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
