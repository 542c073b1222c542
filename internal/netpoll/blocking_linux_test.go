package netpoll_test

import (
	"os"
	"syscall"
	"testing"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// block clears O_NONBLOCK of a descriptor, as another process that has it may do.
func block(t *testing.T, r syscall.RawConn) {
	require.NoError(t, r.Control(func(fd uintptr) { require.NoError(t, syscall.SetNonblock(int(fd), false)) }))
}

func TestRead_DoesNotBlockWithoutNonblock(t *testing.T) {
	bounded(t)
	here, _ := pair(t)
	r := raw(t, here)
	block(t, r)
	n, ended, err := netpoll.NewCall().Read(r, make([]byte, 4))
	assert.Zero(t, n)
	assert.False(t, ended)
	assert.NoError(t, err)
}

func TestWrite_DoesNotBlockWithoutNonblock(t *testing.T) {
	bounded(t)
	for name, slices := range map[string]int{"one slice": 1, "several slices": 3} {
		t.Run(name, func(t *testing.T) {
			here, _ := pair(t)
			r, c := raw(t, here), netpoll.NewCall()
			block(t, r)
			for n := 1; n > 0; { // until the socket is full
				for range slices {
					c.Add(make([]byte, 64<<10))
				}
				var err error
				n, err = c.Write(r)
				require.NoError(t, err)
			}
		})
	}
}

func TestSplice_RefusesASocketWithoutNonblock(t *testing.T) {
	bounded(t)
	here, there := pair(t)
	r, c := raw(t, here), netpoll.NewCall()
	pipe, err := netpoll.NewSplicePipe()
	require.NoError(t, err)
	defer pipe.Close()
	_, err = there.Write([]byte("data"))
	require.NoError(t, err)
	n, err := c.Fill(r, pipe)
	require.NoError(t, err)
	require.Equal(t, 4, n)

	block(t, r)
	n, err = c.Drain(r, pipe)
	assert.Zero(t, n)
	assert.Equal(t, syscall.EINVAL, err)
	assert.Equal(t, "data", string(pipe.ReadAll()))
	n, err = c.Fill(r, pipe) // there is no data
	assert.Zero(t, n)
	assert.Equal(t, syscall.EINVAL, err)

	file, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer file.Close()
	fileRaw, err := file.SyscallConn()
	require.NoError(t, err)
	n, ended, err := c.SendFile(r, fileRaw, 1<<20)
	assert.Zero(t, n)
	assert.False(t, ended)
	assert.Equal(t, syscall.EINVAL, err)
}
