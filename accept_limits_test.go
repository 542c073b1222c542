package evnet_test

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connFrom returns a conn whose peer has the given address. "" means no address, and an address with a slash is a Unix
// path. An address that begins with "text" has a type unknown to evnet.
func connFrom(address string) net.Conn {
	here, _ := net.Pipe()
	switch {
	case address == "":
		return remote{here, nil}
	case address[0] == '/':
		return remote{here, &net.UnixAddr{Net: "unix", Name: address}}
	case len(address) > 4 && address[:4] == "text":
		return remote{here, textAddress(address[4:])}
	}
	return remote{here, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 7))}
}

type remote struct {
	net.Conn
	address net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.address }

type textAddress string

func (textAddress) Network() string  { return "mux" }
func (a textAddress) String() string { return string(a) }

// verdict is "connection", or the reason of a Drop.
type verdict = string

// offer serves the connections in order and returns the verdict for each. next runs after each, before the
// server gets the next one.
func offer(t *testing.T, opts evnet.ServerOptions, conns []string, next func(server *evnet.Server, n int)) (got []verdict) {
	l := evnet.NewLoop()
	opts.Loops = []*evnet.Loop{l}
	server := evnet.NewServer(&opts)
	decided := make(chan bool, 1)
	m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
	m.OnAccept = func(n int) (net.Conn, error) {
		if n > 1 {
			<-decided
		}
		if n > len(conns) {
			l.Post(func() { _ = server.Close(nil); server.CloseAllConnections() })
			return m.MemoryListener.Accept()
		}
		return connFrom(conns[n-1]), nil
	}
	decide := func(what verdict) {
		got = append(got, what)
		assert.LessOrEqual(t, evnet.CountedAddresses(server), server.Connections())
		if next != nil {
			next(server, len(got))
		}
		decided <- true
	}
	server.On.Connection(func(*evnet.Socket) { decide("connection") })
	server.On.Drop(func(d evnet.Drop) { decide(d.Reason.String()) })
	require.NoError(t, server.Serve(m))
	kit.Run(t, l)
	assert.Zero(t, evnet.CountedAddresses(server))
	return got
}

const (
	accepted   = "connection"
	tooMany    = "MaxConnections"
	perAddress = "MaxConnectionsPerAddress"
	tooFast    = "MaxConnectionRate"
)

func TestServer_MaxConnectionsPerAddress(t *testing.T) {
	for name, c := range map[string]struct {
		most  int
		peers []string
		want  []verdict
	}{
		"one":            {1, []string{"192.0.2.1", "192.0.2.1", "192.0.2.2"}, []verdict{accepted, perAddress, accepted}},
		"two":            {2, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, []verdict{accepted, accepted, perAddress}},
		"no limit":       {0, []string{"192.0.2.1", "192.0.2.1"}, []verdict{accepted, accepted}},
		"huge":           {math.MaxInt, []string{"192.0.2.1", "192.0.2.1"}, []verdict{accepted, accepted}},
		"negative":       {-1, []string{"192.0.2.1", "2001:db8::1", "/path"}, []verdict{perAddress, perAddress, accepted}},
		"most negative":  {math.MinInt, []string{"192.0.2.1", ""}, []verdict{perAddress, accepted}},
		"IPv4-mapped":    {1, []string{"192.0.2.1", "::ffff:192.0.2.1"}, []verdict{accepted, perAddress}},
		"one /64":        {1, []string{"2001:db8::1", "2001:db8::ffff:0:0:2"}, []verdict{accepted, perAddress}},
		"two /64s":       {1, []string{"2001:db8::1", "2001:db8:0:1::1"}, []verdict{accepted, accepted}},
		"zones":          {1, []string{"fe80::1%eth0", "fe80::2%eth1"}, []verdict{accepted, perAddress}},
		"an IPv4 prefix": {1, []string{"0.0.0.1", "::1"}, []verdict{accepted, accepted}},
		"text":           {1, []string{"text192.0.2.1:9", "192.0.2.1"}, []verdict{accepted, perAddress}},
		"no IP address":  {1, []string{"/192.0.2.1:7", "/192.0.2.1:7", "", "", "textmux", "textmux"}, []verdict{accepted, accepted, accepted, accepted, accepted, accepted}},
	} {
		t.Run(name, func(t *testing.T) {
			got := offer(t, evnet.ServerOptions{MaxConnectionsPerAddress: c.most}, c.peers, nil)
			assert.Equal(t, c.want, got)
		})
	}
}

// The end of each connection releases its count, whichever one it is.
func TestServer_MaxConnectionsPerAddressReleases(t *testing.T) {
	peers := []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"}
	got := offer(t, evnet.ServerOptions{MaxConnectionsPerAddress: 2}, peers, func(server *evnet.Server, n int) {
		if n == 3 {
			open := server.Sockets()
			require.Len(t, open, 2)
			open[0].Destroy(nil)
			open[0].Destroy(nil) // the second Destroy releases nothing
		}
	})
	assert.Equal(t, []verdict{accepted, accepted, perAddress, accepted, accepted}, got)

	// Many addresses, one after the other: offer checks that no count is left.
	var many []string
	for n := range 500 {
		many = append(many, fmt.Sprintf("2001:db8:0:%x::1", n))
	}
	for _, what := range offer(t, evnet.ServerOptions{MaxConnectionsPerAddress: 1}, many, func(server *evnet.Server, n int) {
		if n%10 == 0 {
			server.CloseAllConnections()
			assert.Zero(t, evnet.CountedAddresses(server))
		}
	}) {
		assert.Equal(t, accepted, what)
	}
}

// Whichever way a TCP connection ends, the next one of the address is accepted.
func TestServer_MaxConnectionsPerAddressReleasesEveryEnd(t *testing.T) {
	for name, end := range map[string]func(s *evnet.Socket, peer *net.TCPConn){
		"Destroy": func(s *evnet.Socket, _ *net.TCPConn) { s.Destroy(nil) },
		"error":   func(s *evnet.Socket, _ *net.TCPConn) { s.Destroy(evtest.Boom("on purpose")) },
		"Reset":   func(s *evnet.Socket, _ *net.TCPConn) { s.Reset() },
		"Close":   func(s *evnet.Socket, _ *net.TCPConn) { _ = s.Close() },
		"both ends": func(s *evnet.Socket, peer *net.TCPConn) {
			s.Resume()
			_ = peer.CloseWrite()
		},
		"the peer resets": func(s *evnet.Socket, peer *net.TCPConn) {
			s.Resume()
			_ = peer.SetLinger(0)
			_ = peer.Close()
		},
		"Detach": func(s *evnet.Socket, _ *net.TCPConn) {
			s.Loop().Post(func() {
				conn, _, err := s.Detach()
				if assert.NoError(t, err) {
					_ = conn.Close()
				}
			})
		},
		"panic": func(*evnet.Socket, *net.TCPConn) { panic(evtest.Boom("on purpose")) },
	} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransports(t, func(t *testing.T) {
				l := evnet.NewLoop()
				l.OnPanic(func(*evnet.PanicError) {})
				var peer *net.TCPConn
				var server *evnet.Server
				connections := 0
				server, addr := kit.Serve(t, l, &evnet.ServerOptions{MaxConnectionsPerAddress: 1}, nil)
				dial := func() {
					c, err := net.Dial("tcp", addr)
					require.NoError(t, err)
					t.Cleanup(func() { _ = c.Close() })
					peer = c.(*net.TCPConn)
				}
				server.On.Drop(func(d evnet.Drop) { t.Error(d); _ = server.Close(nil) })
				server.On.Connection(func(s *evnet.Socket) {
					s.On.Error(func(error) {})
					s.On.Close(func(bool) {
						assert.Zero(t, evnet.CountedAddresses(server))
						if connections == 3 {
							_ = server.Close(nil)
						} else {
							dial()
						}
					})
					assert.Equal(t, 1, evnet.CountedAddresses(server))
					connections++
					end(s, peer)
				})
				l.Post(dial)
				kit.Run(t, l)
				assert.Equal(t, 3, connections)
			})
		})
	}
}

// An accepted socket that was destroyed and has connected elsewhere releases nothing when it ends again.
func TestServer_MaxConnectionsPerAddressConnectedAgain(t *testing.T) {
	l := evnet.NewLoop()
	elsewhere, at := kit.Serve(t, l, nil, nil)
	var sockets []*evnet.Socket
	server, addr := kit.Serve(t, l, &evnet.ServerOptions{MaxConnectionsPerAddress: 2}, nil)
	server.On.Connection(func(s *evnet.Socket) {
		if sockets = append(sockets, s); len(sockets) < 2 {
			return
		}
		s.Destroy(nil)
		s.Once.Close(func(bool) {
			assert.Equal(t, 1, server.Connections())
			s.Once.Ready(func() {
				s.Destroy(nil)
				assert.Equal(t, 1, server.Connections())
				assert.Equal(t, 1, evnet.CountedAddresses(server))
				for _, server := range []*evnet.Server{server, elsewhere} {
					_ = server.Close(nil)
					server.CloseAllConnections()
				}
			})
			s.Connect("tcp", at)
		})
	})
	for range 2 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
	}
	kit.Run(t, l)
	assert.Len(t, sockets, 2)
}

// A connection counts from its accept, also during its TLS handshake, until the handshake fails.
func TestServer_MaxConnectionsPerAddressDuringHandshakes(t *testing.T) {
	reported := kit.StalledHandshake(t, evnet.ServerOptions{MaxConnectionsPerAddress: 1}, func(l *evnet.Loop, server *evnet.Server, s *evnet.Socket) {
		drops := 0
		server.On.Drop(func(d evnet.Drop) {
			assert.Equal(t, evnet.DropPerAddress, d.Reason)
			if drops++; drops == 2 { // the stalled connection is still counted
				assert.Equal(t, 1, server.Connections())
				server.CloseAllConnections()
				assert.Zero(t, evnet.CountedAddresses(server))
				_ = server.Close(nil)
				return
			}
			another := kit.ClientTLS(l)
			another.On.Error(func(error) {})
			another.Connect("tcp", server.Address().String())
		})
		another := kit.ClientTLS(l)
		another.On.Error(func(error) {})
		another.Connect("tcp", server.Address().String())
	})
	assert.Empty(t, reported)

	l := evnet.NewLoop()
	server, addr := kit.ServeTLS(t, l, evnet.ServerOptions{MaxConnectionsPerAddress: 1}, nil)
	server.On.Drop(func(d evnet.Drop) { t.Error(d) })
	failures := 0
	var try func()
	server.On.TLSClientError(func(error, *evnet.Socket) {
		assert.Zero(t, evnet.CountedAddresses(server))
		if failures++; failures == 3 {
			_ = server.Close(nil)
		} else {
			try()
		}
	})
	try = func() {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, _ = c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	}
	l.Post(try)
	kit.Run(t, l)
	assert.Equal(t, 3, failures)
}

// Connections that are open while the server listens again still count.
func TestServer_MaxConnectionsPerAddressListeningAgain(t *testing.T) {
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, MaxConnectionsPerAddress: 1})
	var got []verdict
	first, second := evtest.NewMemoryListener(), evtest.NewMemoryListener()
	server.On.Connection(func(s *evnet.Socket) {
		got = append(got, accepted)
		_ = server.Close(nil)
		if len(got) > 1 {
			server.CloseAllConnections()
			return
		}
		require.NoError(t, server.Serve(second))
		second.Conns <- connFrom("192.0.2.1")
	})
	server.On.Drop(func(d evnet.Drop) {
		got = append(got, d.Reason.String())
		server.CloseAllConnections()
		second.Conns <- connFrom("192.0.2.1")
	})
	require.NoError(t, server.Serve(first))
	first.Conns <- connFrom("192.0.2.1")
	kit.Run(t, l)
	assert.Equal(t, []verdict{accepted, perAddress, accepted}, got)
}

// The limit applies to all loops together: they do not accept one connection too many between them.
func TestServer_MaxConnectionsPerAddressOverLoops(t *testing.T) {
	const most, rounds, conns = 3, 20, 40
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop(), evnet.NewLoop(), evnet.NewLoop()}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, MaxConnectionsPerAddress: most})
	var connections, drops, decided atomic.Int32
	again := make(chan bool, 1)
	m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
	m.OnAccept = func(n int) (net.Conn, error) {
		if n > 1 && n%conns == 1 {
			<-again
		}
		if n > rounds*conns {
			return m.MemoryListener.Accept()
		}
		return connFrom("192.0.2.1"), nil
	}
	decide := func() {
		n := decided.Add(1)
		if n%conns != 0 {
			return
		}
		assert.Equal(t, most, server.Connections())
		assert.EqualValues(t, most*(n/conns), connections.Load())
		server.CloseAllConnections()
		if n == rounds*conns {
			_ = server.Close(nil)
		}
		again <- true
	}
	server.On.Connection(func(*evnet.Socket) { connections.Add(1); decide() })
	server.On.Drop(func(d evnet.Drop) { drops.Add(1); decide() })
	require.NoError(t, server.Serve(m))
	kit.RunAll(t, loops)
	assert.EqualValues(t, rounds*most, connections.Load())
	assert.EqualValues(t, rounds*(conns-most), drops.Load())
	assert.Zero(t, evnet.CountedAddresses(server))
}

// Peers connect and disconnect at random from many addresses, on several loops. No address exceeds its limit.
func TestServer_MaxConnectionsPerAddressNeverExceeded(t *testing.T) {
	const most, addresses, conns = 2, 5, 3000
	loops := []*evnet.Loop{evnet.NewLoop(), evnet.NewLoop()}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, MaxConnectionsPerAddress: most})
	var mu sync.Mutex
	open := map[string]int{}
	decided := 0
	m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
	m.OnAccept = func(n int) (net.Conn, error) {
		if n > conns {
			return m.MemoryListener.Accept()
		}
		return connFrom(fmt.Sprintf("192.0.2.%d", n%addresses)), nil
	}
	decide := func() { // mu is held
		if decided++; decided == conns {
			_ = server.Close(nil)
			server.CloseAllConnections()
		}
	}
	server.On.Connection(func(s *evnet.Socket) {
		mu.Lock()
		defer mu.Unlock()
		at := s.RemoteAddr().String()
		open[at]++
		assert.LessOrEqual(t, open[at], most)
		s.Loop().Post(func() { // the test's count ends no later than the server's
			mu.Lock()
			open[at]--
			mu.Unlock()
			s.Destroy(nil)
		})
		decide()
	})
	server.On.Drop(func(evnet.Drop) {
		mu.Lock()
		defer mu.Unlock()
		decide()
	})
	require.NoError(t, server.Serve(m))
	kit.RunAll(t, loops)
	assert.Equal(t, conns, decided)
	assert.Zero(t, evnet.CountedAddresses(server))
}
