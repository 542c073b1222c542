package examples_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unfinished returns the names of the unfinished files in the receiver's directory.
func (r *transferReceiver) unfinished() (names []string) {
	for _, name := range r.names() {
		if strings.HasSuffix(name, ".part") {
			names = append(names, name)
		}
	}
	return names
}

// readBy returns how many bytes a process has read from files and sockets, or 0 if the operating system does not report it.
func readBy(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	_, rest, _ := strings.Cut(string(text), "rchar:")
	n := int64(0)
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// delivered sends a file with a well-behaved sender and fails the test if the file does not arrive.
func (r *transferReceiver) delivered(name, content string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { // other connections may have to close first
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		s := &rawSender{conn.(*net.TCPConn), r.t, bufio.NewReader(conn)}
		if _, err := io.WriteString(s, headerOf(name, content)); err != nil {
			return false
		}
		answer, err := s.replies.ReadString('\n')
		if err != nil || strings.Contains(answer, `"retry":true`) {
			return false
		}
		require.NotContains(r.t, answer, "error")
		s.send("{\"from\":0}\n" + content)
		return s.reply().Done
	}, patience, 10*time.Millisecond)
	assert.FileExists(r.t, filepath.Join(r.dir, name))
}

// Hundreds of connections that send a header, or a header and a byte, leave no file. A well-behaved sender is still served.
func TestFileTransferManyHeaders(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	most := 0
	for i := range evtest.Pick(500, 2000) {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			continue // reset immediately: too many from one address
		}
		header := headerOf(fmt.Sprintf("name-%d", i), "some content")
		if i%2 == 1 {
			header += "{\"from\":0}\ns"
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, header)
		if i%10 == 9 {
			_, _ = bufio.NewReader(conn).ReadString('\n') // otherwise the receiver may be far behind
			most = max(most, len(r.unfinished()))
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	r.delivered("honest", "hello")
	assert.LessOrEqual(t, max(most, len(r.unfinished())), 100)
	require.Eventually(t, func() bool { return len(r.unfinished()) == 0 }, patience, 10*time.Millisecond, "%q", r.unfinished())
	t.Logf("unfinished files at most: %d", most)
}

// The connections of one address are limited, and the next ones receive an error.
func TestFileTransferOneAddress(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0", "-per-address", "3")
	for range 3 {
		dialReceiver(t, r.address).send("{")
	}
	refused, cut := 0, 0
	for range 10 {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			cut++
			continue
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			cut++
			continue
		}
		assert.JSONEq(t, `{"error":"too many senders from this address: the limit is 3: try again later","retry":true}`, line)
		refused++
	}
	assert.Equal(t, 3, refused)
	assert.Equal(t, 7, cut, "further connections are reset")

	other, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, tcpAddrOf(t, r.address))
	if err != nil {
		t.Skip("this machine has only one address: ", err)
	}
	defer other.Close()
	require.NoError(t, other.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(other, headerOf("x", "hello"))
	require.NoError(t, err)
	answer := make([]byte, 100)
	n, err := other.Read(answer)
	require.NoError(t, err)
	assert.NotContains(t, string(answer[:n]), "error")
}

func tcpAddrOf(t *testing.T, address string) *net.TCPAddr {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", address)
	require.NoError(t, err)
	return addr
}

// Senders that name an existing large file with a wrong hash, or disconnect, make the receiver read it at most once. If the size
// differs, the receiver does not read it.
func TestFileTransferNamesALargeFile(t *testing.T) {
	large := evtest.Pick[int64](50_000_000, 500_000_000)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	file, err := os.Create(filepath.Join(r.dir, "large"))
	require.NoError(t, err)
	require.NoError(t, file.Truncate(large)) // uses no disk space, but takes as long to read
	require.NoError(t, file.Close())
	before := readBy(r.Process.Pid)
	name := func(size int64) transferReply {
		s := dialReceiver(t, r.address)
		defer s.Close()
		s.send(fmt.Sprintf(`{"filetransfer":1,"name":"large","size":%d,"sha256":"%064x"}`+"\n", size, 1))
		for { // skip wait messages
			if answer := s.reply(); answer.Error != "" {
				return answer
			}
		}
	}
	for range 20 {
		assert.Contains(t, name(large-1).Error, "a different file with this name exists")
	}
	if before > 0 {
		assert.Less(t, readBy(r.Process.Pid)-before, int64(1<<20))
	}
	for range 5 {
		assert.Contains(t, name(large).Error, "a different file with this name exists")
	}
	total := readBy(r.Process.Pid) - before
	t.Logf("named 5 times, read %d MB", total/1_000_000)
	if before > 0 {
		assert.Less(t, total, large+large/10)
	}
}

// The receiver refuses what exceeds a limit and names the limit in the error.
func TestFileTransferLimits(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0", "-max-file", "2MB", "-max-total", "3MB", "-max-files", "3", "-max-parts", "1")
	refused := func(header string) transferReply {
		s := dialReceiver(t, r.address)
		defer s.Close()
		s.send(header)
		return s.reply()
	}
	assert.Equal(t, "a file of 2.0 MB exceeds the limit of 2MB", refused(headerOf("large", strings.Repeat("x", 2_000_001))).Error)

	part := dialReceiver(t, r.address)
	part.send(headerOf("part", strings.Repeat("x", 1_900_000)))
	part.reply()
	part.send("{\"from\":0}\n" + strings.Repeat("x", 1_500_000))
	require.Eventually(t, func() bool { return len(r.unfinished()) == 1 }, patience, time.Millisecond)
	answer := refused(headerOf("second", "hello"))
	assert.Equal(t, "too many unfinished files: the limit is 1: try again later", answer.Error)
	assert.True(t, answer.Retry)
	part.send(strings.Repeat("x", 400_000))
	assert.True(t, part.reply().Done)

	answer = refused(headerOf("more", strings.Repeat("x", 1_200_000)))
	assert.Equal(t, "directory limit exceeded: 1.9 MB of 3MB used", answer.Error)
	assert.False(t, answer.Retry)
	r.delivered("small", "hello")
	r.delivered("last", "hello")
	answer = refused(headerOf("many", "hello"))
	assert.Equal(t, "too many files in the directory: the limit is 3: try again later", answer.Error)
	assert.True(t, answer.Retry)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "small")))
	r.delivered("many", "hello") // after the directory has been counted again

	hidden := dialReceiver(t, r.address)
	hidden.send(headerOf("gpj.\u202eexe", "x"))
	assert.Contains(t, hidden.reply().Error, "invisible characters")
}

// A sender gives up on a receiver that works on its disk without progress.
func TestFileTransferEndlessWait(t *testing.T) {
	t.Parallel()
	path, _ := randomFile(t, "some.bin", 1000)
	address := proxyBackend(t, func(conn *net.TCPConn) {
		for {
			if _, err := io.WriteString(conn, "{\"wait\":true}\n"); err != nil {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	})
	code, _, stderr := transfer(t, "-connect", address, "-wait", "200ms", "-retries", "1", path)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "no progress on the receiver's disk for 200ms")
}
