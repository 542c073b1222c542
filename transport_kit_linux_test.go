package evnet

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/require"
)

// Helpers for the tests of the two transports. These tests choose the transport themselves and ignore the
// environment.

func onPoll(t testing.TB) { evtest.UseEpoll(t, true) }

// onEach runs the test on each transport.
func onEach(t *testing.T, fn func(t *testing.T)) {
	for name, epoll := range map[string]bool{"poll": true, "goroutine": false} {
		t.Run(name, func(t *testing.T) {
			evtest.UseEpoll(t, epoll)
			fn(t)
		})
	}
}

// runs calls l.Run and checks that it returns.
func runs(t testing.TB, l *Loop) {
	t.Helper()
	hung := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": Loop.Run does not return") })
	defer hung.Stop()
	l.Run()
}

// runCounting calls l.Run, and counts how often the loop serves each kernel socket.
func runCounting(t testing.TB, l *Loop) map[*Socket]int {
	t.Helper()
	served := map[*Socket]int{}
	countServed(t, l, served)
	return served
}

// countServed is like runCounting, for a test that also reads the counts on the loop meanwhile.
func countServed(t testing.TB, l *Loop, served map[*Socket]int) {
	t.Helper()
	hung := time.AfterFunc(time.Minute, func() { panic(t.Name() + ": the loop does not end") })
	defer hung.Stop()
	require.True(t, l.core().RunObserved(func(s eventloop.Source) { served[(*Socket)(s.(*handle))]++ }))
}

func tcpPair(t testing.TB) (here, there *net.TCPConn) {
	there, here = evtest.TCPPair(t)
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}

func unixPair(t testing.TB) (here, there *net.UnixConn) {
	return evtest.SocketPair(t, syscall.SOCK_STREAM)
}

// onLoop wraps conn in a socket on l.
func onLoop(l *Loop, conn net.Conn) *Socket { return Wrap(conn, &SocketOptions{Loop: l}) }

// isPolled reports whether the epoll transport serves s.
func usesEpoll(s *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.TakesPipes()
}

// rounds does n round trips on a separate socket and then calls done on the loop. Each round trip takes a turn of
// the loop.
func rounds(t testing.TB, l *Loop, n int, done func()) *Socket {
	here, there := unixPair(t)
	go func() { _, _ = io.Copy(there, there); _ = there.Close() }()
	s := onLoop(l, here)
	s.On.Data(func(p []byte) {
		if n--; n == 0 {
			s.Destroy(nil)
			done()
			return
		}
		_, _ = s.Write(p)
	})
	_, _ = s.WriteString("x")
	return s
}

// few is how often an idle socket may be served while others do many rounds.
const (
	few  = 5
	many = 200
)
