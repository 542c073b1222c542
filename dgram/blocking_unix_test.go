//go:build unix

package dgram_test

import (
	"net/netip"
	"syscall"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Another holder of the descriptor may make it blocking.
func TestClose_ReturnsOnABlockingDescriptor(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		there := peer(t)
		received := 0
		s := bound(t, l, dgram.SocketOptions{})
		s.On.Message(func(_ []byte, from netip.AddrPort) {
			switch received++; received {
			case 1:
				raw, err := s.Conn().(syscall.Conn).SyscallConn()
				require.NoError(t, err)
				require.NoError(t, raw.Control(func(fd uintptr) { require.NoError(t, syscall.SetNonblock(int(fd), false)) }))
				require.NoError(t, s.SendTo([]byte("answer"), from, nil))
			case 2:
				turns := 0
				var next func()
				next = func() { // later, when a goroutine would read in the kernel
					if turns++; turns < 200 {
						l.AfterFunc(0, next)
					} else {
						assert.NoError(t, s.Close(nil))
					}
				}
				next()
			}
		})
		_, err := there.WriteToUDPAddrPort([]byte("1"), s.Address())
		require.NoError(t, err)
		go func() {
			p := make([]byte, 16)
			n, _, err := there.ReadFromUDPAddrPort(p)
			assert.NoError(t, err)
			assert.Equal(t, "answer", string(p[:n]))
			_, _ = there.WriteToUDPAddrPort([]byte("2"), s.Address())
		}()
		run(t, l)
		assert.Equal(t, 2, received)
	})
}
