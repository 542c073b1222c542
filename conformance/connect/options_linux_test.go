package connect_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// option reads a socket option back from the kernel.
func option(t *testing.T, s *evnet.Socket, level, name int) int {
	t.Helper()
	raw, err := s.Conn().(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	var value int
	require.NoError(t, raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, err)
	return value
}

func noDelay(t *testing.T, s *evnet.Socket) bool {
	return option(t, s, syscall.IPPROTO_TCP, syscall.TCP_NODELAY) != 0
}

// keepAlive returns the idle time and the interval; both are 0 if keep-alive is off.
func keepAlive(t *testing.T, s *evnet.Socket) (idle, interval time.Duration) {
	if option(t, s, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 {
		return 0, 0
	}
	return time.Duration(option(t, s, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)) * time.Second,
		time.Duration(option(t, s, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)) * time.Second
}

// Go itself sets TCP_NODELAY before NoDelay could. Only a conn without it shows the effect of the option.
func TestOptionsNoDelay(t *testing.T) {
	for _, on := range []bool{false, true} {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		defer there.Close()
		require.NoError(t, here.SetNoDelay(false))
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, NoDelay: on})
		assert.Equal(t, on, noDelay(t, s))
		require.NoError(t, s.SetNoDelay(!on))
		assert.Equal(t, !on, noDelay(t, s))
		s.Destroy(nil)
		kit.Run(t, l)
	}
	l := evnet.NewLoop()
	c := kit.NewClient(l)
	require.NoError(t, c.SetNoDelay(false)) // remembered until there is a connection
	server, addr := kit.Serve(t, l, &evnet.ServerOptions{NoDelay: true}, nil)
	server.On.Connection(func(a *evnet.Socket) {
		assert.True(t, noDelay(t, a))
		_ = server.Close(nil)
		a.End()
	})
	c.On.Connect(func() { assert.False(t, noDelay(t, c)) })
	c.Resume()
	c.Connect("tcp", addr)
	kit.Run(t, l)
}

func TestOptionsKeepAlive(t *testing.T) {
	type times [2]time.Duration
	standard := times{15 * time.Second, 15 * time.Second}
	for name, c := range map[string]struct {
		of     time.Duration
		dialer time.Duration
		set    func(*evnet.Socket)
		want   times
	}{
		"default":                       {want: standard},
		"dialer's":                      {dialer: 40 * time.Second, want: times{40 * time.Second, 15 * time.Second}},
		"positive":                      {of: 30 * time.Second, want: times{30 * time.Second, 30 * time.Second}},
		"negative":                      {of: -1, want: times{}},
		"set on":                        {of: -1, set: func(s *evnet.Socket) { _ = s.SetKeepAlive(true, 20*time.Second) }, want: times{20 * time.Second, 20 * time.Second}},
		"set off":                       {of: 30 * time.Second, set: func(s *evnet.Socket) { _ = s.SetKeepAlive(false, time.Second) }, want: times{}},
		"set on where the dialer's off": {dialer: -1, set: func(s *evnet.Socket) { _ = s.SetKeepAlive(true, 30*time.Second) }, want: times{30 * time.Second, 30 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []bool{true, false} { // set before or after the connection is made
				l := evnet.NewLoop()
				server, addr := kit.Serve(t, l, &evnet.ServerOptions{KeepAlive: c.of}, nil)
				s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, KeepAlive: c.of, Dialer: &net.Dialer{KeepAlive: c.dialer}})
				if c.set != nil && before {
					c.set(s)
				}
				server.On.Connection(func(a *evnet.Socket) {
					_ = server.Close(nil)
					if c.dialer == 0 {
						if c.set != nil {
							c.set(a)
						}
						idle, interval := keepAlive(t, a)
						assert.Equal(t, c.want, times{idle, interval}, "accepted")
					}
					a.End()
				})
				s.On.Connect(func() {
					if c.set != nil && !before {
						c.set(s)
					}
					idle, interval := keepAlive(t, s)
					assert.Equal(t, c.want, times{idle, interval})
				})
				s.Resume()
				s.Connect("tcp", addr)
				kit.Run(t, l)
			}
		})
	}
}

// A request for keep-alive without times is remembered too.
func TestOptionsKeepAliveOnWithoutTimes(t *testing.T) {
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: &net.Dialer{KeepAlive: -1}})
	require.NoError(t, s.SetKeepAlive(true, 0))
	server, addr := kit.Serve(t, l, nil, nil)
	server.On.Connection(func(a *evnet.Socket) { _ = server.Close(nil); a.End() })
	s.On.Connect(func() {
		assert.Equal(t, 1, option(t, s, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
	})
	s.Resume()
	s.Connect("tcp", addr)
	kit.Run(t, l)
}
