package dgram

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Tests of the batch transport.

func batched(t *testing.T) {
	was := netpoll.Enabled
	netpoll.Enabled = true
	t.Cleanup(func() { netpoll.Enabled = was })
}

func opened(t *testing.T, l *evnet.Loop) (*Socket, *batchTransport) {
	s, err := NewSocket(&SocketOptions{Network: "udp4", Loop: l})
	require.NoError(t, err)
	require.NoError(t, s.Bind("127.0.0.1:0", nil))
	b, ok := s.tr.(*batchTransport)
	require.True(t, ok)
	return s, b
}

// Messages that one callback sends are sent in batches, and waiting messages are received in batches.
func TestBatches(t *testing.T) {
	batched(t)
	l := evnet.NewLoop()
	s, b := opened(t, l)
	sizes := map[int]bool{}
	got := 0
	s.On.Message(func([]byte, netip.AddrPort) {
		sizes[b.in.n] = true
		if got++; got == 3*batchSize {
			_ = s.Close(nil)
		}
	})
	l.Post(func() {
		for range 3 * batchSize {
			require.NoError(t, s.SendTo([]byte("x"), s.Address(), nil))
			assert.Less(t, s.out.len(), batchSize, "a full batch is sent immediately")
		}
	})
	l.Run()
	assert.Equal(t, map[int]bool{batchSize: true}, sizes)
}

// narrow runs the test in a process with its own network namespace, whose loopback interface has a limited rate:
// otherwise it accepts all messages without blocking. narrow reports whether this is that process.
func narrow(t *testing.T) bool {
	if os.Getenv("DGRAM_NARROW") != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may create a network namespace")
	}
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	child := exec.Command("sh", "-c", `ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate 20mbit burst 8kb limit 1mb || exit 77
exec "$0" "$@"`, os.Args[0], "-test.v", "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "DGRAM_NARROW=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := child.CombinedOutput()
	if err != nil && (child.ProcessState == nil || child.ProcessState.ExitCode() == 77) {
		t.Skipf("this kernel cannot create such a network: %v: %s", err, out)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// If the kernel has no room, both transports wait without losing messages: the loop for the descriptor, or a goroutine.
func TestBlocked(t *testing.T) {
	if !narrow(t) {
		return
	}
	for _, wanted := range []bool{true, false} {
		batched(t)
		netpoll.Enabled = wanted
		l := evnet.NewLoop()
		s, err := NewSocket(&SocketOptions{Network: "udp4", Loop: l, WriteBuffer: 4608, ReadBuffer: 1 << 20})
		require.NoError(t, err)
		require.NoError(t, s.Bind("127.0.0.1:0", nil))
		receiver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		require.NoError(t, receiver.SetReadBuffer(1<<20))
		require.NoError(t, receiver.SetReadDeadline(time.Now().Add(time.Minute)))
		const count = 300
		reported, most := 0, 0
		for i := range count {
			msg := make([]byte, 1000)
			msg[0], msg[1] = byte(i), byte(i>>8)
			require.NoError(t, s.SendTo(msg, receiver.LocalAddr().(*net.UDPAddr).AddrPort(), func(err error) {
				assert.NoError(t, err)
				if b, ok := s.tr.(*batchTransport); ok && b.blocked {
					most = max(most, s.SendQueueCount())
				}
				if reported++; reported == count {
					_ = s.Close(nil)
				}
			}))
		}
		l.Run()
		assert.Equal(t, count, reported)
		seen := map[int]bool{} // the network may reorder them
		for msg := make([]byte, 2000); len(seen) < count; {
			n, err := receiver.Read(msg)
			require.NoError(t, err)
			require.Equal(t, 1000, n)
			seen[int(msg[0])|int(msg[1])<<8] = true
		}
		require.NoError(t, receiver.Close())
		assert.Equal(t, wanted, most > count/2, "most of them waited: %d", most)
	}
}

// Messages that the kernel has not accepted before Close are reported to their callbacks.
func TestBlockedAtClose(t *testing.T) {
	if !narrow(t) {
		return
	}
	batched(t)
	l := evnet.NewLoop()
	s, _ := opened(t, l)
	require.NoError(t, s.SetWriteBuffer(4608))
	left, dropped := 0, 0
	for range 100 {
		require.NoError(t, s.SendTo(make([]byte, 1000), s.Address(), func(err error) {
			if err == nil {
				left++
				return
			}
			dropped++
			require.ErrorIs(t, err, ErrNotRunning)
		}))
	}
	require.NoError(t, s.Close(nil))
	l.Run()
	assert.Equal(t, 100, left+dropped)
	assert.NotZero(t, left)
	assert.NotZero(t, dropped)
}

// An error that stays in the error queue neither keeps the loop busy nor prevents messages from being received.
func TestErrorQueue(t *testing.T) {
	batched(t)
	l := evnet.NewLoop()
	s, b := opened(t, l)
	require.NoError(t, s.setInt("IP_RECVERR", syscall.IPPROTO_IP, syscall.IP_RECVERR, 1))
	other, _ := opened(t, l)
	dead := other.Address()
	require.NoError(t, other.Close(nil))
	reported := 0
	s.On.Error(func(err error) {
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		reported++
	})
	got := 0
	s.On.Message(func([]byte, netip.AddrPort) {
		if got++; got < 3*batchSize {
			return
		}
		_ = s.Close(nil)
	})
	counting := &countingConn{RawConn: b.raw}
	b.raw = counting
	send := func() {
		assert.Less(t, counting.calls, 20, "the loop was idle meanwhile")
		for range 3 * batchSize {
			require.NoError(t, s.SendTo([]byte("x"), s.Address(), nil))
		}
	}
	var wait func()
	wait = func() {
		s.mu.Lock()
		once := b.once
		s.mu.Unlock()
		if !once { // the loop has not detected yet that the error stays
			l.AfterFunc(0, wait)
			return
		}
		counting.calls = 0
		l.AfterFunc(20*time.Millisecond, send)
	}
	require.NoError(t, s.SendTo([]byte("x"), dead, func(error) { wait() }))
	l.Run()
	assert.Equal(t, 3*batchSize, got)
	assert.Equal(t, 1, reported)
}

// countingConn counts the system calls.
type countingConn struct {
	syscall.RawConn
	calls int
}

func (c *countingConn) Control(fn func(uintptr)) error {
	c.calls++
	return c.RawConn.Control(fn)
}

// The queue uses at most twice the memory of the pending messages, and releases a large buffer when it is empty.
func TestOutboxMemory(t *testing.T) {
	var o outbox
	for i := range 1000 {
		o.put(make([]byte, 10000), nil, netip.AddrPort{}, nil)
		if i%2 == 1 {
			o.take()
			o.compact()
		}
		waiting := o.len() * 10000
		assert.LessOrEqual(t, len(o.arena), 2*waiting+20000)
		assert.Equal(t, 10000, len(o.message(o.list[o.head])))
	}
	for o.len() > 0 {
		o.take()
	}
	assert.Zero(t, cap(o.arena))
}
