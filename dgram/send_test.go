package dgram_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reads reads and returns one message.
func reads(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

func TestSendBindsFirst(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := open(t, l, dgram.SocketOptions{}), peer(t)
		var events []string
		s.On.Listening(func() { events = append(events, "listening") })
		own := []byte("hello")
		require.NoError(t, s.Send(own, c.LocalAddr().String(), func(err error) {
			assert.NoError(t, err)
			events = append(events, "sent")
			closed(s)
		}))
		assert.Empty(t, events)
		copy(own, "XXXXX") // it was copied
		assert.NotZero(t, s.Address().Port())
		require.ErrorIs(t, s.Bind("", nil), dgram.ErrAlreadyBound)
		assert.Equal(t, 1, s.SendQueueCount())
		assert.Equal(t, 5, s.SendQueueSize())
		run(t, l)
		assert.Equal(t, []string{"listening", "sent"}, events)
		assert.Equal(t, "hello", reads(t, c))
		assert.Zero(t, s.SendQueueCount()+s.SendQueueSize())
	})
}

func TestSendForms(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{Resolver: resolver{ips: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}), peer(t)
		here := addrOf(c)
		port := fmt.Sprint(here.Port())
		require.NoError(t, s.SendBuffers(net.Buffers{[]byte("in "), nil, []byte("parts")}, here.String(), nil))
		require.NoError(t, s.SendBuffers(nil, here.String(), nil))
		require.NoError(t, s.Send([]byte("this machine"), ":"+port, nil))
		require.NoError(t, s.SendTo([]byte("known"), here, nil))
		require.NoError(t, s.Send([]byte("by name"), "somewhere:"+port, nil))
		require.NoError(t, s.SendBuffers(net.Buffers{[]byte("by name "), []byte("in parts")}, "somewhere:"+port, func(err error) {
			assert.NoError(t, err)
			closed(s)
		}))
		assert.Equal(t, 6, s.SendQueueCount())
		assert.Equal(t, 8+0+12+5+7+16, s.SendQueueSize())
		run(t, l)
		for _, want := range []string{"in parts", "", "this machine", "known"} {
			assert.Equal(t, want, reads(t, c))
		}
		assert.Contains(t, []string{"by name", "by name in parts"}, reads(t, c))
	})
}

// Send returns the error of an invalid call, and calls nothing afterwards.
func TestSendRefused(t *testing.T) {
	l := evnet.NewLoop()
	s := bound(t, l, dgram.SocketOptions{})
	never := func(error) { t.Error("done") }
	for address, code := range map[string]string{
		"":                "ERR_SOCKET_BAD_PORT",
		"127.0.0.1":       "ERR_SOCKET_BAD_PORT",
		"127.0.0.1:0":     "ERR_SOCKET_BAD_PORT",
		"127.0.0.1:65536": "ERR_SOCKET_BAD_PORT",
		"localhost:0":     "ERR_SOCKET_BAD_PORT",
	} {
		err := s.Send([]byte("x"), address, never)
		coded(t, code, err)
		assert.Contains(t, err.Error(), address)
	}
	coded(t, "ERR_SOCKET_BAD_PORT", s.SendTo(nil, netip.MustParseAddrPort("127.0.0.1:0"), never))
	coded(t, "ERR_SOCKET_BAD_PORT", s.SendTo(nil, netip.AddrPort{}, never))
	l.Post(func() { closed(s) })
	run(t, l)
}

// The failure of a message is reported to its callback or emitted as Error; the socket continues.
func TestSendFails(t *testing.T) {
	each(t, func(t *testing.T) {
		var list evnet.BlockList
		require.NoError(t, list.Add("127.0.0.9"))
		notFound := &net.DNSError{Err: "no such host", Name: "nowhere", IsNotFound: true}
		type failure struct {
			network, address, code string
			size                   int
			is                     error
		}
		cases := []failure{
			{"udp4", "127.0.0.1:9", "EMSGSIZE", 70000, syscall.EMSGSIZE},
			{"udp6", "[::1]:9", "EMSGSIZE", 70000, syscall.EMSGSIZE},
			{"udp4", "[::1]:9", "EINVAL", 1, syscall.EINVAL},
			{"udp6", "127.0.0.1:9", "EINVAL", 1, syscall.EINVAL},
			{"udp4", "255.255.255.255:9", "EACCES", 1, syscall.EACCES},
			{"udp4", "nowhere:9", "ENOTFOUND", 1, notFound},
			{"udp4", "127.0.0.9:9", "ERR_IP_BLOCKED", 1, evnet.ErrBlocked},
			{"udp6", "[64:ff9b::7f00:9]:9", "ERR_IP_BLOCKED", 1, evnet.ErrBlocked},
			{"udp6", "[2002:7f00:9::1]:9", "ERR_IP_BLOCKED", 1, evnet.ErrBlocked},
		}
		for _, c := range cases {
			if runtime.GOOS == "windows" && c.is == syscall.EMSGSIZE {
				continue // it has another error number
			}
			l := evnet.NewLoop()
			s := open(t, l, dgram.SocketOptions{Network: c.network, SendBlockList: &list, Resolver: resolver{err: notFound}})
			var emitted []error
			s.On.Error(func(err error) {
				emitted = append(emitted, err)
				closed(s)
			})
			var reported []error
			require.NoError(t, s.Send(make([]byte, c.size), c.address, func(err error) {
				reported = append(reported, err)
				require.NoError(t, s.Send(make([]byte, c.size), c.address, nil))
			}))
			run(t, l)
			require.Len(t, reported, 1, c.address)
			require.Len(t, emitted, 1, c.address)
			for _, err := range append(reported, emitted...) {
				require.ErrorIs(t, err, c.is)
				coded(t, c.code, err)
				assert.Contains(t, err.Error(), c.address)
				assert.Contains(t, err.Error(), "send "+c.network)
			}
		}
	})
}

// A message that fails does not affect the messages before and after it.
func TestSendFailsInABatch(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), peer(t)
		var reported []string
		for i := range 6 {
			size := 1
			if i%2 == 1 {
				size = 70000
			}
			require.NoError(t, s.SendTo(make([]byte, size), addrOf(c), func(err error) {
				if reported = append(reported, evnet.Code(err)); len(reported) == 6 {
					closed(s)
				}
			}))
		}
		run(t, l)
		if onLinux {
			assert.Equal(t, []string{"", "EMSGSIZE", "", "EMSGSIZE", "", "EMSGSIZE"}, reported)
		}
		for range 3 {
			assert.Len(t, reads(t, c), 1)
		}
	})
}

func TestErrorWithoutListener(t *testing.T) {
	log := newRecords()
	l := evnet.NewLoop()
	s, c := open(t, l, dgram.SocketOptions{Logger: newLogger(log)}), peer(t)
	for range 3 {
		require.NoError(t, s.SendTo(make([]byte, 70000), addrOf(c), nil))
	}
	require.NoError(t, s.Send([]byte("x"), "[::1]:9", nil))
	require.NoError(t, s.SendTo([]byte("x"), addrOf(c), func(err error) {
		assert.NoError(t, err)
		closed(s)
	}))
	run(t, l)
	assert.Len(t, log.list, 2, "one for each code")
	for _, r := range log.list {
		assert.Equal(t, "dgram: socket error without a listener", r.Message)
	}
}

// Close still sends the messages to literal addresses. The callbacks of the others get ErrNotRunning. Each callback runs
// once, before the Close event.
func TestCloseAfterSend(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := open(t, l, dgram.SocketOptions{Resolver: mute{}}), peer(t)
		var events []string
		note := func(what string) func(error) {
			return func(err error) { events = append(events, what+" "+evnet.Code(err)) }
		}
		require.NoError(t, s.Send([]byte("a"), c.LocalAddr().String(), note("a")))
		require.NoError(t, s.Send([]byte("b"), "somewhere:9", note("b")))
		require.NoError(t, s.Send([]byte("c"), "somewhere:9", nil))
		require.NoError(t, s.Send([]byte("d"), c.LocalAddr().String(), note("d")))
		s.On.Close(func() { events = append(events, "close") })
		s.On.Error(func(err error) { t.Error(err) })
		require.NoError(t, s.Close(nil))
		run(t, l)
		assert.ElementsMatch(t, []string{"a ", "b ERR_SOCKET_DGRAM_NOT_RUNNING", "d ", "close"}, events)
		assert.Equal(t, "close", events[len(events)-1])
		assert.Equal(t, "a", reads(t, c))
		assert.Equal(t, "d", reads(t, c))
		assert.Zero(t, s.SendQueueCount()+s.SendQueueSize())
	})
}

func TestMaxSendQueue(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{MaxSendQueue: 1000, Resolver: mute{}}), peer(t)
		sent := 0
		for {
			err := s.SendTo([]byte("message"), addrOf(c), nil)
			if err != nil {
				require.ErrorIs(t, err, evnet.ErrWriteBufferFull)
				break
			}
			sent++
		}
		assert.Equal(t, 1000/(64+7)+1, sent)
		require.ErrorIs(t, s.Send(nil, "somewhere:9", nil), evnet.ErrWriteBufferFull)
		l.Post(func() {
			l.Post(func() {
				for s.SendQueueCount() > 0 { // the writer of the plain transport
					runtime.Gosched()
				}
				require.NoError(t, s.Send([]byte("room"), "somewhere:9", nil))
				closed(s)
			})
		})
		run(t, l)
	})
}

// Pending messages count towards the limit of the loop.
func TestMaxBuffered(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		l.SetMaxBuffered(4000)
		s := open(t, l, dgram.SocketOptions{Resolver: mute{}})
		for range 5 { // more than its share, a quarter, but not three quarters of all
			require.NoError(t, s.Send(make([]byte, 436), "somewhere:9", nil))
		}
		assert.EqualValues(t, 2500, l.Buffered())
		require.NoError(t, s.Send(make([]byte, 436), "somewhere:9", nil))
		require.ErrorIs(t, s.Send(nil, "somewhere:9", nil), evnet.ErrWriteBufferFull)
		l.SetMaxBuffered(-1)
		require.NoError(t, s.Send(make([]byte, 10_000), "somewhere:9", nil))
		l.Post(func() { closed(s) })
		run(t, l)
	})
}

func TestResolverPanics(t *testing.T) {
	l := evnet.NewLoop()
	s := open(t, l, dgram.SocketOptions{Resolver: panicking{}})
	var events []string
	s.On.Error(func(err error) {
		var p *evnet.PanicError
		require.ErrorAs(t, err, &p)
		require.ErrorIs(t, err, errOwn)
		events = append(events, "error")
	})
	s.On.Close(func() { events = append(events, "close") })
	require.NoError(t, s.Send([]byte("x"), "somewhere:9", func(err error) { events = append(events, evnet.Code(err)) }))
	run(t, l)
	assert.Equal(t, []string{"ERR_SOCKET_DGRAM_NOT_RUNNING", "error", "close"}, events)
}

type panicking struct{}

func (panicking) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { panic(errOwn) }

func TestSendFromManyGoroutines(t *testing.T) {
	each(t, func(t *testing.T) {
		const senders, count = 8, 20
		l := evnet.NewLoop()
		s, c := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{})
		got := map[string]int{}
		c.On.Message(func(msg []byte, _ netip.AddrPort) {
			if got[string(msg)]++; len(got) == senders*count {
				closed(s, c)
			}
		})
		for i := range senders {
			go func() {
				for j := range count {
					assert.NoError(t, s.SendTo(fmt.Appendf(nil, "%d %d", i, j), c.Address(), nil))
				}
			}()
		}
		run(t, l)
		assert.Len(t, got, senders*count)
	})
}

func TestBroadcast(t *testing.T) {
	l := evnet.NewLoop()
	s := bound(t, l, dgram.SocketOptions{})
	require.NoError(t, s.SetBroadcast(true))
	require.NoError(t, s.Send([]byte("x"), "127.255.255.255:9", func(err error) {
		assert.NoError(t, err)
		require.NoError(t, s.SetBroadcast(false))
		require.NoError(t, s.Send([]byte("x"), "127.255.255.255:9", func(err error) {
			assert.ErrorIs(t, err, syscall.EACCES)
			closed(s)
		}))
	}))
	run(t, l)
}

func TestSetTTL(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		l := evnet.NewLoop()
		s := bound(t, l, dgram.SocketOptions{Network: network})
		for _, ttl := range []int{0, 256, -1} {
			require.ErrorIs(t, s.SetTTL(ttl), syscall.EINVAL)
			coded(t, "EINVAL", s.SetTTL(ttl))
		}
		require.NoError(t, s.SetTTL(1))
		require.NoError(t, s.SetTTL(255))
		require.NoError(t, s.SetMulticastTTL(0))
		require.ErrorIs(t, s.SetMulticastTTL(256), syscall.EINVAL)
		require.NoError(t, s.SetMulticastLoopback(false))
		closed(s)
		run(t, l)
	}
}

// A socket that is closed before its loop runs leaves nothing open.
func TestCloseWithoutRun(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s := bound(t, l, dgram.SocketOptions{})
		c := peer(t)
		_, err := c.WriteToUDPAddrPort([]byte("x"), s.Address())
		require.NoError(t, err)
		require.NoError(t, s.Close(nil))
		l.AfterFunc(time.Millisecond, func() {})
		run(t, l)
	})
}

// A callback that sends again whenever it is called does not keep other sockets from receiving.
func TestSend_CallbackThatSendsAgainLeavesTurns(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		s, other, c := bound(t, l, dgram.SocketOptions{}), bound(t, l, dgram.SocketOptions{}), peer(t)
		calls, echoed := 0, 0
		var again func(error)
		again = func(error) {
			if calls++; calls < 1_000_000 {
				_ = s.Send(nil, c.LocalAddr().String(), again)
			}
		}
		other.On.Message(func(msg []byte, from netip.AddrPort) {
			if echoed++; echoed == 20 {
				closed(s, other)
				return
			}
			assert.NoError(t, other.Send(msg, other.Address().String(), nil))
		})
		l.Post(func() {
			again(nil)
			assert.NoError(t, other.Send([]byte("x"), other.Address().String(), nil))
		})
		run(t, l)
		assert.Equal(t, 20, echoed)
		assert.Less(t, calls, 1_000_000)
	})
}
