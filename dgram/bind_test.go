package dgram_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCreateSocketBadInput(t *testing.T) {
	for _, network := range []string{"", "udp", "tcp", "udp5"} {
		s, err := dgram.CreateSocket(network, nil)
		assert.Nil(t, s)
		require.ErrorIs(t, err, dgram.ErrBadType)
		coded(t, "ERR_SOCKET_BAD_TYPE", err)
	}
	_, err := dgram.NewSocket(nil)
	require.ErrorIs(t, err, dgram.ErrBadType)
	_, err = dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", ReadBuffer: -1})
	coded(t, "ERR_OUT_OF_RANGE", err)
	require.ErrorIs(t, err, dgram.ErrBadBufferSize)
	_, err = dgram.Wrap(nil, nil)
	require.ErrorIs(t, err, evnet.ErrNilArgument)
	_, err = dgram.Wrap(peer(t), &dgram.SocketOptions{WriteBuffer: -1})
	require.ErrorIs(t, err, dgram.ErrBadBufferSize)
}

func TestBind(t *testing.T) {
	each(t, func(t *testing.T) {
		for network, want := range map[string]string{"udp4": "127.0.0.1", "udp6": "::1"} {
			l := evnet.NewLoop()
			s := open(t, l, dgram.SocketOptions{Network: network})
			assert.False(t, s.Address().IsValid())
			assert.Nil(t, s.Conn())
			var events []string
			s.On.Listening(func() { events = append(events, "listening") })
			s.On.Close(func() { events = append(events, "close") })
			require.NoError(t, s.Bind(net.JoinHostPort(want, "0"), func() {
				events = append(events, "callback")
				require.NoError(t, s.Close(func() { events = append(events, "closed") }))
			}))
			assert.Empty(t, events)
			assert.Equal(t, want, s.Address().Addr().String())
			assert.NotZero(t, s.Address().Port())
			require.ErrorIs(t, s.Bind("", nil), dgram.ErrAlreadyBound)
			coded(t, "ERR_SOCKET_ALREADY_BOUND", s.Bind("", nil))
			run(t, l)
			assert.Equal(t, []string{"listening", "callback", "close", "closed"}, events)
			assert.True(t, s.Address().IsValid())
			require.ErrorIs(t, s.Bind("", nil), dgram.ErrNotRunning)
		}
	})
}

func TestBindFails(t *testing.T) {
	l := evnet.NewLoop()
	taken := peer(t)
	s := open(t, l, dgram.SocketOptions{Resolver: resolver{err: &net.DNSError{Err: "no such host", Name: "nowhere", IsNotFound: true}}})
	s.On.Listening(func() { t.Error("Listening") })
	s.On.Error(func(err error) { t.Error(err) })
	for address, code := range map[string]string{
		taken.LocalAddr().String(): "EADDRINUSE",
		"192.0.2.1:0":              "EADDRNOTAVAIL",
		"[::1]:0":                  "EINVAL",
		"[::ffff:127.0.0.1]:0":     "EINVAL",
		"127.0.0.1:70000":          "ERR_SOCKET_BAD_PORT",
		"127.0.0.1:-1":             "ERR_SOCKET_BAD_PORT",
		"127.0.0.1:":               "ERR_SOCKET_BAD_PORT",
		"127.0.0.1:no-service":     "ERR_SOCKET_BAD_PORT",
		"127.0.0.1":                "ERR_SOCKET_BAD_PORT",
		"nowhere:0":                "ENOTFOUND",
	} {
		err := s.Bind(address, func() { t.Error("callback") })
		coded(t, code, err)
		assert.Contains(t, err.Error(), address)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		assert.Equal(t, "bind", op.Op)
	}
	s.RemoveAllListeners()
	require.NoError(t, s.Bind("127.0.0.1:0", nil), "Bind may be called again")
	closed(s)
	run(t, l)
}

func TestBindByName(t *testing.T) {
	l := evnet.NewLoop()
	s := open(t, l, dgram.SocketOptions{Resolver: resolver{ips: []netip.Addr{
		netip.IPv6Loopback(), netip.MustParseAddr("::ffff:127.0.0.1")}}})
	require.NoError(t, s.Bind("here:0", nil))
	assert.Equal(t, "127.0.0.1", s.Address().Addr().String())
	closed(s)
	run(t, l)
}

func TestBindSharesAnAddress(t *testing.T) {
	for name, opts := range map[string]dgram.SocketOptions{"ReuseAddr": {ReuseAddr: true}, "ReusePort": {ReusePort: true}} {
		l := evnet.NewLoop()
		a, b := open(t, l, opts), open(t, l, opts)
		err := a.Bind("127.0.0.1:0", nil)
		if errors.Is(err, errors.ErrUnsupported) {
			continue // ReusePort, on Windows
		}
		require.NoError(t, err, name)
		require.NoError(t, b.Bind(a.Address().String(), nil), name)
		closed(a, b)
		run(t, l)
	}
}

func TestBindIPv6Only(t *testing.T) {
	l := evnet.NewLoop()
	both, only := open(t, l, dgram.SocketOptions{Network: "udp6"}), open(t, l, dgram.SocketOptions{Network: "udp6", IPv6Only: true})
	require.NoError(t, both.Bind("", nil))
	require.NoError(t, only.Bind("", nil))
	assert.Equal(t, netip.IPv6Unspecified(), both.Address().Addr())
	c := peer(t)
	both.On.Message(func(msg []byte, from netip.AddrPort) {
		assert.Equal(t, "hello", string(msg))
		assert.Equal(t, netip.MustParseAddr("::ffff:127.0.0.1"), from.Addr())
		require.NoError(t, both.SendTo([]byte("you"), from, func(err error) {
			assert.NoError(t, err)
			closed(both, only)
		}))
	})
	only.On.Message(func([]byte, netip.AddrPort) { t.Error("IPv4") })
	for _, s := range []*dgram.Socket{only, both} {
		_, err := c.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), s.Address().Port()))
		require.NoError(t, err)
	}
	run(t, l)
	buf := make([]byte, 10)
	n, err := c.Read(buf)
	require.NoError(t, err)
	assert.Equal(t, "you", string(buf[:n]))
}

func TestBindBuffers(t *testing.T) {
	l := evnet.NewLoop()
	s := bound(t, l, dgram.SocketOptions{ReadBuffer: 30000, WriteBuffer: 40000})
	want := 1
	if onLinux {
		want = 2 // it doubles them
	}
	read, err := s.ReadBuffer()
	require.NoError(t, err)
	assert.Equal(t, 30000*want, read)
	written, err := s.WriteBuffer()
	require.NoError(t, err)
	assert.Equal(t, 40000*want, written)
	require.NoError(t, s.SetReadBuffer(20000))
	require.NoError(t, s.SetWriteBuffer(25000))
	require.NoError(t, s.SetReadBuffer(0))
	read, _ = s.ReadBuffer()
	written, _ = s.WriteBuffer()
	assert.Equal(t, []int{20000 * want, 25000 * want}, []int{read, written})
	coded(t, "ERR_SOCKET_BAD_BUFFER_SIZE", s.SetReadBuffer(-1))
	closed(s)
	run(t, l)
}

// The errors of the methods before Bind and after Close.
func TestMethodsBeforeAndAfter(t *testing.T) {
	l := evnet.NewLoop()
	s := open(t, l, dgram.SocketOptions{})
	methods := map[string]func() error{
		"SetBroadcast":          func() error { return s.SetBroadcast(true) },
		"SetTTL":                func() error { return s.SetTTL(500) },
		"SetMulticastTTL":       func() error { return s.SetMulticastTTL(1) },
		"SetMulticastLoopback":  func() error { return s.SetMulticastLoopback(true) },
		"SetMulticastInterface": func() error { return s.SetMulticastInterface("127.0.0.1") },
	}
	for name, method := range methods {
		err := method()
		require.ErrorIs(t, err, syscall.EBADF, name)
		coded(t, "EBADF", err)
	}
	sizes := map[string]func() error{
		"ReadBuffer":     func() error { _, err := s.ReadBuffer(); return err },
		"WriteBuffer":    func() error { _, err := s.WriteBuffer(); return err },
		"SetReadBuffer":  func() error { return s.SetReadBuffer(1) },
		"SetWriteBuffer": func() error { return s.SetWriteBuffer(1) },
	}
	for name, method := range sizes {
		err := method()
		require.ErrorIs(t, err, syscall.EBADF, name)
		coded(t, "ERR_SOCKET_BUFFER_SIZE", err)
	}
	_, err := s.RemoteAddress()
	coded(t, "ERR_SOCKET_DGRAM_NOT_CONNECTED", err)
	coded(t, "ERR_SOCKET_DGRAM_NOT_CONNECTED", s.Disconnect())

	require.NoError(t, s.Close(nil))
	for name, method := range methods {
		require.ErrorIs(t, method(), dgram.ErrNotRunning, name)
	}
	for name, method := range sizes {
		require.ErrorIs(t, method(), dgram.ErrNotRunning, name)
	}
	_, err = s.RemoteAddress()
	for name, err := range map[string]error{
		"RemoteAddress": err, "Disconnect": s.Disconnect(), "Bind": s.Bind("", nil), "Close": s.Close(nil),
		"Connect": s.Connect("127.0.0.1:1", nil), "Send": s.Send(nil, "127.0.0.1:1", nil), "by name": s.Send(nil, "localhost:1", nil),
		"AddMembership": s.AddMembership("224.0.0.114", ""), "Connect by name": s.Connect("localhost:1", nil),
		"AddSourceSpecificMembership": s.AddSourceSpecificMembership("127.0.0.1", "232.1.1.1", ""),
	} {
		require.ErrorIs(t, err, dgram.ErrNotRunning, name)
		require.ErrorIs(t, err, net.ErrClosed, name)
		coded(t, "ERR_SOCKET_DGRAM_NOT_RUNNING", err)
	}
	s.Ref()
	s.Unref()
	assert.Zero(t, s.SendQueueSize())
	run(t, l)
}

func TestCloseBeforeBind(t *testing.T) {
	l := evnet.NewLoop()
	s := open(t, l, dgram.SocketOptions{})
	closes := 0
	s.On.Close(func() { closes++ })
	require.NoError(t, s.Close(func() { closes++ }))
	assert.Zero(t, closes)
	run(t, l)
	assert.Equal(t, 2, closes)
}

func TestContext(t *testing.T) {
	each(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		l := evnet.NewLoop()
		s := bound(t, l, dgram.SocketOptions{Context: ctx})
		closes := 0
		s.On.Close(func() { closes++ })
		l.Post(cancel)
		run(t, l)
		assert.Equal(t, 1, closes)

		late := open(t, l, dgram.SocketOptions{Context: ctx}) // which has ended
		late.On.Close(func() { closes++ })
		require.ErrorIs(t, late.Bind("", nil), dgram.ErrNotRunning)
		run(t, l)
		assert.Equal(t, 2, closes)
	})
}

func TestRefs(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		open(t, l, dgram.SocketOptions{}) // not bound: it does not keep Run running
		s, early := bound(t, l, dgram.SocketOptions{}), open(t, l, dgram.SocketOptions{})
		closes := 0
		for _, s := range []*dgram.Socket{s, early} {
			s.On.Close(func() { closes++ })
		}
		early.Unref()
		require.NoError(t, early.Bind("", nil))
		s.Unref()
		run(t, l)
		assert.Equal(t, 2, closes, "Run closes unreferenced sockets")
	})
}

func TestServeEnds(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ctx, cancel := context.WithCancel(context.Background())
		s := bound(t, l, dgram.SocketOptions{})
		emitted := false
		s.On.Listening(cancel)
		s.On.Close(func() {
			emitted = true
			late := open(t, l, dgram.SocketOptions{})
			require.ErrorIs(t, late.Bind("127.0.0.1:0", nil), evnet.ErrLoopStopped)
			_, err := dgram.Wrap(peer(t), &dgram.SocketOptions{Loop: l})
			require.ErrorIs(t, err, evnet.ErrLoopStopped)
		})
		require.ErrorIs(t, l.Serve(ctx), context.Canceled)
		assert.True(t, emitted)
	})
}
