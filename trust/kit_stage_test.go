package trust

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	"evnet"

	"github.com/stretchr/testify/require"
)

// stage is a loop on which one callback of a test does not return, and everything else that is open on it.
type stage struct {
	t      testing.TB
	l      *evnet.Loop
	boom   func()        // the callback calls this
	victim *evnet.Socket // the socket whose callback it is; nil if it does not belong to a socket

	mu      sync.Mutex
	closers []func() // called on the loop, at the end
}

// later schedules fn for the end.
func (st *stage) later(fn func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closers = append(st.closers, fn)
}

// clear closes everything that is open.
func (st *stage) clear() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, fn := range st.closers {
		fn()
	}
}

// server starts a server that is closed at the end, with its connections.
func (st *stage) server(opts evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	server, address := serve(st.t, st.l, opts, onConnection)
	st.later(func() { _ = server.Close(nil); server.CloseAllConnections() })
	return server, address
}

// bare returns a server that does not listen yet.
func (st *stage) bare(opts evnet.ServerOptions) *evnet.Server {
	opts.Loops, opts.Logger = []*evnet.Loop{st.l}, quiet
	server := evnet.NewServer(&opts)
	st.later(func() { _ = server.Close(nil); server.CloseAllConnections() })
	return server
}

// socket returns an unconnected socket that is destroyed at the end.
func (st *stage) socket(opts evnet.SocketOptions) *evnet.Socket {
	opts.Loop = st.l
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	s := evnet.NewSocket(&opts)
	st.later(func() { s.Destroy(nil) })
	return s
}

// client returns an unconnected socket, and the address of an echo server for it.
func (st *stage) client(opts evnet.SocketOptions) (s *evnet.Socket, address string) {
	_, address = st.server(evnet.ServerOptions{}, func(c *evnet.Socket) { c.Pipe(c) })
	return st.socket(opts), address
}

// pair returns both ends of a connection. The second end discards what it receives.
func (st *stage) pair() (s, peer *evnet.Socket) {
	a, b := pair(st.t)
	s, peer = wrap(st.l, a), wrap(st.l, b)
	st.later(func() { s.Destroy(nil); peer.Destroy(nil) })
	peer.Resume()
	return s, peer
}

// answers is a Resolver that calls a function.
type answers func(ctx context.Context) ([]netip.Addr, error)

func (a answers) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) { return a(ctx) }

// loopback answers with the given number of loopback addresses.
func loopback(times int) answers {
	return func(context.Context) (ips []netip.Addr, err error) {
		for i := range times {
			ips = append(ips, netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}))
		}
		return ips, nil
	}
}

// named replaces the host of the address with a name that only a Resolver of the test knows.
func named(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("name.example", port)
}

// refusedAddress returns an address of 127.0.0.1 without a listener.
func refusedAddress(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// logging is a slog.Handler that calls a function for each record.
type logging func()

func (logging) Enabled(context.Context, slog.Level) bool    { return true }
func (h logging) Handle(context.Context, slog.Record) error { h(); return nil }
func (h logging) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h logging) WithGroup(string) slog.Handler             { return h }
func (h logging) logger() *slog.Logger                      { return slog.New(h) }

// Go opens its own poller when the network is first used, and keeps it. Open it here, so that onEach does not count
// its descriptors.
func init() {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
}
