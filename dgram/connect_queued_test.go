package dgram_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Tests of messages that are queued when a socket is connected.

// sends writes messages from a conn to a socket. When it returns, they are in the kernel's queue.
func sends(t testing.TB, from *net.UDPConn, to *dgram.Socket, messages ...string) {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Address().Port())
	for _, msg := range messages {
		_, err := from.WriteToUDPAddrPort([]byte(msg), at)
		require.NoError(t, err)
	}
}

// queuedCase is a Connect to a peer at 127.0.0.1 while messages are queued.
type queuedCase struct {
	network, bind string
	host          string // the host of the address passed to Connect
	other         string // the address of another sender; if it is not 127.0.0.1, the sender has the peer's port
}

// A connected socket delivers only its peer's messages. Messages of other senders are dropped, even if they were received
// before Connect. Messages of the peer are not.
func TestConnectDropsQueuedMessagesOfOthers(t *testing.T) {
	for name, c := range map[string]queuedCase{
		"port":        {"udp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		"address":     {"udp4", "0.0.0.0:0", "127.0.0.1", "127.0.0.2"},
		"unspecified": {"udp4", "0.0.0.0:0", "0.0.0.0", "127.0.0.1"},
		"IPv4-mapped": {"udp6", "[::]:0", "::ffff:127.0.0.1", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if !onLinux && (c.other != "127.0.0.1" || c.host == "0.0.0.0") {
				t.Skip("not every operating system has such an address")
			}
			each(t, func(t *testing.T) {
				t.Run("received together", func(t *testing.T) { c.check(t, true) })
				t.Run("received later", func(t *testing.T) { c.check(t, false) })
			})
		})
	}
}

// check queues messages behind the message whose callback calls Connect. With together, the batch transport receives
// them in the same batch; otherwise they stay in the kernel.
func (c queuedCase) check(t *testing.T, together bool) {
	l := evnet.NewLoop()
	p := peer(t)
	from := &net.UDPAddr{IP: net.ParseIP(c.other)}
	if c.other != "127.0.0.1" {
		from.Port = int(addrOf(p).Port())
	}
	other, err := net.ListenUDP("udp4", from)
	require.NoError(t, err)
	defer other.Close()
	s := open(t, l, dgram.SocketOptions{Network: c.network})
	s.On.Error(func(err error) { assert.NoError(t, err) })
	if err := s.Bind(c.bind, nil); err != nil {
		closed(s)
		t.Skip(err)
	}
	queue := func() {
		sends(t, other, s, "other")
		sends(t, p, s, "early")
		sends(t, other, s, "other")
	}
	var got []string
	s.On.Message(func(msg []byte, _ netip.AddrPort) {
		got = append(got, string(msg))
		switch string(msg) {
		case "first":
			if !together {
				queue()
			}
			require.NoError(t, s.Connect(net.JoinHostPort(c.host, fmt.Sprint(addrOf(p).Port())), func(err error) {
				require.NoError(t, err)
				remote, err := s.RemoteAddress()
				require.NoError(t, err)
				assert.Equal(t, addrOf(p), netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), "as the kernel reports it, as in Node")
				sends(t, other, s, "other")
				sends(t, p, s, "last")
			}))
		case "last":
			closed(s)
		}
	})
	sends(t, other, s, "first")
	if together {
		queue()
	}
	run(t, l)
	assert.Equal(t, []string{"first", "early", "last"}, got)
}

// Messages of a former peer are dropped once the socket is connected to another one, and delivered again
// once it is connected to none.
func TestConnectToAnotherDropsTheFormerPeer(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, a, b := bound(t, l, dgram.SocketOptions{}), peer(t), peer(t)
		var got []string
		s.On.Message(func(msg []byte, _ netip.AddrPort) {
			switch got = append(got, string(msg)); string(msg) {
			case "a":
				sends(t, a, s, "late")
				require.NoError(t, s.Disconnect())
				require.NoError(t, s.Connect(b.LocalAddr().String(), func(err error) {
					require.NoError(t, err)
					sends(t, b, s, "b")
				}))
			case "b":
				require.NoError(t, s.Disconnect())
				sends(t, a, s, "again")
			case "again":
				closed(s)
			}
		})
		require.NoError(t, s.Connect(a.LocalAddr().String(), func(err error) {
			require.NoError(t, err)
			sends(t, a, s, "a")
		}))
		run(t, l)
		assert.Equal(t, []string{"a", "b", "again"}, got)
	})
}

// OnRead does not get messages of other senders either.
func TestConnectDropsQueuedMessagesBeforeOnRead(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, p, other := bound(t, l, dgram.SocketOptions{}), peer(t), peer(t)
		var got []string
		require.NoError(t, s.OnRead(func(msg []byte, _ netip.AddrPort) {
			switch got = append(got, string(msg)); string(msg) {
			case "first":
				require.NoError(t, s.Connect(p.LocalAddr().String(), nil))
			case "last":
				closed(s)
			}
		}))
		sends(t, other, s, "first", "other", "other")
		sends(t, p, s, "last")
		run(t, l)
		assert.Equal(t, []string{"first", "last"}, got)
	})
}
