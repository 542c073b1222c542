package recipes_test

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// servers returns programs that listen, with the flags that they need.
func servers() map[string][]string {
	all := map[string][]string{
		"one-port-tls": nil,
		"proxy-header": {"-trust", "127.0.0.1/32"},
		"http-beside":  nil,
		"hot-restart":  nil,
		"rate-limits":  nil,
	}
	if runtime.GOOS == "windows" {
		delete(all, "hot-restart") // which prints that it needs a Unix system
	}
	return all
}

func TestServers_AddressInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	_, inUse := net.Listen("tcp", ln.Addr().String())
	require.Error(t, inUse)
	for name, flags := range servers() {
		code, printed := launch(t, name, append(flags, "-addr", ln.Addr().String())...).end()
		assert.Equal(t, 1, code, name)
		assert.Equal(t, inUse.Error()+"\n", printed, name)
	}
}

// A client that sends nothing, or only the beginning of what decides, is disconnected after -wait.
func TestServers_WaitIsLimited(t *testing.T) {
	for name, beginnings := range map[string][]string{
		"one-port-tls": {"", "\x16\x03\x01"},
		"proxy-header": {"", "PROXY ", "\r\n\r\n"},
		"http-beside":  {"", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nHost: "},
	} {
		r := start(t, name, append(servers()[name], "-wait", "1ms")...)
		for _, beginning := range beginnings {
			c := r.dial()
			_, _ = io.WriteString(c, beginning) // it may be too late already
			receiveEnd(t, c)
		}
		code, printed := launch(t, name, append(servers()[name], "-wait", "0s")...).end()
		assert.Equal(t, 2, code, name)
		assert.Equal(t, "-wait is not positive: 0s\n", printed, name)
	}
}

func TestServers_UnexpectedArgument(t *testing.T) {
	for name, flags := range servers() {
		code, printed := launch(t, name, append(flags, "more")...).end()
		assert.Equal(t, 2, code, name)
		assert.Equal(t, "unexpected argument: more\n", printed, name)
	}
}
