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

// startGraceful starts the server with a client that has a running job. Windows has no signals.
func startGraceful(t *testing.T, job string, args ...string) (r *running, busy net.Conn) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	r = start(t, "graceful-shutdown", args...)
	busy = r.dial()
	send(t, busy, "0s\n"+job+"\n")
	receive(t, busy, "done: 0s\n")
	for range 3 { // rounds of the loop, after which the job is running
		connectIdle(t, r)
	}
	return r, busy
}

// connectIdle connects a client that the server has served once, and closes it.
func connectIdle(t *testing.T, r *running) {
	t.Helper()
	c := r.dial()
	send(t, c, "hello\n")
	receive(t, c, "done: hello\n")
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	receiveEnd(t, c)
}

func (r *running) signal(sig os.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.command.Process.Signal(sig))
}

func TestGracefulShutdown_FinishesJobs(t *testing.T) {
	t.Parallel()
	r, busy := startGraceful(t, "1s")
	idle := r.dial()
	send(t, idle, "hello\n")
	receive(t, idle, "done: hello\n")

	r.signal(syscall.SIGTERM)
	assert.Equal(t, "stopping, clients: 2, with a running job: 1", r.line())
	receive(t, idle, "goodbye\n")
	receiveEnd(t, idle)
	require.NoError(t, idle.Close())
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
	r, busy := startGraceful(t, "1m", "-grace", "50ms")
	r.signal(os.Interrupt)
	receive(t, busy, "goodbye\n")
	receiveEnd(t, busy)
	code, rest := r.end()
	assert.Equal(t, 1, code)
	assert.Equal(t, "stopping, clients: 1, with a running job: 1\nclosed, connections destroyed: 1\n", rest)
}

func TestGracefulShutdown_SecondSignalEndsImmediately(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		r, busy := startGraceful(t, "1m", "-grace", "1m")
		r.signal(syscall.SIGTERM)
		assert.Equal(t, "stopping, clients: 1, with a running job: 1", r.line())
		r.signal(sig)
		code, rest := r.end()
		assert.Equal(t, 128+int(sig), code)
		assert.Equal(t, "second signal: not waiting\n", rest)
		receive(t, busy, "goodbye\n")
		receiveEnd(t, busy)
	}
}

func TestGracefulShutdown_StopsJobOfClosedConnection(t *testing.T) {
	t.Parallel()
	r, busy := startGraceful(t, "1m")
	require.NoError(t, busy.(*net.TCPConn).SetLinger(0))
	require.NoError(t, busy.Close()) // a reset
	assert.Contains(t, r.line(), "reset")
	assert.Equal(t, "stopping, clients: 0, with a running job: 0\nclosed, connections destroyed: 0\n", r.stop())
}

func TestGracefulShutdown_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	r := start(t, "graceful-shutdown")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "done: hello\ndone: 10ms\n", client(t, "hello\n10ms\n", "nc", "-N", host, port))
	assert.Equal(t, "stopping, clients: 0, with a running job: 0\nclosed, connections destroyed: 0\n", r.stop())
}

func TestGracefulShutdown_WrongFlags(t *testing.T) {
	t.Parallel()
	code, printed := launch(t, "graceful-shutdown", "more").end()
	assert.Equal(t, 2, code)
	assert.Equal(t, "unexpected argument: more\n", printed)
}
