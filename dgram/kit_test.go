package dgram_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/dgram"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience is the time limit of operations that take milliseconds unless they hang.
const patience = 60 * time.Second

const onLinux = runtime.GOOS == "linux"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs the test on each transport: batches of messages, where the kernel supports them, and single messages.
func each(t *testing.T, fn func(t *testing.T)) {
	for name, wanted := range map[string]bool{"batch": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			was := netpoll.Enabled
			netpoll.Enabled = wanted
			defer func() { netpoll.Enabled = was }()
			fn(t)
		})
	}
}

// run calls l.Run and panics if it does not return.
func run(t testing.TB, l *evnet.Loop) {
	t.Helper()
	hung := time.AfterFunc(patience, func() { panic(t.Name() + ": Loop.Run does not return") })
	defer hung.Stop()
	l.Run()
	require.Zero(t, l.Buffered(), "buffered bytes are still accounted to the loop")
}

// open makes a socket, of udp4 unless opts name another network.
func open(t testing.TB, l *evnet.Loop, opts dgram.SocketOptions) *dgram.Socket {
	t.Helper()
	opts.Loop = l
	if opts.Network == "" {
		opts.Network = "udp4"
	}
	s, err := dgram.NewSocket(&opts)
	require.NoError(t, err)
	return s
}

// bound makes a socket that is bound to a free port of the loopback address. An Error event fails the test.
func bound(t testing.TB, l *evnet.Loop, opts dgram.SocketOptions) *dgram.Socket {
	t.Helper()
	s := open(t, l, opts)
	s.On.Error(func(err error) { assert.NoError(t, err) })
	at := "127.0.0.1:0"
	if opts.Network == "udp6" {
		at = "[::1]:0"
	}
	require.NoError(t, s.Bind(at, nil))
	return s
}

// closed closes the sockets that are still open.
func closed(sockets ...*dgram.Socket) {
	for _, s := range sockets {
		_ = s.Close(nil)
	}
}

// peer returns a conn of package net.
func peer(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrOf(c net.PacketConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// deadPort returns an address to which no socket is bound.
func deadPort(t testing.TB) string {
	c := peer(t)
	require.NoError(t, c.Close())
	return c.LocalAddr().String()
}

// resolver returns the same answer for every name.
type resolver struct {
	ips []netip.Addr
	err error
}

func (r resolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return r.ips, r.err
}

// mute is a resolver that never answers.
type mute struct{}

func (mute) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// records is a slog.Handler that keeps the records.
type records struct {
	slog.Handler
	mu   sync.Mutex
	list []slog.Record
}

func newRecords() *records { return &records{Handler: slog.DiscardHandler} }

func (r *records) Enabled(context.Context, slog.Level) bool { return true }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, record)
	return nil
}

func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("EVNET_CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// coded checks that err has the code that Node uses.
func coded(t testing.TB, code string, err error) {
	t.Helper()
	require.Error(t, err)
	assert.Equal(t, code, evnet.Code(err), "%v", err)
}

var errOwn = errors.New("a test's own error")

func newLogger(r *records) *slog.Logger { return slog.New(r) }
