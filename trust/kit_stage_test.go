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

// stage is a loop on which one callback of a test goes wrong, and what is open on it besides.
type stage struct {
	t      testing.TB
	l      *evnet.Loop
	boom   func()        // what the callback calls
	victim *evnet.Socket // whose callback it is, nil if it is no socket's

	mu      sync.Mutex
	closers []func() // on the loop, at the end
}

// later has fn called at the end.
func (st *stage) later(fn func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closers = append(st.closers, fn)
}

// clear closes what is open.
func (st *stage) clear() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, fn := range st.closers {
		fn()
	}
}

// server listens, and destroys what it has accepted at the end.
func (st *stage) server(opts evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	server, address := serve(st.t, st.l, opts, onConnection)
	st.later(func() { _ = server.Close(nil); server.CloseAllConnections() })
	return server, address
}

// bare is a server that nothing listens with yet.
func (st *stage) bare(opts evnet.ServerOptions) *evnet.Server {
	opts.Loops, opts.Logger = []*evnet.Loop{st.l}, quiet
	server := evnet.NewServer(&opts)
	st.later(func() { _ = server.Close(nil); server.CloseAllConnections() })
	return server
}

// socket is not connected, and destroyed at the end.
func (st *stage) socket(opts evnet.SocketOptions) *evnet.Socket {
	opts.Loop = st.l
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	s := evnet.NewSocket(&opts)
	st.later(func() { s.Destroy(nil) })
	return s
}

// client is one that is to connect to an echo server of its own, at the address.
func (st *stage) client(opts evnet.SocketOptions) (s *evnet.Socket, address string) {
	_, address = st.server(evnet.ServerOptions{}, func(c *evnet.Socket) { c.Pipe(c) })
	return st.socket(opts), address
}

// pair is both ends of a connection, the second with somebody to read it.
func (st *stage) pair() (s, peer *evnet.Socket) {
	a, b := pair(st.t)
	s, peer = wrap(st.l, a), wrap(st.l, b)
	st.later(func() { s.Destroy(nil); peer.Destroy(nil) })
	peer.Resume()
	return s, peer
}

// answers is a Resolver.
type answers func(ctx context.Context) ([]netip.Addr, error)

func (a answers) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) { return a(ctx) }

// loopback answers 127.0.0.1 as often as it is asked to.
func loopback(times int) answers {
	return func(context.Context) (ips []netip.Addr, err error) {
		for i := range times {
			ips = append(ips, netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}))
		}
		return ips, nil
	}
}

// named is the address with a name that only a Resolver of the test knows.
func named(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return net.JoinHostPort("name.example", port)
}

// nobody is an address of 127.0.0.1 where nobody listens.
func nobody(t testing.TB) string {
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

// Go makes its own poller when the network is first used, and keeps it: descriptors that onEach is not
// to count.
func init() {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
}
