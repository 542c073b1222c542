package dial

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func listen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestRace_DialsWithTheDialer(t *testing.T) {
	ln := listen(t)
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	var called []string
	control := func(network, address string, _ syscall.RawConn) error {
		called = append(called, network+" "+address)
		return nil
	}
	dialer := &net.Dialer{LocalAddr: local, Control: control}
	o := play(t, Config{Network: "tcp", Address: ln.Addr().String(), Dialer: dialer})
	require.NotNil(t, o.conn)
	assert.Equal(t, ln.Addr().String(), o.conn.RemoteAddr().String())
	assert.Equal(t, "127.0.0.1", o.conn.LocalAddr().(*net.TCPAddr).IP.String())
	assert.Equal(t, []string{"tcp4 " + ln.Addr().String()}, called)
	assert.Same(t, local, dialer.LocalAddr)
	assert.Nil(t, dialer.ControlContext, "the Dialer is the caller's")

	// ControlContext takes precedence, as in package net.
	called = nil
	dialer.ControlContext = func(_ context.Context, network, address string, raw syscall.RawConn) error {
		assert.NoError(t, control("context "+network, address, raw))
		return errRefused
	}
	o = play(t, Config{Network: "tcp", Address: ln.Addr().String(), Dialer: dialer})
	assert.Equal(t, []string{"context tcp4 " + ln.Addr().String()}, called)
	require.Len(t, o.errs, 1)
	assert.ErrorIs(t, o.errs[0], errRefused)
}

func TestRace_IgnoresALocalTCPAddressForAPath(t *testing.T) {
	o := play(t, Config{Network: "unix", Address: "/nowhere/at/all", Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{}}})
	require.Len(t, o.errs, 1)
	assert.NotErrorAs(t, o.errs[0], new(*net.AddrError), "package net refuses the address")
}

func TestRace_ContainsControl(t *testing.T) {
	ln := listen(t)
	for text, control := range map[string]func(string, string, syscall.RawConn) error{
		"panic: at the dialer":      func(string, string, syscall.RawConn) error { panic("at the dialer") },
		"runtime.Goexit was called": func(string, string, syscall.RawConn) error { runtime.Goexit(); return nil },
	} {
		o := play(t, Config{Network: "tcp", Address: ln.Addr().String(), Dialer: &net.Dialer{Control: control}})
		require.Len(t, o.errs, 1)
		assert.ErrorContains(t, o.errs[0], text)
		var op *net.OpError
		assert.ErrorAs(t, o.errs[0], &op, "package net handles the error and closes the descriptor")
	}
}

func TestRace_DoesNotTrustDial(t *testing.T) {
	for text, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"refused": func(context.Context, string, string) (net.Conn, error) {
			var conn *tls.Conn // nil
			return conn, errRefused
		},
		"the dial function returned neither a conn nor an error": func(context.Context, string, string) (net.Conn, error) { return nil, nil },
		"panic: at the dial function":                            func(context.Context, string, string) (net.Conn, error) { panic("at the dial function") },
		"runtime.Goexit was called":                              func(context.Context, string, string) (net.Conn, error) { runtime.Goexit(); return nil, nil },
	} {
		o := play(t, Config{Network: "unix", Address: "path", Dial: dial})
		assert.Equal(t, []string{"attempt unix path 0 false", "failed path: " + text, "failed"}, o.steps)
		assert.Nil(t, o.conn)
	}
}

func TestOpError(t *testing.T) {
	err := OpError("tcp", "name.example:80", errRefused)
	require.ErrorIs(t, err, errRefused)
	assert.EqualError(t, err, "dial tcp name.example:80: refused")
	assert.Equal(t, "tcp", err.Addr.Network())
}
