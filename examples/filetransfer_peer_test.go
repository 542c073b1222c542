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

// rawSender speaks with a receiver by hand.
type rawSender struct {
	*net.TCPConn
	t       *testing.T
	answers *bufio.Reader
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

func (s *rawSender) say(text string) {
	s.t.Helper()
	_, err := io.WriteString(s, text)
	require.NoError(s.t, err)
}

func (s *rawSender) hear() (r transferReply) {
	s.t.Helper()
	line, err := s.answers.ReadBytes('\n')
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal(line, &r), "%s", line)
	return r
}

// headerOf is one for that content.
func headerOf(name, content string) string {
	return fmt.Sprintf(`{"filetransfer":1,"name":%q,"size":%d,"sha256":"%x"}`+"\n", name, len(content), sha256.Sum256([]byte(content)))
}

// A receiver tells a sender that is wrong why, leaves nothing behind, and serves the next one.
func TestFileTransferBadSenders(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, filepath.Join(t.TempDir()), "127.0.0.1:0", "-idle", "2s")
	silent := dialReceiver(t, r.address)
	sum := strings.Repeat("0", 64)
	for say, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "that is no header",
		"\n":                 "that is no header",
		"\x00\xff\x16\x03\n": "that is no header",
		"[]\n":               "that is no header",
		"{}\n":               "this is version 1 of the protocol, not 0",
		`{"filetransfer":2,"name":"x","size":1,"sha256":"` + sum + "\"}\n":    "this is version 1 of the protocol, not 2",
		`{"filetransfer":1,"name":"x","size":-1,"sha256":"` + sum + "\"}\n":   "a file of -1 bytes",
		`{"filetransfer":1,"name":"x","size":1e30,"sha256":"` + sum + "\"}\n": "that is no header",
		`{"filetransfer":1,"name":"x","size":1,"sha256":"abc"}` + "\n":        "is no SHA-256",
		headerOf("", "x"):                       "without a name",
		headerOf("../x", "x"):                   "not a plain name",
		headerOf("..", "x"):                     "not a plain name",
		headerOf(".", "x"):                      "not a plain name",
		headerOf("/etc/passwd", "x"):            "not a plain name",
		headerOf("a/b", "x"):                    "not a plain name",
		headerOf(`a\b`, "x"):                    "not a plain name",
		headerOf("c:x", "x"):                    "not a plain name",
		headerOf("x.part", "x"):                 "not whole yet",
		headerOf("a\nb", "x"):                   "are no text",
		headerOf(strings.Repeat("n", 242), "x"): "242 bytes; 241 is the most",
	} {
		s := dialReceiver(t, r.address)
		s.say(say)
		answer := s.hear()
		assert.Contains(t, answer.Error, want, "%q", say)
		assert.False(t, answer.Retry)
		_, err := s.answers.ReadByte()
		assert.Equal(t, io.EOF, err, "%q", say)
		_ = s.Close()
	}

	much := []byte(headerOf("..", "x") + strings.Repeat("x", 32<<20)) // copied before anybody waits for it
	eager := dialReceiver(t, r.address)                               // it does not wait for the answer
	_, err := eager.Write(much)
	require.NoError(t, err)
	assert.Contains(t, eager.hear().Error, "not a plain name")

	endless := dialReceiver(t, r.address)
	_, _ = io.Copy(endless, strings.NewReader(strings.Repeat("x", 1<<20)))
	_, err = io.Copy(io.Discard, endless)
	if err != nil {
		assert.ErrorContains(t, err, "reset")
	}
	_, err = silent.answers.ReadByte()
	assert.Equal(t, io.EOF, err)
	assert.Empty(t, r.left())

	for name, c := range map[string]struct{ start, content, want string }{
		"damaged":   {`{"from":0}`, "hellO", "thrown away"},
		"too long":  {`{"from":0}`, "hello, world", "goes on after its 5 bytes"},
		"elsewhere": {`{"from":3}`, "lo", "goes on at 3, not at 0"},
		"nowhere":   {`{}`, "", "no start of a file"},
		"garbage":   {`go`, "", "no start of a file"},
	} {
		s := dialReceiver(t, r.address)
		s.say(headerOf(name, "hello"))
		assert.Nil(t, s.hear().Have)
		s.say(c.start + "\n" + c.content)
		assert.Contains(t, s.hear().Error, c.want, name)
		assert.NoFileExists(t, filepath.Join(r.dir, name))
	}
	assert.Empty(t, r.left(), "nothing of them can be gone on from")

	halted := dialReceiver(t, r.address) // in the middle
	halted.say(headerOf("halted", "hello"))
	halted.hear()
	halted.say("{\"from\":0}\nhel")
	_, err = halted.answers.ReadByte()
	assert.Error(t, err)

	good := dialReceiver(t, r.address)
	good.say(headerOf("good", "hello"))
	good.hear()
	good.say("{\"from\":0}\nhello")
	assert.True(t, good.hear().Done)
	content, err := os.ReadFile(filepath.Join(r.dir, "good"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(content))
	require.NoError(t, r.Process.Kill())
	_, _ = r.exits()
	assert.Contains(t, r.stderr.String(), "has been silent for 2s")
	assert.NotContains(t, r.stderr.String(), "goroutine")
}

// Of two senders of one name the second is asked to come again, and both files cannot be had.
func TestFileTransferTwoOfOneName(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, t.TempDir(), "127.0.0.1:0")
	first := dialReceiver(t, r.address)
	first.say(headerOf("some.bin", "hello"))
	first.hear()

	second := dialReceiver(t, r.address)
	second.say(headerOf("some.bin", "other"))
	answer := second.hear()
	assert.Equal(t, "another sender is sending a file of this name", answer.Error)
	assert.True(t, answer.Retry)

	path, _ := randomFile(t, "some.bin", 1000)
	code, _, stderr := transfer(t, "-connect", r.address, "-retries", "1", path)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "gave up after 2 failures in a row: the receiver says: another sender is sending a file of this name")

	first.say("{\"from\":0}\nhello")
	assert.True(t, first.hear().Done)
	third := dialReceiver(t, r.address)
	third.say(headerOf("some.bin", "other"))
	assert.Equal(t, "the receiver has another file of this name", third.hear().Error)
}

// A sender tells its user what is wrong with a receiver.
func TestFileTransferBadReceivers(t *testing.T) {
	t.Parallel()
	path, sum := randomFile(t, "some.bin", 2<<20)
	say := func(text string) func(*net.TCPConn) {
		return func(conn *net.TCPConn) {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	for name, c := range map[string]struct {
		serve func(*net.TCPConn)
		want  string
		idle  string // short only where silence is tested: any other answer may take its time
	}{
		"another protocol": {say("HTTP/1.1 400 Bad Request\r\n"), `does not speak this protocol: it says "HTTP/1.1 400 Bad Request"`, "1m"},
		"an endless line":  {say(strings.Repeat("x", 5000)), "token too long", "1m"},
		"a wrong hash":     {say(`{"done":true,"sha256":"abc"}` + "\n"), "the receiver has a file with SHA-256 abc, not " + sum, "1m"},
		"no answer":        {say(""), "has been silent for 300ms", "300ms"},
		"its disk works": {func(conn *net.TCPConn) { // for longer than anybody may be silent
			for range 5 {
				_, _ = io.WriteString(conn, "{\"wait\":true}\n")
				<-time.After(500 * time.Millisecond)
			}
			_, _ = io.WriteString(conn, "{\"error\":\"enough\"}\n")
			_, _ = io.Copy(io.Discard, conn)
		}, "enough", "2s"},
		"two offers": {say("{}\n{}\n{\"error\":\"two\"}\n"), "two", "1m"},
		"nothing read": {func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "{}\n")
			_, _ = conn.Read(make([]byte, 1000))
		}, "gave up after 2 failures in a row", "1m"},
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
