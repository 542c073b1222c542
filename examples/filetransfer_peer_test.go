package examples_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rawSender is a connection to a receiver for hand-written messages.
type rawSender struct {
	*net.TCPConn
	t       *testing.T
	replies *bufio.Reader
}

// transferReply is a line of a receiver.
type transferReply struct {
	Have   *int64
	SHA256 string
	Done   bool
	Error  string
	Retry  bool
}

func dialReceiver(t *testing.T, address string) *rawSender {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &rawSender{conn.(*net.TCPConn), t, bufio.NewReader(conn)}
}

func (s *rawSender) send(text string) {
	s.t.Helper()
	_, err := io.WriteString(s, text)
	require.NoError(s.t, err)
}

func (s *rawSender) reply() (r transferReply) {
	s.t.Helper()
	line, err := s.replies.ReadBytes('\n')
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(line, &r), "%s", line)
	return r
}

// headerOf returns a header for this content.
func headerOf(name, content string) string {
	return fmt.Sprintf(`{"filetransfer":1,"name":%q,"size":%d,"sha256":"%x"}`+"\n", name, len(content), sha256.Sum256([]byte(content)))
}

// A receiver replies to an invalid sender with an error, leaves no file, and serves the next sender.
func TestFileTransferBadSenders(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, filepath.Join(t.TempDir()), "127.0.0.1:0", "-idle", "2s")
	silent := dialReceiver(t, r.address)
	sum := strings.Repeat("0", 64)
	for message, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "invalid header",
		"\n":                 "invalid header",
		"\x00\xff\x16\x03\n": "invalid header",
		"[]\n":               "invalid header",
		"{}\n":               "unsupported protocol version 0: want 1",
		`{"filetransfer":2,"name":"x","size":1,"sha256":"` + sum + "\"}\n":    "unsupported protocol version 2: want 1",
		`{"filetransfer":1,"name":"x","size":-1,"sha256":"` + sum + "\"}\n":   "invalid file size -1",
		`{"filetransfer":1,"name":"x","size":1e30,"sha256":"` + sum + "\"}\n": "invalid header",
		`{"filetransfer":1,"name":"x","size":1,"sha256":"abc"}` + "\n":        "invalid SHA-256",
		headerOf("", "x"):                       "empty file name",
		headerOf("../x", "x"):                   "not a plain name",
		headerOf("..", "x"):                     "not a plain name",
		headerOf(".", "x"):                      "not a plain name",
		headerOf("/etc/passwd", "x"):            "not a plain name",
		headerOf("a/b", "x"):                    "not a plain name",
		headerOf(`a\b`, "x"):                    "not a plain name",
		headerOf("c:x", "x"):                    "not a plain name",
		headerOf("x.part", "x"):                 "reserved for incomplete files",
		headerOf("a\nb", "x"):                   "invalid UTF-8",
		headerOf(strings.Repeat("n", 242), "x"): "242 bytes, more than the limit of 241",
	} {
		s := dialReceiver(t, r.address)
		s.send(message)
		answer := s.reply()
		assert.Contains(t, answer.Error, want, "%q", message)
		assert.False(t, answer.Retry)
		_, err := s.replies.ReadByte()
		assert.Equal(t, io.EOF, err, "%q", message)
		_ = s.Close()
	}

	much := []byte(headerOf("..", "x") + strings.Repeat("x", 32<<20)) // created before the connection, which has a deadline
	eager := dialReceiver(t, r.address)                               // does not wait for the reply
	_, err := eager.Write(much)
	require.NoError(t, err)
	assert.Contains(t, eager.reply().Error, "not a plain name")

	endless := dialReceiver(t, r.address)
	_, _ = io.Copy(endless, strings.NewReader(strings.Repeat("x", 1<<20)))
	_, err = io.Copy(io.Discard, endless)
	if err != nil {
		assert.ErrorContains(t, err, "reset")
	}
	_, err = silent.replies.ReadByte()
	assert.Equal(t, io.EOF, err)
	assert.Empty(t, r.names())

	for name, c := range map[string]struct{ start, content, want string }{
		"damaged":   {`{"from":0}`, "hellO", "file removed"},
		"too long":  {`{"from":0}`, "hello, world", "more data than the announced 5 bytes"},
		"elsewhere": {`{"from":3}`, "lo", "invalid start offset 3: want 0 or 0"},
		"nowhere":   {`{}`, "", "invalid start message"},
		"garbage":   {`go`, "", "invalid start message"},
	} {
		s := dialReceiver(t, r.address)
		s.send(headerOf(name, "hello"))
		assert.Nil(t, s.reply().Have)
		s.send(c.start + "\n" + c.content)
		assert.Contains(t, s.reply().Error, c.want, name)
		assert.NoFileExists(t, filepath.Join(r.dir, name))
	}
	assert.Empty(t, r.names(), "no sender can resume these parts")

	halted := dialReceiver(t, r.address) // stops in the middle of the file
	halted.send(headerOf("halted", "hello"))
	halted.reply()
	halted.send("{\"from\":0}\nhel")
	_, err = halted.replies.ReadByte()
	assert.Error(t, err)

	good := dialReceiver(t, r.address)
	good.send(headerOf("good", "hello"))
	good.reply()
	good.send("{\"from\":0}\nhello")
	assert.True(t, good.reply().Done)
	content, err := os.ReadFile(filepath.Join(r.dir, "good"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(content))
	require.NoError(t, r.Process.Kill())
	_, _ = r.exits()
	assert.Contains(t, r.stderr.String(), "no data received for 2s")
	assert.NotContains(t, r.stderr.String(), "goroutine")
}

// Of two senders with the same file name, the second receives a temporary error. After the first has finished, a different file is refused.
func TestFileTransferTwoOfOneName(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	first := dialReceiver(t, r.address)
	first.send(headerOf("some.bin", "hello"))
	first.reply()

	second := dialReceiver(t, r.address)
	second.send(headerOf("some.bin", "other"))
	answer := second.reply()
	assert.Equal(t, "another sender is sending a file with this name", answer.Error)
	assert.True(t, answer.Retry)

	path, _ := randomFile(t, "some.bin", 1000)
	code, _, stderr := transfer(t, "-connect", r.address, "-retries", "1", path)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "giving up after 2 consecutive failures: receiver: another sender is sending a file with this name")

	first.send("{\"from\":0}\nhello")
	assert.True(t, first.reply().Done)
	third := dialReceiver(t, r.address)
	third.send(headerOf("some.bin", "other"))
	assert.Equal(t, "a different file with this name exists", third.reply().Error)
}

// A sender prints what is wrong with a receiver.
func TestFileTransferBadReceivers(t *testing.T) {
	t.Parallel()
	path, sum := randomFile(t, "some.bin", 2<<20)
	reply := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	for name, c := range map[string]struct {
		serve func(*net.TCPConn)
		want  string
		idle  string // short only where the timeout is tested
	}{
		"another protocol": {reply("HTTP/1.1 400 Bad Request\r\n"), `does not speak this protocol: invalid reply "HTTP/1.1 400 Bad Request"`, "1m"},
		"an endless line":  {reply(strings.Repeat("x", 5000)), "token too long", "1m"},
		"a wrong hash":     {reply(`{"done":true,"sha256":"abc"}` + "\n"), "SHA-256 mismatch: the receiver has abc, want " + sum, "1m"},
		"no answer":        {reply(""), "no data received for 300ms", "300ms"},
		"its disk works": {func(conn *net.TCPConn) { // for longer than the idle timeout
			for range 5 {
				_, _ = io.WriteString(conn, "{\"wait\":true}\n")
				<-time.After(500 * time.Millisecond)
			}
			_, _ = io.WriteString(conn, "{\"error\":\"enough\"}\n")
			_, _ = io.Copy(io.Discard, conn)
		}, "enough", "2s"},
		"two offers": {reply("{}\n{}\n{\"error\":\"two\"}\n"), "two", "1m"},
		"nothing read": {func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "{}\n")
			_, _ = conn.Read(make([]byte, 1000))
		}, "giving up after 2 consecutive failures", "1m"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := transfer(t, "-connect", proxyBackend(t, c.serve), "-idle", c.idle, "-retries", "1", path)
			assert.Equal(t, 1, code)
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, c.want)
			assert.NotContains(t, stderr, "goroutine")
		})
	}
}
