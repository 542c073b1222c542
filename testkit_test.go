package evnet_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"evnet"

	"github.com/stretchr/testify/require"
)

// What several tests need.

const onLinux = runtime.GOOS == "linux"

// boom is an error of a test's own.
type boom string

func (b boom) Error() string { return string(b) }

func consume(s *evnet.Socket) { s.On.Data(func([]byte) {}) }

// closedPort is an address of 127.0.0.1 where nobody listens.
func closedPort(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// staleSocket leaves a socket file behind that nobody listens on.
func staleSocket(t testing.TB, path string) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
}

// resolver answers with these addresses, none means that there is no such host, and a text that is
// no address makes an answer that is none.
type resolver []string

func (a resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if len(a) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	ips := make([]netip.Addr, len(a))
	for i, text := range a {
		ips[i], _ = netip.ParseAddr(text)
	}
	return ips, nil
}

// mute is a Resolver that never answers.
type mute struct{}

func (mute) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// silent is a Dialer for which 127.0.0.3 never answers.
func silent() *net.Dialer {
	return &net.Dialer{ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if strings.HasPrefix(address, "127.0.0.3:") {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
}
