package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"evnet/internal/nodecode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNew_RefusesInvalidAddresses(t *testing.T) {
	errPath := errors.New("no path")
	for name, c := range map[string]struct {
		network, address string
		family           int
		text             string
		is               error
	}{
		"unknown network":    {network: "udp", address: "127.0.0.1:1", text: "unknown network udp"},
		"no network":         {address: "127.0.0.1:1", text: "unknown network "},
		"no port":            {network: "tcp", address: "127.0.0.1", text: "address 127.0.0.1: missing port in address"},
		"port out of range":  {network: "tcp", address: "127.0.0.1:65536", text: "address 65536: invalid port"},
		"unknown service":    {network: "tcp", address: "127.0.0.1:nonsense", text: "lookup tcp/nonsense: unknown port"},
		"missing path":       {network: "unix", text: "missing path"},
		"invalid path":       {network: "unix", address: "path", is: errPath, text: "no path"},
		"unknown family":     {network: "tcp", address: "127.0.0.1:1", family: 5, is: errFamily, text: "family is not 0, 4 or 6"},
		"IPv4 of tcp6":       {network: "tcp6", address: "127.0.0.1:1", text: "address 127.0.0.1: no suitable address"},
		"IPv6 of tcp4":       {network: "tcp4", address: "[::1]:1", text: "address ::1: no suitable address"},
		"IPv6 of family 4":   {network: "tcp", address: "[::1]:1", family: 4, text: "address ::1: no suitable address"},
		"mapped of family 6": {network: "tcp", address: "[::ffff:127.0.0.1]:1", family: 6, text: "address ::ffff:127.0.0.1: no suitable address"},
	} {
		t.Run(name, func(t *testing.T) {
			race, err := New(Config{Network: c.network, Address: c.address, Family: c.family, Dialer: &net.Dialer{},
				CheckPath: func(string) error { return errPath }})
			assert.Nil(t, race)
			require.EqualError(t, err, c.text)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
		})
	}
}

func TestRace_TriesAnIPAddressWithoutLookup(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:80":         "attempt tcp4 127.0.0.1:80 4 false",
		"127.0.0.1:http":       "attempt tcp4 127.0.0.1:80 4 false",
		"[::1]:80":             "attempt tcp6 [::1]:80 6 false",
		"[fe80::1%zone]:1":     "attempt tcp6 [fe80::1%zone]:1 6 false",
		"[::ffff:1.2.3.4]:080": "attempt tcp4 1.2.3.4:80 4 false",
	} {
		o := play(t, Config{Network: "tcp", Address: address})
		assert.Empty(t, o.race.Host())
		require.Len(t, o.steps, 3, address)
		assert.Equal(t, want, o.steps[0], address)
		assert.Equal(t, []error{errRefused}, o.errs, address)
	}
}

func TestRace_TriesAPath(t *testing.T) {
	asked := ""
	o := play(t, Config{Network: "unix", Address: "a path", CheckPath: func(path string) error { asked = path; return nil },
		Allow: func(netip.Addr) error { t.Error("a path has no IP address"); return nil }})
	assert.Equal(t, "a path", asked)
	assert.Equal(t, []string{"attempt unix a path 0 false", "failed a path: refused", "failed"}, o.steps)
}

func TestRace_AsksTheResolverForTheFamily(t *testing.T) {
	for _, c := range []struct {
		network, address string
		family           int
		local            net.Addr
		want             string
	}{
		{"tcp", "name.example:1", 0, nil, "ip name.example"},
		{"tcp", "name.example:1", 4, nil, "ip4 name.example"},
		{"tcp", "name.example:1", 6, nil, "ip6 name.example"},
		{"tcp4", "name.example:1", 6, nil, "ip4 name.example"},
		{"tcp6", "name.example:1", 4, nil, "ip6 name.example"},
		{"tcp", ":1", 0, nil, "ip localhost"},
		{"tcp", "name.example:1", 0, &net.TCPAddr{IP: net.ParseIP("::1")}, "ip6 name.example"},
		{"tcp", "name.example:1", 0, &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}, "ip4 name.example"},
		{"tcp", "name.example:1", 0, &net.TCPAddr{Port: 1}, "ip name.example"},
	} {
		asked := ""
		config := Config{Network: c.network, Address: c.address, Family: c.family,
			Resolver: resolver(func(_ context.Context, network, host string) ([]netip.Addr, error) {
				asked = network + " " + host
				return nil, errRefused
			})}
		if c.local != nil {
			config.Dialer = &net.Dialer{LocalAddr: c.local}
		}
		play(t, config)
		assert.Equal(t, c.want, asked)
	}
}

func TestNew_RefusesALocalAddressThatDoesNotFit(t *testing.T) {
	four, six := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv6loopback}
	for name, c := range map[string]struct {
		network, address string
		family           int
		local            net.Addr
		is               error
		text             string
	}{
		"family of the address": {"tcp", "[::1]:1", 0, four, syscall.EINVAL, ""},
		"family of the network": {"tcp4", "name.example:1", 0, six, syscall.EINVAL, ""},
		"family of the option":  {"tcp", "name.example:1", 6, four, syscall.EINVAL, ""},
		"typed nil":             {"tcp", "127.0.0.1:1", 0, (*net.TCPAddr)(nil), nil, "mismatched local address type"},
		"path for TCP":          {"tcp", "127.0.0.1:1", 0, &net.UnixAddr{Name: "/x", Net: "unix"}, nil, "mismatched local address type"},
		"UDP":                   {"tcp", "127.0.0.1:1", 0, &net.UDPAddr{}, nil, "mismatched local address type"},
		"UDP for a path":        {"unix", "path", 0, &net.UDPAddr{}, nil, "mismatched local address type"},
		"nil path":              {"unix", "path", 0, (*net.UnixAddr)(nil), nil, "mismatched local address type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Network: c.network, Address: c.address, Family: c.family,
				Dialer: &net.Dialer{LocalAddr: c.local}, CheckPath: func(string) error { return nil }})
			var op *net.OpError
			require.ErrorAs(t, err, &op)
			assert.Equal(t, []any{"dial", c.network, c.address, c.local}, []any{op.Op, op.Net, op.Addr.String(), op.Source})
			assert.Equal(t, c.network, op.Addr.Network())
			if c.is == nil {
				assert.ErrorContains(t, err, c.text)
				return
			}
			require.ErrorIs(t, err, c.is)
			var sys *os.SyscallError
			require.ErrorAs(t, err, &sys)
			assert.Equal(t, "bind", sys.Syscall)
		})
	}
	for name, c := range map[string]Config{
		"TCP for a path": {Network: "unix", Address: "path", Dialer: &net.Dialer{LocalAddr: four}},
		"not used":       {Network: "tcp", Address: "[::1]:1", Dialer: &net.Dialer{LocalAddr: four}, Dial: new(dials).dial},
	} {
		c.CheckPath = func(string) error { return nil }
		race, err := New(c)
		require.NoError(t, err, name)
		assert.Nil(t, race.local, name)
	}
}

func TestErrors_HaveNodesCodes(t *testing.T) {
	assert.Equal(t, "ERR_INVALID_ARG_VALUE", nodecode.Of(OpError("tcp", "", errFamily)))
	assert.Equal(t, "ERR_INVALID_IP_ADDRESS", nodecode.Of(OpError("tcp", "", errInvalidIP)))
}

func TestCandidates(t *testing.T) {
	for name, c := range map[string]struct {
		family    int
		ips, want []string
	}{
		"families alternate":           {0, []string{"1.1.1.1", "1.1.1.2", "::1", "::2"}, []string{"1.1.1.1:1", "[::1]:1", "1.1.1.2:1", "[::2]:1"}},
		"the first answer comes first": {0, []string{"::1", "1.1.1.1", "1.1.1.2"}, []string{"[::1]:1", "1.1.1.1:1", "1.1.1.2:1"}},
		"the rest of one family":       {0, []string{"::1", "::2", "::3", "1.1.1.1"}, []string{"[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"}},
		"each address once":            {0, []string{"1.1.1.1", "::ffff:1.1.1.1", "::1", "1.1.1.1", "::1"}, []string{"1.1.1.1:1", "[::1]:1"}},
		"family 4":                     {4, []string{"::1", "1.1.1.1", "::2"}, []string{"1.1.1.1:1"}},
		"family 6":                     {6, []string{"1.1.1.1", "::ffff:1.1.1.1", "::2"}, []string{"[::2]:1"}},
		"zones differ":                 {0, []string{"fe80::1%a", "fe80::1%b"}, []string{"[fe80::1%a]:1", "[fe80::1%b]:1"}},
		"no valid address":             {0, []string{"", ""}, nil},
		"invalid among valid":          {0, []string{"", "::1", "", "1.1.1.1"}, []string{"[::1]:1", "1.1.1.1:1"}},
		"wrong family only":            {4, []string{"::1"}, nil},
	} {
		r := &Race{family: c.family, port: 1}
		var got []string
		for _, a := range r.candidates(addrs(c.ips...)) {
			got = append(got, a.Address)
		}
		assert.Equal(t, c.want, got, name)
	}
}
