package misuse_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"evnet"
)

// fuzzedNetworks are the networks that a fuzzed byte selects.
var fuzzedNetworks = []string{"tcp", "tcp4", "tcp6", "unix", "", "udp", "TCP", "unixgram"}

var fuzzedAddresses = []string{
	"", ":", ":0", ":80", "localhost:80", "127.0.0.1:80", "[::1]:80", "::1:80", "[::1%lo]:80", "[fe80::1%eth0]:1", "127.0.0.1",
	"127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "a:b:c", "[::1", "]:80", "[]:80", "name.example:80", "host.:1", "\x00:1", "@name", "@",
	"\x00", "a\x00b", "0:0", "1.2.3.4.5:9", "[::ffff:1.2.3.4]:7", "é:1", "%:1", "[%]:1", ":00080", "01.2.3.4:1", strings.Repeat("x", 200),
}

func addFuzzedAddresses(f *testing.F) {
	for i := range fuzzedNetworks {
		for _, address := range fuzzedAddresses {
			f.Add(byte(i), address)
		}
	}
}

// FuzzConnectAddress checks that any address leads to attempts or to one error that names the address. Each
// attempt is at an address from the resolver or from the text. The test uses no network.
func FuzzConnectAddress(f *testing.F) {
	addFuzzedAddresses(f)
	errRefused := errors.New("refused by the dialer")
	f.Fuzz(func(t *testing.T, n byte, address string) {
		network := fuzzedNetworks[int(n)%len(fuzzedNetworks)]
		l := evnet.NewLoop()
		lookedUp, dialled := 0, 0
		s := evnet.NewSocket(&evnet.SocketOptions{
			Loop: l,
			Resolver: asked1(func(host string) ([]netip.Addr, error) {
				lookedUp++
				if host == "" {
					t.Error("the empty name is looked up")
				}
				return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
			}),
			AttemptDelay: -1,
			Dialer:       &net.Dialer{Control: func(string, string, syscall.RawConn) error { dialled++; return errRefused }},
		})
		attempts, lookups, closes := 0, 0, 0
		var reported error
		s.On.Lookup(func(evnet.Lookup) { lookups++ })
		s.On.ConnectionAttempt(func(a evnet.Attempt) {
			attempts++
			if a.Family == 0 {
				if a.Address != address || a.Network != network {
					t.Errorf("%s %q is tried as %v", network, address, a)
				}
				return
			}
			to, err := netip.ParseAddrPort(a.Address)
			_, port, _ := net.SplitHostPort(address)
			if err != nil || a.Family == 4 != to.Addr().Is4() {
				t.Errorf("%s %q is tried as %v", network, address, a)
			}
			if p, err := strconv.ParseUint(port, 10, 16); err == nil && uint16(p) != to.Port() {
				t.Errorf("%s %q is tried at port %d", network, address, to.Port())
			}
		})
		s.On.Error(func(err error) {
			if reported != nil {
				t.Errorf("a second error: %v", err)
			}
			reported = err
		})
		s.On.Close(func(hadError bool) {
			if closes++; !hadError {
				t.Error("Close without an error")
			}
		})
		s.Connect(network, address)
		l.Run()
		switch {
		case reported == nil || closes != 1:
			t.Fatalf("%s %q: error %v, %d times Close", network, address, reported, closes)
		case attempts == 0 && (lookups > 0 || lookedUp > 0 || dialled > 0):
			// The name has no address of the family.
			if !errors.As(reported, new(*net.AddrError)) {
				t.Fatalf("%s %q: something was started: %v", network, address, reported)
			}
		case attempts > 0 && dialled == 0 && network != "unix" && errors.Is(reported, errRefused):
			t.Fatalf("%s %q: nothing was dialed: %v", network, address, reported)
		}
		var op *net.OpError
		var all *evnet.ConnectError
		if !errors.As(reported, &op) && !errors.As(reported, &all) {
			t.Fatalf("%s %q: %T does not name the failed operation", network, address, reported)
		}
		if attempts == 0 && !strings.Contains(reported.Error(), address) {
			t.Fatalf("%s %q: the error does not name the address: %v", network, address, reported)
		}
		if s.Err() != reported || s.ReadyState() != evnet.StateClosed {
			t.Fatalf("%s %q: %v, %v", network, address, s.Err(), s.ReadyState())
		}
	})
}

type asked1 func(host string) ([]netip.Addr, error)

func (a asked1) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) { return a(host) }

// FuzzListenAddress checks that Listen either succeeds and can be closed, or returns an error that names the
// address and leaves nothing open. The test looks up no names on a network, and creates files only in its own
// directory.
func FuzzListenAddress(f *testing.F) {
	addFuzzedAddresses(f)
	dir := f.TempDir()
	offline := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network here")
	}}
	f.Fuzz(func(t *testing.T, n byte, address string) {
		before := net.DefaultResolver
		net.DefaultResolver = offline
		defer func() { net.DefaultResolver = before }()
		network := fuzzedNetworks[int(n)%len(fuzzedNetworks)]
		if network == "unix" && address != "" && address[0] != '@' && address[0] != 0 {
			if strings.ContainsAny(address, "/\\") || address == "." || address == ".." {
				t.Skip("the path may be outside the test's directory")
			}
			address = dir + "/" + address
		}
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		var events []string
		server.On.Listening(func() { events = append(events, "listening"); _ = server.Close(nil) })
		server.On.Close(func() { events = append(events, "close") })
		err := server.Listen(network, address, nil)
		listens := server.Listening()
		if (err == nil) != listens || listens != (server.Address() != nil) {
			t.Fatalf("%s %q: error %v, listening %v at %v", network, address, err, listens, server.Address())
		}
		l.Run()
		if err == nil {
			if len(events) != 2 || server.Listening() {
				t.Fatalf("%s %q: %v", network, address, events)
			}
		} else if op := new(net.OpError); len(events) > 0 || !errors.As(err, &op) || op.Op != "listen" || op.Addr == nil {
			t.Fatalf("%s %q: %v, events %v", network, address, err, events)
		} else if _, resolved := op.Addr.(*net.TCPAddr); !resolved && !strings.Contains(err.Error(), address) {
			t.Fatalf("%s %q: the error does not name the address: %v", network, address, err)
		}
		left, _ := os.ReadDir(dir)
		if len(left) > 0 {
			t.Fatalf("%s %q leaves %v", network, address, left)
		}
		if err := server.Close(nil); err != evnet.ErrServerNotRunning {
			t.Fatalf("%s %q: %v", network, address, err)
		}
	})
}
