//go:build unix

package connect_test

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

func TestUnixConnectErrors(t *testing.T) {
	dir := evtest.SocketDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("file"), nil, 0o600))
	require.NoError(t, os.Mkdir(in("dir"), 0o700))
	evtest.LeaveStale(t, in("stale"))
	for name, want := range map[string]error{
		"missing": syscall.ENOENT, "missing/s": syscall.ENOENT,
		"stale": syscall.ECONNREFUSED, "file": syscall.ECONNREFUSED, "dir": syscall.ECONNREFUSED,
	} {
		if !evtest.OnLinux && (name == "file" || name == "dir") {
			continue // the errors differ on other systems
		}
		l := evnet.NewLoop()
		c := kit.NewClient(l)
		var got kit.Notes
		kit.NoteEvents(c, &got)
		c.Connect("unix", in(name))
		kit.Run(t, l)
		assert.ErrorIs(t, c.Err(), want, name)
		assert.ErrorContains(t, c.Err(), in(name))
		var op *net.OpError
		require.ErrorAs(t, c.Err(), &op)
		assert.Equal(t, "dial", op.Op)
		assert.Equal(t, kit.Notes{"error " + evnet.Code(want), "close true"}, got[len(got)-2:])
	}
	assert.ElementsMatch(t, []string{"file", "dir", "stale"}, evtest.FileNames(t, dir), "connecting removes nothing")
}

// TCP options are ignored for a path, as in Node.
func TestUnixConnectIgnoresTheLocalAddressOfTCP(t *testing.T) {
	l := evnet.NewLoop()
	path := evtest.SocketPath(t)
	s := kit.Greeter(l, "here", nil)
	require.NoError(t, s.Listen("unix", path, nil))
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	dialer := &net.Dialer{LocalAddr: local}
	c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dialer: dialer})
	received := ""
	c.On.Data(func(p []byte) { received += string(p) })
	c.On.Error(func(err error) { assert.NoError(t, err) })
	c.On.Close(func(bool) { require.NoError(t, s.Close(nil)) })
	c.Connect("unix", path)
	kit.Run(t, l)
	assert.Equal(t, "here", received)
	assert.Same(t, local, dialer.LocalAddr, "the caller's Dialer is not modified")
}
