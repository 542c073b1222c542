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

// A line server disconnects clients that send a gigabyte without a newline. They cost no memory and do not delay others.
func TestLines(t *testing.T) {
	server := program(t, "lines", "-addr", "127.0.0.1:0", "-max", "1000")
	stdout, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	printed := bufio.NewReader(stdout)
	line, err := printed.ReadString('\n')
	require.NoError(t, err)
	address := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))

	good, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer good.Close()
	_ = good.SetDeadline(time.Now().Add(patience))
	answers := bufio.NewReader(good)
	exchange := func(n int) {
		_, err := fmt.Fprintf(good, "%s\n", strings.Repeat("x", n))
		require.NoError(t, err)
		answer, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(n), answer)
	}
	exchange(1000)
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
		exchange(10)
	}
	assert.Less(t, memory(t, server.Process.Pid)-before, 16<<20)

	tooLong, err := net.Dial("tcp", address) // sends a line that is one byte too long, then reads
	require.NoError(t, err)
	defer tooLong.Close()
	_, err = io.WriteString(tooLong, strings.Repeat("x", 1001)+"\n")
	require.NoError(t, err)
	answer, _ := io.ReadAll(tooLong)
	assert.Equal(t, "line too long: the limit is 1000 bytes\n", string(answer))

	if runtime.GOOS == "windows" {
		return // Windows has no signal to stop it
	}
	require.NoError(t, server.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(printed)
	require.NoError(t, err)
	assert.Equal(t, "closed\n", string(rest))
	require.NoError(t, server.Wait())
}

// memory returns the resident memory of a process in bytes, or 0 if the operating system does not report it.
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
