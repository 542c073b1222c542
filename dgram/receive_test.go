package dgram_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"evnet"
	"evnet/dgram"
	"evnet/internal/netpoll"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEchoOfEverySize(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, network := range []string{"udp4", "udp6"} {
			for _, borrowed := range []bool{false, true} {
				l := evnet.NewLoop()
				server, client := bound(t, l, dgram.SocketOptions{Network: network}), bound(t, l, dgram.SocketOptions{Network: network})
				echo := func(msg []byte, from netip.AddrPort) {
					assert.Equal(t, client.Address(), from)
					require.NoError(t, server.SendTo(msg, from, nil))
				}
				if borrowed {
					require.NoError(t, server.OnRead(echo))
				} else {
					server.On.Message(echo)
				}
				sizes := []int{0, 1, 64, 1472, 9000, 65507}
				var want []byte
				next := func() {
					if len(sizes) == 0 {
						closed(server, client)
						return
					}
					want = make([]byte, sizes[0])
					rand.NewChaCha8([32]byte{}).Read(want)
					sizes = sizes[1:]
					require.NoError(t, client.SendTo(want, server.Address(), nil))
				}
				client.On.Message(func(msg []byte, from netip.AddrPort) {
					assert.Equal(t, server.Address(), from)
					assert.True(t, bytes.Equal(want, msg), "%d bytes of %d", len(msg), len(want))
					assert.Equal(t, len(msg), cap(msg), "a copy of the exact size")
					next()
				})
				l.Post(next)
				run(t, l)
				assert.Empty(t, sizes)
			}
		}
	})
}

// Messages belong to the receiver: later messages do not change them.
func TestMessagesAreOwned(t *testing.T) {
	each(t, func(t *testing.T) {
		const count = 100
		l := evnet.NewLoop()
		s, from := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{})
		var kept, second [][]byte
		s.On.Message(func(msg []byte, _ netip.AddrPort) { kept = append(kept, msg) })
		s.On.Message(func(msg []byte, _ netip.AddrPort) {
			if second = append(second, msg); len(second) == count {
				closed(s, from)
			}
		})
		for i := range count {
			require.NoError(t, from.SendTo(fmt.Appendf(nil, "message %d", i), s.Address(), nil))
		}
		run(t, l)
		for i := range count {
			assert.Equal(t, fmt.Sprintf("message %d", i), string(kept[i]), "in order, and unchanged")
			assert.Same(t, &kept[i][0], &second[i][0], "listeners share the message")
		}
	})
}

func TestOnReadBorrows(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), peer(t)
		var kept []byte
		require.NoError(t, s.OnRead(func(msg []byte, _ netip.AddrPort) {
			assert.Equal(t, "hello", string(msg))
			kept = msg
			l.Post(func() { closed(s) })
		}))
		require.ErrorIs(t, s.On.Message(func([]byte, netip.AddrPort) {}).Err(), evnet.ErrConsumed)
		_, err := c.WriteToUDPAddrPort([]byte("hello"), s.Address())
		require.NoError(t, err)
		run(t, l)
		if race.Enabled {
			assert.NotEqual(t, "hello", string(kept), "the race detector overwrites borrowed bytes")
		}

		s = open(t, l, dgram.SocketOptions{})
		listener := s.On.Message(func([]byte, netip.AddrPort) {})
		require.ErrorIs(t, s.OnRead(func([]byte, netip.AddrPort) {}), evnet.ErrConsumed)
		listener.Off()
		require.NoError(t, s.OnRead(func([]byte, netip.AddrPort) {}))
		require.NoError(t, s.OnRead(nil))
		require.NoError(t, s.On.Message(func([]byte, netip.AddrPort) {}).Err())
	})
}

// OnRead and SendTo do not allocate.
func TestEchoAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates, and sync.Pool drops items under it")
	}
	if !onLinux {
		t.Skip("only Linux has batches")
	}
	was := netpoll.Enabled
	netpoll.Enabled = true
	defer func() { netpoll.Enabled = was }()
	l := evnet.NewLoop()
	server, client := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{})
	require.NoError(t, server.OnRead(func(msg []byte, from netip.AddrPort) { _ = server.SendTo(msg, from, nil) }))
	msg, left := []byte("hello"), 0
	pass := make(chan struct{})
	require.NoError(t, client.OnRead(func([]byte, netip.AddrPort) {
		if left--; left > 0 {
			_ = client.SendTo(msg, server.Address(), nil)
			return
		}
		pass <- struct{}{}
	}))
	begin := func() {
		left = 100
		_ = client.SendTo(msg, server.Address(), nil)
	}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		run(t, l)
	}()
	allocations := testing.AllocsPerRun(20, func() {
		l.Post(begin)
		<-pass
	})
	closed(server, client)
	<-ran
	assert.Less(t, allocations, 10.0, "allocations of a hundred exchanges")
}

// A function that a callback posts runs before the next message, like process.nextTick in Node.
func TestPostedBeforeTheNextMessage(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), peer(t)
		var events []string
		s.On.Message(func(msg []byte, _ netip.AddrPort) {
			events = append(events, string(msg))
			l.Post(func() { events = append(events, "tick") })
			if len(events) >= 5 {
				closed(s)
			}
		})
		for _, text := range []string{"a", "b", "c"} {
			_, err := c.WriteToUDPAddrPort([]byte(text), s.Address())
			require.NoError(t, err)
		}
		run(t, l)
		assert.Equal(t, []string{"a", "tick", "b", "tick", "c", "tick"}, events)
	})
}

// A busy socket does not delay other sockets or timers: it receives at most one batch in a turn of the loop.
func TestFairness(t *testing.T) {
	each(t, func(t *testing.T) {
		const flood = 150 // fits the kernel's buffer
		l := evnet.NewLoop()
		busy, quiet, c := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{}), peer(t)
		before := -1
		got := 0
		busy.On.Message(func([]byte, netip.AddrPort) {
			if got++; got == flood {
				closed(busy)
			}
		})
		quiet.On.Message(func([]byte, netip.AddrPort) {
			before = got
			closed(quiet)
		})
		for range flood {
			_, err := c.WriteToUDPAddrPort([]byte("x"), busy.Address())
			require.NoError(t, err)
		}
		_, err := c.WriteToUDPAddrPort([]byte("x"), quiet.Address())
		require.NoError(t, err)
		run(t, l)
		assert.Equal(t, flood, got, "no message is lost")
		assert.GreaterOrEqual(t, before, 0)
		if netpoll.Enabled && onLinux { // otherwise the goroutine scheduler decides
			assert.LessOrEqual(t, before, 64)
		}
	})
}

// After Close the remaining messages of a batch are not delivered.
func TestCloseInTheMiddleOfABatch(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), peer(t)
		got := 0
		s.On.Message(func([]byte, netip.AddrPort) {
			got++
			closed(s)
		})
		for range 10 {
			_, err := c.WriteToUDPAddrPort([]byte("x"), s.Address())
			require.NoError(t, err)
		}
		run(t, l)
		assert.Equal(t, 1, got)
	})
}

// No message is delivered before Listening is emitted.
func TestMessagesWaitForListening(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := open(t, l, dgram.SocketOptions{}), peer(t)
		require.NoError(t, s.Bind("127.0.0.1:0", nil))
		_, err := c.WriteToUDPAddrPort([]byte("x"), s.Address())
		require.NoError(t, err)
		var events []string
		s.On.Listening(func() {
			events = append(events, "listening")
			s.On.Message(func([]byte, netip.AddrPort) {
				events = append(events, "message")
				closed(s)
			})
		})
		run(t, l)
		assert.Equal(t, []string{"listening", "message"}, events)
	})
}

func TestReceiveBlockList(t *testing.T) {
	each(t, func(t *testing.T) {
		var list evnet.BlockList
		require.NoError(t, list.Add("127.0.0.1"))
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{ReceiveBlockList: &list}), peer(t)
		other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
		if err != nil {
			t.Skip("127.0.0.2 is not a local address: ", err)
		}
		defer other.Close()
		var got []string
		s.On.Message(func(msg []byte, _ netip.AddrPort) {
			if got = append(got, string(msg)); len(got) == 2 {
				closed(s)
				return
			}
			list.Clear() // from now on
			_, err := c.WriteToUDPAddrPort([]byte("free"), s.Address())
			assert.NoError(t, err)
		})
		_, err = c.WriteToUDPAddrPort([]byte("blocked"), s.Address())
		require.NoError(t, err)
		_, err = other.WriteToUDPAddrPort([]byte("other"), s.Address())
		require.NoError(t, err)
		run(t, l)
		assert.Equal(t, []string{"other", "free"}, got)
	})
}

func TestEvents(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), peer(t)
		var got []string
		note := func(what string) func([]byte, netip.AddrPort) {
			return func(msg []byte, _ netip.AddrPort) { got = append(got, what+string(msg)) }
		}
		var off dgram.Listener
		s.On.Message(note("on "))
		s.Once.Message(note("once "))
		s.Prepend.Message(func(msg []byte, _ netip.AddrPort) {
			got = append(got, "first "+string(msg))
			off.Off()
			off.Off()
		})
		off = s.On.Message(note("never "))
		s.On.Message(func(msg []byte, _ netip.AddrPort) {
			if string(msg) == "b" {
				closed(s)
			}
		})
		assert.Equal(t, 5, s.ListenerCount(dgram.EventMessage))
		assert.Zero(t, s.ListenerCount("no event"))
		require.ErrorIs(t, s.On.Message(nil).Err(), evnet.ErrNilArgument)
		require.ErrorIs(t, s.Once.Close(nil).Err(), evnet.ErrNilArgument)
		dgram.Listener{}.Off()
		for _, text := range []string{"a", "b"} {
			_, err := c.WriteToUDPAddrPort([]byte(text), s.Address())
			require.NoError(t, err)
		}
		run(t, l)
		assert.Equal(t, []string{"first a", "on a", "once a", "first b", "on b"}, got)
		s.RemoveAllListeners(dgram.EventMessage)
		assert.Zero(t, s.ListenerCount(dgram.EventMessage))
		assert.Equal(t, 1, s.ListenerCount(dgram.EventError))
		s.RemoveAllListeners()
		assert.Zero(t, s.ListenerCount(dgram.EventError))
	})
}

// Messages that fit the kernel's buffer all arrive, however they are sent and received.
func TestNothingIsLost(t *testing.T) {
	each(t, func(t *testing.T) {
		const rounds, window = 100, 100
		l := evnet.NewLoop()
		server, client := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{})
		require.NoError(t, server.OnRead(func(msg []byte, from netip.AddrPort) { _ = server.SendTo(msg, from, nil) }))
		sent, seen, back := 0, map[string]bool{}, 0
		fill := func() {
			for range window {
				sent++
				require.NoError(t, client.SendTo(fmt.Appendf(nil, "%d", sent), server.Address(), nil))
			}
		}
		client.On.Message(func(msg []byte, _ netip.AddrPort) {
			seen[string(msg)] = true
			switch back++; {
			case back == rounds*window:
				closed(server, client)
			case back == sent:
				fill()
			}
		})
		l.Post(fill)
		run(t, l)
		assert.Len(t, seen, rounds*window)
	})
}
