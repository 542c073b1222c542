//go:build unix

package server_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// descriptor returns the number of a descriptor as a program inherits it from a parent or a service
// manager.
func descriptor(t testing.TB, of interface{ File() (*os.File, error) }) uintptr {
	f, err := of.File()
	require.NoError(t, err)
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	require.NoError(t, err)
	return uintptr(fd)
}

// listener makes a listener of an inherited descriptor, as a program does.
func listener(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "handed in")
	defer f.Close()
	return net.FileListener(f)
}

func TestServeDescriptor(t *testing.T) {
	path := evtest.SocketPath(t)
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		t.Run(network, func(t *testing.T) {
			ln, err := net.Listen(network, address)
			require.NoError(t, err)
			address := ln.Addr().String()
			fd := descriptor(t, ln.(interface{ File() (*os.File, error) }))
			if u, ok := ln.(*net.UnixListener); ok {
				u.SetUnlinkOnClose(false)
			}
			require.NoError(t, ln.Close())

			l := evnet.NewLoop()
			s := kit.Greeter(l, "here", nil)
			ln, err = listener(fd)
			require.NoError(t, err)
			require.NoError(t, s.Serve(ln))
			assert.Equal(t, network, s.Address().Network())
			assert.Equal(t, address, s.Address().String())
			received := ""
			c := kit.NewClient(l)
			c.On.Data(func(p []byte) { received += string(p) })
			c.On.Close(func(bool) { require.NoError(t, s.Close(nil)) })
			c.Connect(network, address)
			kit.Run(t, l)
			assert.Equal(t, "here", received)
			if network == "unix" {
				assert.FileExists(t, path, "the creator of the file removes it")
			}
		})
	}
}

func TestServeJunkDescriptor(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	in, out, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	defer out.Close()
	for name, fd := range map[string]uintptr{"file": file.Fd(), "pipe": in.Fd()} {
		dup, err := syscall.Dup(int(fd))
		require.NoError(t, err)
		_, err = listener(uintptr(dup))
		assert.ErrorIs(t, err, syscall.ENOTSOCK, name)
	}
	_, err = listener(1 << 20)
	assert.ErrorIs(t, err, syscall.EBADF)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	_, err = listener(descriptor(t, udp.(*net.UDPConn)))
	assert.ErrorIs(t, err, syscall.EINVAL)
}

// Serve refuses a stream socket that does not listen immediately, not at every accept.
func TestServeSocketThatDoesNotListen(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer syscall.Close(pair[1])
	plain, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	path := evtest.SocketPath(t)
	bound, err := syscall.Dup(bind(t, path))
	require.NoError(t, err)
	for name, fd := range map[string]int{"connected": pair[0], "fresh": plain, "bound": bound} {
		f := os.NewFile(uintptr(fd), name)
		ln, err := net.FileListener(f)
		require.NoError(t, err)
		l := evnet.NewLoop()
		s := kit.Greeter(l, "", nil)
		s.On.Error(func(err error) { t.Error(name, err) })
		err = s.Serve(ln)
		assert.ErrorIs(t, err, syscall.EINVAL, name)
		assert.Equal(t, "EINVAL", evnet.Code(err), name)
		assert.ErrorContains(t, err, "does not listen", name)
		assert.False(t, s.Listening())
		kit.Run(t, l)
		require.NoError(t, f.Close())
		if ln.Addr().String() != "" { // net's own Close panics without an address
			require.NoError(t, ln.Close())
		}
	}
	assert.FileExists(t, path)
}

func TestWrapDescriptor(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	l := evnet.NewLoop()
	var ends []*evnet.Socket
	for _, fd := range pair {
		f := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		ends = append(ends, evnet.Wrap(conn, &evnet.SocketOptions{Loop: l}))
	}
	received := ""
	ends[0].On.Data(func(p []byte) { received += string(p) })
	ends[1].Pipe(ends[1])
	_, err = ends[0].WriteString("echo")
	require.NoError(t, err)
	ends[0].End()
	kit.Run(t, l)
	assert.Equal(t, "echo", received)
}
