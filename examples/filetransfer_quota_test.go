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

// unfinishedIn are the names of the files that are not whole in the receiver's directory.
func (r *transferReceiver) unfinishedIn() (names []string) {
	for _, name := range r.left() {
		if strings.HasSuffix(name, ".part") {
			names = append(names, name)
		}
	}
	return names
}

// readBy is how many bytes a process has read, from files and sockets, or 0 where the system does not report it.
func readBy(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	_, rest, _ := strings.Cut(string(text), "rchar:")
	n := int64(0)
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// delivered sends a file as an honest sender does, and fails the test if it does not arrive.
func (r *transferReceiver) delivered(name, content string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { // others may have to leave before there is a place for it
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
		answer, err := s.answers.ReadString('\n')
		if err != nil || strings.Contains(answer, `"retry":true`) {
			return false
		}
		require.NotContains(r.t, answer, "error")
		s.say("{\"from\":0}\n" + content)
		return s.hear().Done
	}, patience, 10*time.Millisecond)
	assert.FileExists(r.t, filepath.Join(r.dir, name))
}

// Hundreds of connections of a header each, or of a header and a byte, leave no file, and an honest sender is served.
func TestFileTransferManyHeaders(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	most := 0
	for i := range evtest.Pick(500, 2000) {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			continue // cut off at once: too many of one address
		}
		header := headerOf(fmt.Sprintf("name-%d", i), "some content")
		if i%2 == 1 {
			header += "{\"from\":0}\ns"
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, header)
		if i%10 == 9 {
			_, _ = bufio.NewReader(conn).ReadString('\n') // or it may be far behind
			most = max(most, len(r.unfinishedIn()))
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	r.delivered("honest", "hello")
	assert.LessOrEqual(t, max(most, len(r.unfinishedIn())), 100)
	require.Eventually(t, func() bool { return len(r.unfinishedIn()) == 0 }, patience, 10*time.Millisecond, "%q", r.unfinishedIn())
	t.Logf("unfinished files at most: %d", most)
}

// One address holds a bounded number of connections and of unfinished files, and is told so.
func TestFileTransferOneAddress(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0", "-per-address", "3")
	for range 3 {
		dialReceiver(t, r.address).say("{")
	}
	told, cut := 0, 0
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
		assert.JSONEq(t, `{"error":"the receiver takes 3 senders of one address at once: try again later","retry":true}`, line)
		told++
	}
	assert.Equal(t, 3, told)
	assert.Equal(t, 7, cut, "it cannot keep others from being told")

	other, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, tcpAddrOf(t, r.address))
	if err != nil {
		t.Skip("this system has one address only: ", err)
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

// Whoever names a large file that is there, and leaves or lies, makes the receiver read it once at most, and not at all if
// the size is another.
func TestFileTransferNamesALargeFile(t *testing.T) {
	large := evtest.Pick[int64](50_000_000, 500_000_000)
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	file, err := os.Create(filepath.Join(r.dir, "large"))
	require.NoError(t, err)
	require.NoError(t, file.Truncate(large)) // which takes no room on the disk, but as long to read
	require.NoError(t, file.Close())
	before := readBy(r.Process.Pid)
	name := func(size int64) transferReply {
		s := dialReceiver(t, r.address)
		defer s.Close()
		s.say(fmt.Sprintf(`{"filetransfer":1,"name":"large","size":%d,"sha256":"%064x"}`+"\n", size, 1))
		for { // past the lines that say that the disk works
			if answer := s.hear(); answer.Error != "" {
				return answer
			}
		}
	}
	for range 20 {
		assert.Contains(t, name(large-1).Error, "another file of this name")
	}
	if before > 0 {
		assert.Less(t, readBy(r.Process.Pid)-before, int64(1<<20))
	}
	for range 5 {
		assert.Contains(t, name(large).Error, "another file of this name")
	}
	total := readBy(r.Process.Pid) - before
	t.Logf("named 5 times, read %d MB", total/1_000_000)
	if before > 0 {
		assert.Less(t, total, large+large/10)
	}
}

// What is over a limit is refused, with the limit in the answer.
func TestFileTransferLimits(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0", "-max-file", "2MB", "-max-total", "3MB", "-max-files", "3", "-max-parts", "1")
	refused := func(header string) transferReply {
		s := dialReceiver(t, r.address)
		defer s.Close()
		s.say(header)
		return s.hear()
	}
	assert.Equal(t, "a file of 2.0 MB; 2MB is the most that this receiver takes", refused(headerOf("large", strings.Repeat("x", 2_000_001))).Error)

	part := dialReceiver(t, r.address)
	part.say(headerOf("part", strings.Repeat("x", 1_900_000)))
	part.hear()
	part.say("{\"from\":0}\n" + strings.Repeat("x", 1_500_000))
	require.Eventually(t, func() bool { return len(r.unfinishedIn()) == 1 }, patience, time.Millisecond)
	answer := refused(headerOf("second", "hello"))
	assert.Equal(t, "the receiver has 1 unfinished files, and begins no more: try again later", answer.Error)
	assert.True(t, answer.Retry)
	part.say(strings.Repeat("x", 400_000))
	assert.True(t, part.hear().Done)

	answer = refused(headerOf("more", strings.Repeat("x", 1_200_000)))
	assert.Equal(t, "the receiver's directory has no room for this file: 1.9 MB of 3MB are used", answer.Error)
	assert.False(t, answer.Retry)
	r.delivered("small", "hello")
	r.delivered("last", "hello")
	answer = refused(headerOf("many", "hello"))
	assert.Equal(t, "the receiver's directory has 3 files, and takes no more: try again later", answer.Error)
	assert.True(t, answer.Retry)
	require.NoError(t, os.Remove(filepath.Join(r.dir, "small")))
	r.delivered("many", "hello") // once the directory was counted again

	hidden := dialReceiver(t, r.address)
	hidden.say(headerOf("gpj.\u202eexe", "x"))
	assert.Contains(t, hidden.hear().Error, "invisible characters")
}

// A receiver that works on its disk without end does not hold a sender forever.
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
	assert.Contains(t, stderr, "has worked on its disk for 200ms")
}
