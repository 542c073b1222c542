package dgram

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Tests of messages that are queued in a transport when the socket is disconnected. Without help that is rare.

// leaving connects a socket to a peer, sends three messages, which hold blocks in the transport, and disconnects it. If
// again is true, it then connects the socket to another peer. held waits until the messages are blocked, and release
// unblocks them.
func leaving(t *testing.T, again bool, hold func(s *Socket) (held, release func())) {
	l := evnet.NewLoop()
	s, err := NewSocket(&SocketOptions{Network: "udp4", Loop: l})
	require.NoError(t, err)
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	read := func(c *net.UDPConn) string {
		p := make([]byte, 100)
		n, err := c.Read(p)
		require.NoError(t, err)
		return string(p[:n])
	}
	a, b := listen(), listen()
	var reported []string
	send := func(msg string) {
		require.NoError(t, s.Send([]byte(msg), "", func(err error) {
			assert.NoError(t, err, msg)
			if reported = append(reported, msg); len(reported) == 4 || len(reported) == 3 && !again {
				_ = s.Close(nil)
			}
		}))
	}
	require.NoError(t, s.Connect(a.LocalAddr().String(), func(err error) {
		require.NoError(t, err)
		held, release := hold(s)
		for i := range 3 {
			send(fmt.Sprint(i))
		}
		s.flush()
		held()
		require.NoError(t, s.Disconnect())
		if !again {
			release()
			return
		}
		require.NoError(t, s.Connect(b.LocalAddr().String(), func(err error) {
			require.NoError(t, err)
			send("for b")
			release()
		}))
	}))
	l.Run()
	want := []string{"0", "1", "2"}
	for _, msg := range want {
		assert.Equal(t, msg, read(a))
	}
	if again {
		want = append(want, "for b")
		assert.Equal(t, "for b", read(b))
	}
	assert.Equal(t, want, reported)
}

func TestDisconnectWhileBlocked(t *testing.T) {
	batched(t)
	for _, again := range []bool{false, true} {
		leaving(t, again, func(s *Socket) (held, release func()) {
			s.mu.Lock()
			defer s.mu.Unlock()
			b := s.tr.(*batchTransport)
			b.blocked = true
			held = func() { assert.Equal(t, 3, s.SendQueueCount()) }
			release = func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				b.armLocked() // and there is room
			}
			return held, release
		})
	}
}

func TestDisconnectWhileWriting(t *testing.T) {
	batched(t)
	netpoll.Enabled = false
	for _, again := range []bool{false, true} {
		leaving(t, again, func(s *Socket) (held, release func()) {
			p := s.tr.(*plainTransport)
			g := &gate{p.raw, make(chan struct{}, 1), make(chan struct{})}
			p.raw = g
			return func() { <-g.entered }, func() { close(g.open) }
		})
	}
}

// gate is a descriptor whose writes wait until it is open.
type gate struct {
	syscall.RawConn
	entered, open chan struct{}
}

func (g *gate) Write(fn func(uintptr) bool) error {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	return g.RawConn.Write(fn)
}
