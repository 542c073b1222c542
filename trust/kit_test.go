// Package trust has the tests that try to break evnet: under load, with faults, and against hostile peers. They use
// evnet like a program does, each on both transports.
package trust

import (
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// roles are functions that this program runs instead of its tests when a test starts it again: peers and servers that
// need a process of their own.
var roles = map[string]func(){}

const roleVariable = "EVNET_TRUST_ROLE"

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		role, ok := roles[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "unknown role %q\n", name)
			os.Exit(2)
		}
		role()
		os.Exit(0)
	}
	flag.Parse()
	evtest.Default("rapid.checks", evtest.Pick(enoughChecks/4, enoughChecks))
	evtest.Concurrently(8) // parallel tests mostly wait for a process
	goleak.VerifyTestMain(m)
}

// childCommand returns the command that runs a role in a child process. vars are added to its environment.
func childCommand(role string, vars ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0"), vars...)
	cmd.Stderr = os.Stderr
	return cmd
}

// patience limits what should take milliseconds; only a hang takes longer.
const patience = 60 * time.Second

// onEach runs a test on each transport of a kernel socket. It checks that no goroutine and no descriptor is left.
func onEach(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	onOne(t, true, fn)
	onOne(t, false, fn)
}

// alternately is onEach in the long form. In the short form it runs one of many cases on one transport only: even n
// on the epoll transport, odd n on the goroutine transport.
func alternately(t *testing.T, n int, fn func(t *testing.T)) {
	t.Helper()
	if evtest.Long() {
		onEach(t, fn)
		return
	}
	onOne(t, n%2 == 0, fn)
}

// inOrder ranges over a map in the order of its keys.
func inOrder[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// onOne runs a test on one transport of a kernel socket.
func onOne(t *testing.T, polled bool, fn func(t *testing.T)) {
	t.Helper()
	name := "goroutine"
	if polled {
		name = "poll"
	}
	t.Run(name, func(t *testing.T) {
		use(t, polled)
		goroutines, open := goleak.IgnoreCurrent(), descriptors()
		fn(t)
		goleak.VerifyNone(t, goroutines)
		require.LessOrEqual(t, descriptors(), open, "open descriptors")
	})
}

// together runs tests that mostly wait in parallel, and returns when all have ended. They share the transport in use.
func together(t *testing.T, tests map[string]func(t *testing.T)) {
	t.Helper()
	t.Run("together", func(t *testing.T) {
		for name, fn := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				fn(t)
			})
		}
	})
}

// use chooses the transport of kernel sockets until the test ends.
func use(t testing.TB, polled bool) {
	before := netpoll.Enabled
	netpoll.Enabled = polled
	t.Cleanup(func() { netpoll.Enabled = before })
}

// descriptors returns how many descriptors this process has open, or 0 if it cannot count them.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// run runs the loop until nothing is open on it. If it never ends, the test fails with the stacks of all goroutines.
func run(t testing.TB, l *evnet.Loop) {
	t.Helper()
	hung := bound(t, "Loop.Run does not return")
	defer hung.Stop()
	l.Run()
	require.Zero(t, l.Buffered(), "bytes that are still counted as buffered")
}

// bound panics, which prints the stacks of all goroutines, unless it is stopped before patience has passed.
func bound(t testing.TB, what string) *time.Timer {
	debug.SetTraceback("all")
	return time.AfterFunc(patience, func() { panic(t.Name() + ": " + what) })
}

// aside runs fn on a new goroutine, and keeps the loop running until fn returns.
func aside(l *evnet.Loop, fn func()) {
	l.Ref()
	go func() {
		defer l.Unref()
		fn()
	}()
}

var quiet = slog.New(slog.DiscardHandler)

// serve starts a server on l that listens on a free port of 127.0.0.1.
func serve(t testing.TB, l *evnet.Loop, opts evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	t.Helper()
	if opts.Loops == nil {
		opts.Loops = []*evnet.Loop{l}
	}
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	server := evnet.NewServer(&opts)
	server.On.Connection(onConnection)
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	return server, server.Address().String()
}

// wrap makes a socket from conn on l.
func wrap(l *evnet.Loop, conn net.Conn) *evnet.Socket {
	return evnet.Wrap(conn, &evnet.SocketOptions{Loop: l, Logger: quiet})
}

// pair returns both ends of a TCP connection. They are closed when the test ends.
func pair(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	a, c := pairOf(t, "tcp", "127.0.0.1:0")
	return a.(*net.TCPConn), c.(*net.TCPConn)
}

// unixPair returns both ends of a Unix connection.
func unixPair(t testing.TB) (here, there *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "evnet") // t.TempDir's path is too long
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	a, c := pairOf(t, "unix", filepath.Join(dir, "s"))
	return a.(*net.UnixConn), c.(*net.UnixConn)
}

func pairOf(t testing.TB, network, address string) (here, there net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	defer ln.Close()
	there, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	here, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

// streams make pairs of kernel stream conns, which can be half-closed.
var streams = map[string]func(t testing.TB) (here, there halfCloser){
	"tcp":  func(t testing.TB) (here, there halfCloser) { return pair(t) },
	"unix": func(t testing.TB) (here, there halfCloser) { return unixPair(t) },
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}
