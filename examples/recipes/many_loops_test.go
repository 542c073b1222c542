package recipes_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManyLoops_SendsLinesInOneOrder(t *testing.T) {
	t.Parallel()
	const clients, lines = 5, 40
	r := start(t, "many-loops", "-loops", "3")
	var conns []lineConn
	number := 0
	for range clients { // a client that has received a line of its own takes part
		c := r.dial()
		conns = append(conns, lineConn{c, bufio.NewReader(c)})
		send(t, c, "hello\n")
		number++
		for _, other := range conns {
			assert.Equal(t, fmt.Sprintf("%d hello", number), other.line(t))
		}
	}

	received := make([]string, clients)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			for n := range lines {
				_, err := fmt.Fprintf(c, "line %d of %d\n", n, i)
				assert.NoError(t, err)
			}
		})
		all.Go(func() {
			for range clients * lines {
				line, err := c.lines.ReadString('\n')
				assert.NoError(t, err)
				received[i] += line
			}
		})
	}
	all.Wait()
	for i := range clients {
		require.Equal(t, received[0], received[i], "client %d received another order", i)
	}
	for n, line := range strings.Split(strings.TrimSpace(received[0]), "\n") {
		assert.True(t, strings.HasPrefix(line, fmt.Sprintf("%d line ", clients+n+1)), line)
	}
	for i := range clients { // the lines of one client keep their order
		at := 0
		for n := range lines {
			next := strings.Index(received[0], fmt.Sprintf(" line %d of %d\n", n, i))
			assert.Greater(t, next, at)
			at = next
		}
	}

	send(t, conns[4], "stats\n") // only its sender gets the answer
	for _, want := range []string{
		"loop 0: 2 clients, 82 lines",
		"loop 1: 2 clients, 83 lines",
		"loop 2: 1 clients, 41 lines",
		"all: 5 clients, 206 lines, 205 sent to all",
	} {
		assert.Equal(t, want, conns[4].line(t))
	}
	assert.Equal(t, "closed\n", r.stop())
	for _, c := range conns {
		receiveEnd(t, c)
	}
}

func TestManyLoops_ForgetsClientsThatLeave(t *testing.T) {
	t.Parallel()
	r := start(t, "many-loops", "-loops", "2")
	stay, leave := r.dial(), r.dial()
	send(t, leave, "bye\n")
	receive(t, leave, "1 bye\n")
	require.NoError(t, leave.(*net.TCPConn).CloseWrite())
	receiveEnd(t, leave) // and the server has closed it, or is about to
	stats := bufio.NewReader(stay)
	for {
		send(t, stay, "stats\n")
		text := ""
		for !strings.Contains(text, "all: ") {
			line, err := stats.ReadString('\n')
			require.NoError(t, err)
			text += line
		}
		if strings.Contains(text, "all: 1 clients") {
			break
		}
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestManyLoops_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	r := start(t, "many-loops", "-loops", "2")
	host, port, _ := net.SplitHostPort(r.address)
	watching := r.dial()
	send(t, watching, "hello\n")
	receive(t, watching, "1 hello\n")
	for n := 2; n < 6; n++ {
		want := fmt.Sprintf("%d from netcat\n", n)
		assert.Equal(t, want, client(t, "from netcat\n", "nc", "-N", host, port))
		receive(t, watching, want)
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestManyLoops_WrongFlags(t *testing.T) {
	t.Parallel()
	code, printed := launch(t, "many-loops", "more").end()
	assert.Equal(t, 2, code)
	assert.Equal(t, "unexpected argument: more\n", printed)
	code, printed = launch(t, "many-loops", "-loops", "0").end()
	assert.Equal(t, 2, code)
	assert.Equal(t, "-loops must be at least 1\n", printed)
}
