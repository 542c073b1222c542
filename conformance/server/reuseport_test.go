package server_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReusePort(t *testing.T) {
	l := evnet.NewLoop()
	var servers []*evnet.Server
	accepted := make([]int, 2)
	total := 0
	address := "127.0.0.1:0"
	for i := range accepted {
		s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, ReusePort: true})
		s.On.Connection(func(c *evnet.Socket) {
			accepted[i]++
			total++
			c.End()
			if accepted[0] > 0 && accepted[1] > 0 || total == 200 {
				for _, s := range servers {
					_ = s.Close(nil)
				}
			}
		})
		err := s.Listen("tcp", address, nil)
		if errors.Is(err, errors.ErrUnsupported) {
			assert.Equal(t, "ENOTSUP", evnet.Code(err))
			assert.False(t, s.Listening())
			t.Skip("no SO_REUSEPORT here")
		}
		require.NoError(t, err)
		address = s.Address().String()
		servers = append(servers, s)
	}
	err := greeterless(l).Listen("tcp", address, nil)
	assert.Equal(t, "EADDRINUSE", evnet.Code(err), "ReusePort was not set: %v", err)

	var again func()
	again = func() {
		if !servers[0].Listening() {
			return
		}
		c := kit.NewClient(l)
		c.Resume()
		c.On.Error(func(error) {})
		c.On.Close(func(bool) { again() })
		c.Connect("tcp", address)
	}
	again()
	kit.Run(t, l)
	if evtest.OnLinux {
		assert.NotZero(t, accepted[0])
		assert.NotZero(t, accepted[1])
	}
}

func greeterless(l *evnet.Loop) *evnet.Server {
	return evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
}

// ReusePort must be set by the first server too.
func TestReusePort_NotRequested(t *testing.T) {
	l := evnet.NewLoop()
	first, address := kit.Serve(t, l, nil, nil)
	for _, share := range []bool{false, true} {
		s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, ReusePort: share})
		err := s.Listen("tcp", address, nil)
		if !errors.Is(err, errors.ErrUnsupported) {
			assert.Equal(t, "EADDRINUSE", evnet.Code(err), "%v", err)
		}
	}
	require.NoError(t, first.Close(nil))
	kit.Run(t, l)
}

// reached reports whether a server that listens at network, address accepts IPv4 and IPv6 connections.
func reached(t *testing.T, network, address string) (v4, v6 bool) {
	l := evnet.NewLoop()
	s := greeterless(l)
	s.On.Connection(func(c *evnet.Socket) { c.End() })
	if err := s.Listen(network, address, nil); err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	_, port, err := net.SplitHostPort(s.Address().String())
	require.NoError(t, err)
	open := 2
	for host, got := range map[string]*bool{"127.0.0.1": &v4, "::1": &v6} {
		c := kit.NewClient(l)
		c.Resume()
		c.On.Connect(func() { *got = true })
		c.On.Error(func(err error) { assert.Equal(t, "ECONNREFUSED", evnet.Code(err), "%v", err) })
		c.On.Close(func(bool) {
			if open--; open == 0 {
				require.NoError(t, s.Close(nil))
			}
		})
		c.Connect("tcp", net.JoinHostPort(host, port))
	}
	kit.Run(t, l)
	return v4, v6
}

func TestServerFamilies(t *testing.T) {
	if fd, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		_ = fd.Close()
	}
	for _, c := range []struct {
		network, address string
		v4, v6           bool
	}{
		{"tcp", ":0", true, true}, // dual stack, as in Node
		{"tcp", "[::]:0", true, true},
		{"tcp6", "[::]:0", false, true}, // Node: ipv6Only
		{"tcp6", ":0", false, true},
		{"tcp4", ":0", true, false},
	} {
		v4, v6 := reached(t, c.network, c.address)
		assert.Equal(t, c.v4, v4, "%v over IPv4", c)
		assert.Equal(t, c.v6, v6, "%v over IPv6", c)
	}
}

// The port of a tcp6 server is free for a tcp4 one.
func TestServerTCP6LeavesIPv4Free(t *testing.T) {
	l := evnet.NewLoop()
	six, four := greeterless(l), greeterless(l)
	if err := six.Listen("tcp6", "[::]:0", nil); err != nil {
		t.Skip("no IPv6 here")
	}
	_, port, _ := net.SplitHostPort(six.Address().String())
	assert.NotErrorIs(t, four.Listen("tcp4", "0.0.0.0:"+port, nil), syscall.EADDRINUSE)
	_ = six.Close(nil)
	_ = four.Close(nil)
	kit.Run(t, l)
}
