package recipes_test

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startGraceful starts the server with two clients, one of which has a running job. Windows has no signals.
func startGraceful(t *testing.T, job string, args ...string) (r *running, busy, idle net.Conn) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	r = start(t, "graceful-shutdown", args...)
	busy, idle = r.dial(), r.dial()
	send(t, busy, "0s\n"+job+"\n")
	receive(t, busy, "done: 0s\n")
	for range 3 { // the loop begins the job meanwhile
		ping(t, idle)
	}
	return r, busy, idle
}

// ping lets the server serve a client once.
func ping(t *testing.T, c net.Conn) {
	t.Helper()
	send(t, c, "hello\n")
	receive(t, c, "done: hello\n")
}

// sayGoodbye checks that a client without a job is asked to end, and ends.
func sayGoodbye(t *testing.T, c net.Conn) {
	t.Helper()
	receive(t, c, "goodbye\n")
	receiveEnd(t, c)
	require.NoError(t, c.Close())
}

func (r *running) sendSignal(sig os.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.command.Process.Signal(sig))
}

func TestGracefulShutdown_FinishesJobs(t *testing.T) {
	t.Parallel()
	r, busy, idle := startGraceful(t, "1s")
	r.sendSignal(syscall.SIGTERM)
	assert.Equal(t, "stopping, clients: 2, with a running job: 1", r.line())
	sayGoodbye(t, idle)
	_, err := net.Dial("tcp", r.address)
	assert.Error(t, err, "the server still accepts")

	send(t, busy, "another job\n") // too late: it is ignored
	receive(t, busy, "goodbye\ndone: 1s\n")
	receiveEnd(t, busy)
	require.NoError(t, busy.Close())
	code, rest := r.end()
	assert.Zero(t, code)
	assert.Equal(t, "closed, connections destroyed: 0\n", rest)
}

func TestGracefulShutdown_DestroysWhatIsLeft(t *testing.T) {
	t.Parallel()
	r, busy, idle := startGraceful(t, "1m", "-grace", "50ms")
	r.sendSignal(os.Interrupt)
	for _, c := range []net.Conn{busy, idle} { // which do not close their connections
		receive(t, c, "goodbye\n")
		receiveEnd(t, c)
	}
	code, rest := r.end()
	assert.Equal(t, 1, code)
	assert.Equal(t, "stopping, clients: 2, with a running job: 1\nclosed, connections destroyed: 2\n", rest)
}

func TestGracefulShutdown_SecondSignalEndsImmediately(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		r, busy, idle := startGraceful(t, "1m", "-grace", "1m")
		r.sendSignal(syscall.SIGTERM)
		assert.Equal(t, "stopping, clients: 2, with a running job: 1", r.line())
		sayGoodbye(t, idle)
		receive(t, busy, "goodbye\n")
		r.sendSignal(sig)
		code, rest := r.end()
		assert.Equal(t, 128+int(sig), code)
		assert.Equal(t, "second signal: not waiting\n", rest)
		receiveEnd(t, busy)
	}
}

func TestGracefulShutdown_StopsJobOfClosedConnection(t *testing.T) {
	t.Parallel()
	r, busy, idle := startGraceful(t, "1m")
	require.NoError(t, busy.(*net.TCPConn).SetLinger(0))
	require.NoError(t, busy.Close()) // a reset
	assert.Contains(t, r.line(), "reset")
	ping(t, idle) // the loop closes the connection meanwhile
	r.sendSignal(os.Interrupt)
	assert.Equal(t, "stopping, clients: 1, with a running job: 0", r.line())
	sayGoodbye(t, idle)
	code, rest := r.end()
	assert.Zero(t, code)
	assert.Equal(t, "closed, connections destroyed: 0\n", rest)
}

func TestGracefulShutdown_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	r := start(t, "graceful-shutdown")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "done: hello\ndone: 10ms\n", client(t, "hello\n10ms\n", "nc", "-N", host, port))
	assert.Contains(t, r.stop(), "\nclosed, connections destroyed: 0\n")
}

func TestGracefulShutdown_WrongFlags(t *testing.T) {
	t.Parallel()
	code, printed := launch(t, "graceful-shutdown", "more").end()
	assert.Equal(t, 2, code)
	assert.Equal(t, "unexpected argument: more\n", printed)
}
