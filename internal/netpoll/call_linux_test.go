package netpoll_test

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	bounded(t)
	here, there := pair(t)
	r, c, p := raw(t, here), netpoll.NewCall(), make([]byte, 4)
	n, ended, err := c.Read(r, p)
	assert.Zero(t, n)
	assert.False(t, ended, "no data is not the end")
	assert.NoError(t, err)
	_, err = there.Write([]byte("abcdef"))
	require.NoError(t, err)
	for _, want := range []string{"abcd", "ef"} {
		n, ended, err = c.Peek(r)
		assert.Equal(t, 1, n)
		assert.False(t, ended)
		assert.NoError(t, err)
		n, ended, err = c.Read(r, p)
		assert.Equal(t, want, string(p[:n]))
		assert.False(t, ended)
		assert.NoError(t, err)
	}
	n, ended, err = c.Peek(r)
	assert.Zero(t, n)
	assert.False(t, ended)
	assert.NoError(t, err)
	require.NoError(t, there.CloseWrite())
	for _, read := range []func() (int, bool, error){
		func() (int, bool, error) { return c.Peek(r) },
		func() (int, bool, error) { return c.Read(r, p) },
	} {
		n, ended, err = read()
		assert.Zero(t, n)
		assert.True(t, ended)
		assert.NoError(t, err)
	}
}

func TestRead_Reset(t *testing.T) {
	bounded(t)
	for name, read := range map[string]func(*netpoll.Call, syscall.RawConn) (int, bool, error){
		"peek": (*netpoll.Call).Peek,
		"read": func(c *netpoll.Call, r syscall.RawConn) (int, bool, error) { return c.Read(r, make([]byte, 4)) },
	} {
		t.Run(name, func(t *testing.T) {
			here, there := pair(t)
			_, err := here.Write([]byte("unread"))
			require.NoError(t, err)
			require.NoError(t, there.Close())
			n, ended, err := read(netpoll.NewCall(), raw(t, here))
			assert.Zero(t, n)
			assert.False(t, ended)
			assert.Equal(t, syscall.ECONNRESET, err)
		})
	}
}

func TestWrite_OneSlice(t *testing.T) {
	bounded(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	c.Add([]byte("one"))
	n, err := c.Write(raw(t, here))
	assert.Equal(t, 3, n)
	assert.NoError(t, err)
	got := make([]byte, 3)
	_, err = io.ReadFull(there, got)
	require.NoError(t, err)
	assert.Equal(t, "one", string(got))
}

// Write writes all added slices in order; the next Write starts without any.
func TestWrite_ManySlices(t *testing.T) {
	bounded(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	next := byte(0)
	for range 3 {
		slices := 0
		for ; c.HasRoom(); slices++ {
			c.Add(bytes.Repeat([]byte{next}, 1+int(next)%7))
			next++
		}
		assert.Equal(t, 64, slices)
		_, err := c.Write(raw(t, here))
		require.NoError(t, err)
	}
	var want []byte
	for i := range next {
		want = append(want, bytes.Repeat([]byte{i}, 1+int(i)%7)...)
	}
	got := make([]byte, len(want))
	_, err := io.ReadFull(there, got)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestWrite_UntilFull(t *testing.T) {
	bounded(t)
	for name, slices := range map[string]int{"one": 1, "many": 10} {
		t.Run(name, func(t *testing.T) {
			here, there := pair(t)
			c, r := netpoll.NewCall(), raw(t, here)
			var want []byte
			slice := make([]byte, 300011)
			partial := false
			for {
				for i := range slices {
					slice := bytes.Clone(slice)
					slice[0] = byte(i)
					c.Add(slice)
				}
				n, err := c.Write(r)
				require.NoError(t, err)
				if n == 0 {
					break // EAGAIN is not an error
				}
				for i := range slices {
					k := min(n, len(slice))
					if n -= k; k > 0 {
						want = append(want, byte(i))
						want = append(want, make([]byte, k-1)...)
					}
					partial = partial || 0 < k && k < len(slice)
				}
			}
			assert.True(t, partial, "the last accepted slice was a part")
			require.NoError(t, here.CloseWrite())
			got, err := io.ReadAll(there)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got))
		})
	}
}

func TestWrite_Error(t *testing.T) {
	for name, slices := range map[string]int{"one": 1, "many": 3} {
		t.Run(name, func(t *testing.T) {
			here, there := pair(t)
			require.NoError(t, there.Close())
			c := netpoll.NewCall()
			for range slices {
				c.Add([]byte("x"))
			}
			n, err := c.Write(raw(t, here))
			assert.Zero(t, n)
			assert.Equal(t, syscall.EPIPE, err)
			for range 64 {
				require.True(t, c.HasRoom(), "the failed slices are removed")
				c.Add([]byte("x"))
			}
		})
	}
}

// Calls on a closed conn fail, even if another conn has reused the number of its descriptor.
func TestCall_ClosedConn(t *testing.T) {
	p := newPoller(t)
	here, _ := pair(t)
	r, c := raw(t, here), netpoll.NewCall()
	require.NoError(t, here.Close())
	other, peer := pair(t) // reuses the number
	_, err := peer.Write([]byte("of the other"))
	require.NoError(t, err)

	n, ended, err := c.Read(r, make([]byte, 10))
	assert.Zero(t, n)
	assert.False(t, ended)
	assert.ErrorIs(t, err, net.ErrClosed)
	n, ended, err = c.Peek(r)
	assert.Zero(t, n)
	assert.False(t, ended)
	assert.ErrorIs(t, err, net.ErrClosed)
	for slices := range 2 {
		for range slices + 1 {
			c.Add([]byte("x"))
		}
		n, err = c.Write(r)
		assert.Zero(t, n)
		assert.ErrorIs(t, err, net.ErrClosed)
	}
	assert.ErrorIs(t, c.Watch(r, p, false, 1, netpoll.Readable), net.ErrClosed)
	require.NoError(t, c.Watch(raw(t, other), p, false, 1, netpoll.Readable))
	c.Unwatch(r, p)
	assert.Equal(t, 1, p.Poll(), "the other conn is still watched")
}
