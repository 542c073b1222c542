package recipes_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requester starts the client against a listener of the test, and returns its connection.
func requester(t *testing.T, args ...string) (r *running, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	r = launch(t, "request-answer", append([]string{"-addr", ln.Addr().String()}, args...)...)
	server, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	require.NoError(t, server.SetDeadline(time.Now().Add(evtest.Patience)))
	return r, server
}

func TestRequestAnswer_MatchesAnswers(t *testing.T) {
	t.Parallel()
	server := start(t, "request-answer", "-serve")
	args := []string{"-addr", server.address, "-timeout", "1m", "-max", "200"}
	var want []string
	for i := range 200 {
		text := fmt.Sprintf("text-%d", i)
		if i%10 == 0 {
			text = fmt.Sprintf("%dms", 1+i/10)
		}
		args = append(args, text)
		want = append(want, text+": "+strings.ToUpper(text))
	}
	code, printed := launch(t, "request-answer", args...).end()
	assert.Zero(t, code)
	assert.ElementsMatch(t, want, strings.Split(strings.TrimSpace(printed), "\n"))
	_ = server.stop()
}

func TestRequestAnswer_Timeout(t *testing.T) {
	t.Parallel()
	r, server := requester(t, "-timeout", "20ms", "one", "two")
	code, printed := r.end()
	assert.Equal(t, 1, code)
	assert.ElementsMatch(t, []string{"one: no answer before the timeout", "two: no answer before the timeout", ""},
		strings.Split(printed, "\n"))
	_ = server.Close()
}

func TestRequestAnswer_CloseFailsPending(t *testing.T) {
	t.Parallel()
	r, server := requester(t, "-timeout", "1m", "one", "two")
	requests := bufio.NewReader(server)
	for range 2 {
		_, err := requests.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, server.Close())
	code, printed := r.end()
	assert.Equal(t, 1, code)
	const closed = "the connection was closed before the answer"
	assert.ElementsMatch(t, []string{"one: " + closed, "two: " + closed, ""}, strings.Split(printed, "\n"))
}

func TestRequestAnswer_IgnoresUnknownAnswers(t *testing.T) {
	t.Parallel()
	r, server := requester(t, "-timeout", "1m", "hello")
	receive(t, server, "1 hello\n")
	send(t, server, "99 unknown\n\x1b not an id\n\n1 \x1b[2J\n")
	code, printed := r.end()
	assert.Zero(t, code)
	assert.Equal(t, []string{`hello: \x1b[2J`, "ignored answers, late or unknown: 3"},
		strings.Split(strings.TrimSpace(printed), "\n"))
}

func TestRequestAnswer_LimitsPendingRequests(t *testing.T) {
	t.Parallel()
	r, server := requester(t, "-timeout", "1m", "-max", "1", "hello", "hello", "hello")
	for range 2 {
		assert.Equal(t, "hello: too many pending requests", r.line())
	}
	request, err := bufio.NewReader(server).ReadString('\n')
	require.NoError(t, err)
	id, _, _ := strings.Cut(request, " ")
	send(t, server, id+" HELLO\n")
	code, printed := r.end()
	assert.Equal(t, 1, code)
	assert.Equal(t, "hello: HELLO\n", printed)
}

func TestRequestAnswer_Interrupt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	r, server := requester(t, "-timeout", "1m", "hello")
	receive(t, server, "1 hello\n")
	require.NoError(t, r.command.Process.Signal(os.Interrupt))
	code, printed := r.end()
	assert.Equal(t, 1, code)
	assert.Equal(t, "hello: context canceled\n", printed)
}

func TestRequestAnswer_NoServer(t *testing.T) {
	t.Parallel()
	code, printed := launch(t, "request-answer", "-addr", evtest.ClosedPort(t), "-timeout", "1m", "hello").end()
	assert.Equal(t, 1, code)
	assert.Contains(t, printed, "refused")
}

func TestRequestAnswer_ServerAnswersInAnyOrder(t *testing.T) {
	t.Parallel()
	r := start(t, "request-answer", "-serve")
	c := r.dial()
	send(t, c, "a 20ms\nb hello\n")
	require.NoError(t, c.(*net.TCPConn).CloseWrite()) // the answers still arrive
	receive(t, c, "b HELLO\na 20MS\n")
	receiveEnd(t, c)

	greedy := r.dial()
	send(t, greedy, strings.Repeat("1 1m\n", 101))
	receiveEnd(t, greedy)
	assert.Contains(t, r.line(), "too many pending requests")
	assert.Equal(t, "closed\n", r.stop())
}

func TestRequestAnswer_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	r := start(t, "request-answer", "-serve")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "8 HI\n7 20MS\n", client(t, "7 20ms\n8 hi\n", "nc", "-N", host, port))
	assert.Equal(t, "closed\n", r.stop())
}

func TestRequestAnswer_WrongFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"-serve", "hello"}} {
		code, printed := launch(t, "request-answer", args...).end()
		assert.Equal(t, 2, code)
		assert.Equal(t, "give -serve or the requests to send\n", printed)
	}
}
