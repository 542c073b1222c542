package evnet_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"evnet"
	"evnet/internal/netpoll"

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

// freePort is the port of it.
func freePort(t testing.TB) string { return port(closedPort(t)) }

// socketDir is a directory with a path that is short enough for a socket, which t.TempDir may not be.
func socketDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func socketPath(t testing.TB) string { return filepath.Join(socketDir(t), "s") }

// leaveStale leaves a socket file behind that nobody is bound to.
func leaveStale(t testing.TB, path string) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
}

// fakeResolver answers every name with the same.
type fakeResolver struct {
	addrs []netip.Addr
	err   error
}

func (r fakeResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return r.addrs, r.err
}

// ips makes one of the texts of addresses; what is no address is answered as the zero Addr.
func ips(texts ...string) fakeResolver {
	var r fakeResolver
	for _, text := range texts {
		ip, _ := netip.ParseAddr(text)
		r.addrs = append(r.addrs, ip)
	}
	return r
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

// onBoth runs a test on each way of serving a kernel socket, and sees to it that no goroutine is left.
func onBoth(t *testing.T, fn func(t *testing.T)) {
	for name, wanted := range map[string]bool{"poll": true, "goroutine": false} {
		t.Run(name, func(t *testing.T) {
			before := netpoll.Enabled
			netpoll.Enabled = wanted
			t.Cleanup(func() { netpoll.Enabled = before })
			leavesNothing(t)
			fn(t)
		})
	}
}

// setTracer shows fn every event of the loop with its arguments, as a callback gets them.
func setTracer(l *evnet.Loop, fn func(emitter any, event string, args ...any)) {
	l.SetTracer(func(ev evnet.TraceEvent) {
		var args []any
		switch ev.Name {
		case evnet.EventConnection:
			args = []any{ev.Socket}
		case evnet.EventConnectionAttempt, evnet.EventConnectionAttemptTimeout:
			args = []any{ev.Attempt}
		case evnet.EventConnectionAttemptFailed:
			args = []any{ev.Attempt, ev.Err}
		case evnet.EventClose:
			if _, ok := ev.Source.(*evnet.Socket); ok {
				args = []any{ev.HadError}
			}
		case evnet.EventData:
			args = []any{ev.Chunk}
		case evnet.EventDrop:
			args = []any{ev.Drop}
		case evnet.EventError:
			args = []any{ev.Err}
		case evnet.EventLookup:
			args = []any{ev.Lookup}
		case evnet.EventTLSClientError:
			args = []any{ev.Err, ev.Socket}
		}
		fn(ev.Source, string(ev.Name), args...)
	})
}
