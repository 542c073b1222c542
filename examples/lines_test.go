package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A gigabyte without a newline is cut off at the longest line, costs no memory, and keeps nobody waiting.
func TestLines(t *testing.T) {
	server := program(t, "lines", "-addr", "127.0.0.1:0", "-max", "1000")
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	said := bufio.NewReader(stdout)
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	address := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))

	good, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer good.Close()
	_ = good.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(good)
	ask := func(n int) {
		_, err := fmt.Fprintf(good, "%s\n", strings.Repeat("x", n))
		require.NoError(t, err)
		answer, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(n), answer)
	}
	ask(1000)
	before := memory(t, server.Process.Pid)
	for range 20 {
		bad, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_ = bad.SetDeadline(time.Now().Add(patience))
		sent := 0
		for sent < 1<<30 {
			n, err := bad.Write(make([]byte, 64<<10))
			if sent += n; err != nil {
				break
			}
		}
		_ = bad.Close()
		assert.Less(t, sent, 64<<20)
		ask(10)
	}
	assert.Less(t, memory(t, server.Process.Pid)-before, 16<<20)

	polite, err := net.Dial("tcp", address) // one byte too long, and then it listens
	require.NoError(t, err)
	defer polite.Close()
	_, err = io.WriteString(polite, strings.Repeat("x", 1001)+"\n")
	require.NoError(t, err)
	told, _ := io.ReadAll(polite)
	assert.Equal(t, "a line may have 1000 bytes\n", string(told))

	if runtime.GOOS == "windows" {
		return // which knows no signal to end it with
	}
	require.NoError(t, server.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(said)
	require.NoError(t, err)
	assert.Equal(t, "closed\n", string(rest))
	require.NoError(t, server.Wait())
}

// memory is what a process holds, in bytes; 0 where that is not told.
func memory(t testing.TB, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kilobytes int
	_, err = fmt.Sscan(rest, &kilobytes)
	require.NoError(t, err)
	return kilobytes << 10
}
