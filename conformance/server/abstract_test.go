//go:build unix

package server_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAbstractName(t *testing.T) {
	if !evtest.OnLinux {
		t.Skip("only Linux has abstract names")
	}
	dir := evtest.SocketDir(t)
	t.Chdir(dir)
	for _, first := range []string{"@", "\x00"} {
		l := evnet.NewLoop()
		name := fmt.Sprintf("evnet test %d", os.Getpid())
		s := kit.Greeter(l, "here", nil)
		require.NoError(t, s.Listen("unix", first+name, nil))
		assert.Equal(t, "@"+name, s.Address().String())
		for _, second := range []string{"@", "\x00"} {
			requireInUse(t, kit.Greeter(l, "", nil).Listen("unix", second+name, nil), second+name)
		}
		assert.Empty(t, evtest.FileNames(t, dir), "no file")
		assert.Equal(t, "here", greeting(t, l, first+name, s))

		require.NoError(t, s.Listen("unix", first+name, nil), "the name is free again")
		require.NoError(t, s.Close(nil))
		kit.Run(t, l)

		room := len(syscall.RawSockaddrUnix{}.Path)
		require.NoError(t, s.Listen("unix", first+strings.Repeat("x", room-1), nil), "no NUL at its end")
		require.NoError(t, s.Close(nil))
		kit.Run(t, l)
		err := s.Listen("unix", first+strings.Repeat("x", room), nil)
		assert.ErrorIs(t, err, syscall.EINVAL)
		assert.ErrorContains(t, err, fmt.Sprintf("%d bytes, %d fit", room+1, room))

		modes := kit.Greeter(l, "", &evnet.ServerOptions{SocketMode: 0o600})
		err = modes.Listen("unix", first+name, nil)
		assert.Equal(t, "ERR_INVALID_ARG_VALUE", evnet.Code(err), "%v", err)
		assert.False(t, modes.Listening())
	}
}

func TestAbstractNameElsewhere(t *testing.T) {
	if evtest.OnLinux {
		t.Skip("Linux has abstract names")
	}
	l := evnet.NewLoop()
	for _, name := range []string{"@evnet", "\x00evnet"} {
		assert.ErrorIs(t, kit.Greeter(l, "", nil).Listen("unix", name, nil), errors.ErrUnsupported)
		c := kit.NewClient(l)
		c.On.Error(func(err error) { assert.ErrorIs(t, err, errors.ErrUnsupported) })
		c.Connect("unix", name)
		kit.Run(t, l)
		assert.Error(t, c.Err())
	}
}
