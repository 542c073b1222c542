package dgram_test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConnect(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c, other := open(t, l, dgram.SocketOptions{}), peer(t), peer(t)
		var events []string
		note := func(what string) func() { return func() { events = append(events, what) } }
		s.On.Listening(note("listening"))
		s.On.Connect(note("connect"))
		s.On.Message(func(msg []byte, from netip.AddrPort) {
			events = append(events, string(msg))
			assert.Equal(t, addrOf(c), from)
			closed(s)
		})
		require.NoError(t, s.Connect(c.LocalAddr().String(), func(err error) {
			assert.NoError(t, err)
			events = append(events, "callback")
			remote, err := s.RemoteAddress()
			require.NoError(t, err)
			assert.Equal(t, addrOf(c), remote)
			assert.Equal(t, "127.0.0.1", s.Address().Addr().String(), "the kernel has chosen it for this peer")

			require.ErrorIs(t, s.Connect(c.LocalAddr().String(), nil), dgram.ErrIsConnected)
			err = s.Send(nil, c.LocalAddr().String(), nil)
			require.ErrorIs(t, err, dgram.ErrIsConnected)
			require.ErrorIs(t, err, syscall.EISCONN)
			coded(t, "ERR_SOCKET_DGRAM_IS_CONNECTED", err)
			require.ErrorIs(t, s.Send(nil, "somewhere:9", nil), dgram.ErrIsConnected)

			_, err = other.WriteToUDPAddrPort([]byte("other"), s.Address())
			require.NoError(t, err)
			require.NoError(t, s.Send([]byte("hello"), "", func(err error) {
				assert.NoError(t, err)
				_, err = c.WriteToUDPAddrPort([]byte(reads(t, c)+" you"), s.Address())
				require.NoError(t, err)
			}))
		}))
		require.ErrorIs(t, s.Connect(c.LocalAddr().String(), nil), dgram.ErrIsConnected, "it is connecting")
		coded(t, "ERR_SOCKET_DGRAM_NOT_CONNECTED", s.Disconnect())
		coded(t, "ERR_SOCKET_BAD_PORT", s.Send(nil, "", nil))
		run(t, l)
		assert.Equal(t, []string{"listening", "connect", "callback", "hello you"}, events)
	})
}

// After Disconnect a socket receives from all senders, at the same port.
func TestDisconnect(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, address := range []string{"", "127.0.0.1:0"} {
			l := evnet.NewLoop()
			s, c, other := open(t, l, dgram.SocketOptions{}), peer(t), peer(t)
			require.NoError(t, s.Bind(address, nil))
			port := s.Address().Port()
			s.On.Message(func(msg []byte, from netip.AddrPort) {
				assert.Equal(t, "other", string(msg))
				assert.Equal(t, addrOf(other), from)
				require.NoError(t, s.SendTo([]byte("hello"), from, func(err error) {
					assert.NoError(t, err)
					closed(s)
				}))
			})
			require.NoError(t, s.Connect(c.LocalAddr().String(), func(err error) {
				require.NoError(t, err)
				require.NoError(t, s.Disconnect())
				require.ErrorIs(t, s.Disconnect(), dgram.ErrNotConnected)
				assert.Equal(t, port, s.Address().Port())
				_, err = s.RemoteAddress()
				require.ErrorIs(t, err, dgram.ErrNotConnected)
				_, err = other.WriteToUDPAddrPort([]byte("other"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
				require.NoError(t, err)
			}))
			run(t, l)
			assert.Equal(t, "hello", reads(t, other))
		}
	})
}

// Messages sent before Disconnect go to the former peer, whether or not the socket is connected to another one afterwards.
func TestDisconnectAfterSend(t *testing.T) {
	if !onLinux {
		t.Skip("not every kernel sends to other addresses than the peer of a connected socket")
	}
	const count = 100
	each(t, func(t *testing.T) {
		for _, again := range []bool{false, true} {
			l := evnet.NewLoop()
			s, a, b := open(t, l, dgram.SocketOptions{}), peer(t), peer(t)
			var sent []int
			require.NoError(t, s.Connect(a.LocalAddr().String(), func(err error) {
				require.NoError(t, err)
				for i := range count {
					require.NoError(t, s.Send(fmt.Append(nil, i), "", func(err error) {
						assert.NoError(t, err)
						if sent = append(sent, i); len(sent) == count && !again {
							closed(s)
						}
					}))
				}
				require.NoError(t, s.Disconnect())
				if again {
					require.NoError(t, s.Connect(b.LocalAddr().String(), func(err error) {
						require.NoError(t, err)
						require.NoError(t, s.Send([]byte("for b"), "", func(error) { closed(s) }))
					}))
				}
			}))
			run(t, l)
			require.Len(t, sent, count)
			for i := range count {
				assert.Equal(t, i, sent[i])
				assert.Equal(t, fmt.Sprint(i), reads(t, a))
			}
			if again {
				assert.Equal(t, "for b", reads(t, b))
			}
		}
	})
}

// After Disconnect, a conn that was dialed can send to other addresses.
func TestDisconnectOfADialedConn(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		a, b := peer(t), peer(t)
		conn, err := net.Dial("udp4", a.LocalAddr().String())
		require.NoError(t, err)
		s, err := dgram.Wrap(conn.(*net.UDPConn), &dgram.SocketOptions{Loop: l})
		require.NoError(t, err)
		require.NoError(t, s.Send([]byte("for a"), "", nil))
		require.NoError(t, s.Disconnect())
		require.NoError(t, s.SendTo([]byte("for b"), addrOf(b), func(err error) {
			assert.NoError(t, err)
			closed(s)
		}))
		run(t, l)
		assert.Equal(t, "for a", reads(t, a))
		assert.Equal(t, "for b", reads(t, b))
	})
}

func TestConnectFails(t *testing.T) {
	each(t, func(t *testing.T) {
		var list evnet.BlockList
		require.NoError(t, list.Add("127.0.0.9"))
		l := evnet.NewLoop()
		s := open(t, l, dgram.SocketOptions{SendBlockList: &list, Resolver: resolver{err: &net.DNSError{Err: "no such host", Name: "nowhere", IsNotFound: true}}})
		never := func(error) { t.Error("done") }
		for _, address := range []string{"127.0.0.1:0", "127.0.0.1", ":70000"} {
			coded(t, "ERR_SOCKET_BAD_PORT", s.Connect(address, never))
		}
		assert.False(t, s.Address().IsValid())
		cases := []struct{ address, code string }{
			{"[::1]:9", "EINVAL"}, {"nowhere:9", "ENOTFOUND"}, {"127.0.0.9:9", "ERR_IP_BLOCKED"}, {"255.255.255.255:9", "EACCES"},
		}
		var emitted, reported []string
		var next func()
		s.On.Error(func(err error) {
			emitted = append(emitted, evnet.Code(err))
			next()
		})
		s.On.Connect(func() { t.Error("connect") })
		next = func() {
			if len(emitted) == len(cases) {
				closed(s)
				return
			}
			address := cases[len(emitted)].address
			require.NoError(t, s.Connect(address, func(err error) {
				reported = append(reported, evnet.Code(err))
				assert.Contains(t, err.Error(), "connect udp4 "+address)
				require.NoError(t, s.Connect(address, nil), "Connect may be called again")
			}))
		}
		next()
		run(t, l)
		for i, c := range cases {
			assert.Equal(t, c.code, reported[i], c.address)
			assert.Equal(t, c.code, emitted[i], c.address)
		}
	})
}

// If no socket is bound to the peer's address, Error is emitted, from receiving or from the next message.
func TestConnectionRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows reports ECONNRESET or nothing")
	}
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := open(t, l, dgram.SocketOptions{})
		refused := 0
		s.On.Error(func(err error) {
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			coded(t, "ECONNREFUSED", err)
			if refused++; refused == 3 {
				closed(s)
				return
			}
			require.NoError(t, s.Send([]byte("again"), "", nil))
		})
		require.NoError(t, s.Connect(deadPort(t), func(err error) {
			require.NoError(t, err)
			require.NoError(t, s.Send([]byte("x"), "", nil))
		}))
		run(t, l)
		assert.Equal(t, 3, refused)
	})
}

func TestCloseDuringConnect(t *testing.T) {
	for _, address := range []string{"somewhere:9", "127.0.0.1:9"} {
		l := evnet.NewLoop()
		s := open(t, l, dgram.SocketOptions{Resolver: mute{}})
		var events []string
		s.On.Connect(func() { t.Error("connect") })
		s.On.Close(func() { events = append(events, "close") })
		require.NoError(t, s.Connect(address, func(err error) {
			require.ErrorIs(t, err, dgram.ErrNotRunning)
			events = append(events, "callback")
		}))
		require.NoError(t, s.Close(nil))
		run(t, l)
		assert.Equal(t, []string{"callback", "close"}, events)
	}
}

func TestConnectByNameAndIPv6(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		server := bound(t, l, dgram.SocketOptions{Network: "udp6"})
		s := open(t, l, dgram.SocketOptions{Network: "udp6", Resolver: resolver{ips: []netip.Addr{netip.IPv6Loopback()}}})
		server.On.Message(func(msg []byte, from netip.AddrPort) {
			assert.Equal(t, s.Address(), from)
			closed(s, server)
		})
		require.NoError(t, s.Connect(netip.AddrPortFrom(netip.IPv6Loopback(), server.Address().Port()).String(), func(err error) {
			require.NoError(t, err)
			require.NoError(t, s.Disconnect())
			require.NoError(t, s.Connect("somewhere:"+port(server), func(err error) {
				require.NoError(t, err)
				require.NoError(t, s.SendBuffers(net.Buffers{[]byte("a"), []byte("b")}, "", nil))
			}))
		}))
		run(t, l)
	})
}

func port(s *dgram.Socket) string {
	_, p, _ := net.SplitHostPort(s.Address().String())
	return p
}
