package recipes_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client that sends too fast gets every answer, but not faster than the limit allows. The test checks only that the
// answers do not come too early, so that a busy machine does not make it fail.
func TestRateLimits_SlowDown(t *testing.T) {
	for name, c := range map[string]struct {
		flags   []string
		message string
		count   int
		least   time.Duration
	}{
		"messages": {[]string{"-messages", "20"}, "hello", 30, 450 * time.Millisecond},                                      // 20, then one per 50 ms
		"bytes":    {[]string{"-messages", "1000", "-bytes", "8000"}, strings.Repeat("x", 1999), 7, 250 * time.Millisecond}, // 4, then one per 250 ms
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "rate-limits", c.flags...)
			conn := r.dial()
			began := time.Now()
			send(t, conn, strings.Repeat(c.message+"\n", c.count))
			want := map[int]string{5: "5 bytes\n", 1999: "1999 bytes\n"}[len(c.message)]
			receive(t, conn, strings.Repeat(want, c.count))
			assert.GreaterOrEqual(t, time.Since(began), c.least)
			assert.Equal(t, conn.LocalAddr().String()+" is slowed down", r.line())
			assert.Equal(t, "closed\n", r.stop())
		})
	}
}

// A client that keeps to the limits is not slowed down.
func TestRateLimits_BurstsAreAllowed(t *testing.T) {
	r := start(t, "rate-limits", "-messages", "1000000", "-bytes", "1000000")
	c := r.dial()
	send(t, c, strings.Repeat("hello\n", 10_000))
	receive(t, c, strings.Repeat("5 bytes\n", 10_000))
	assert.Equal(t, "closed\n", r.stop())
}

// The server does not read what a client sends beyond the limit: the kernels buffer some of it, and then the client's
// writes block.
func TestRateLimits_FloodIsNotRead(t *testing.T) {
	r := start(t, "rate-limits", "-messages", "100")
	c := r.dial()
	const total = 64 << 20
	written := make(chan int)
	go func() {
		n := 0
		for block := []byte(strings.Repeat("flood\n", 10_000)); n < total; {
			m, err := c.Write(block)
			if n += m; err != nil {
				break
			}
		}
		written <- n
	}()
	answers := bufio.NewReader(c)
	for range 120 { // 100 are the first burst
		line, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "5 bytes\n", line)
	}
	assert.Contains(t, r.line(), "is slowed down")
	assert.Equal(t, "closed\n", r.stop())
	assert.Less(t, <-written, total)
}

func TestRateLimits_ConnectionsPerAddress(t *testing.T) {
	r := start(t, "rate-limits", "-per-address", "2")
	for range 2 {
		c := r.dial()
		send(t, c, "hello\n")
		receive(t, c, "5 bytes\n")
	}
	receiveEnd(t, r.dial())
	assert.Equal(t, "dropped connections: map[MaxConnectionsPerAddress:1]\nclosed\n", r.stop())
}

func TestRateLimits_ConnectionsPerSecond(t *testing.T) {
	r := start(t, "rate-limits", "-rate", "1")
	for served := true; served; {
		c := r.dial()
		_, _ = io.WriteString(c, "hello\n") // which may be reset
		answer, _ := io.ReadAll(io.LimitReader(c, int64(len("5 bytes\n"))))
		served = len(answer) > 0
		_ = c.Close()
	}
	assert.Equal(t, "dropped connections: map[MaxConnectionRate:1]\nclosed\n", r.stop())
}

func TestRateLimits_WithNetcat(t *testing.T) {
	evtest.RequireProgram(t, "nc")
	r := start(t, "rate-limits", "-messages", "5")
	host, port, _ := net.SplitHostPort(r.address)
	printed := client(t, strings.Repeat("1\n", 7), "nc", "-N", host, port)
	assert.Equal(t, strings.Repeat("1 bytes\n", 7), printed)
	assert.Contains(t, r.line(), "is slowed down")
	assert.Equal(t, "closed\n", r.stop())
}

func TestRateLimits_WrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-messages 0":    "a limit is less than 1\n",
		"-per-address 0": "a limit is less than 1\n",
	} {
		code, printed := launch(t, "rate-limits", strings.Fields(args)...).end()
		assert.Equal(t, 2, code)
		assert.Equal(t, want, printed)
	}
}
