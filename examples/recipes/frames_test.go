package recipes_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testFrame(kind byte, body string) string {
	n := len(body)
	return string([]byte{1, kind, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + body
}

func TestFrames_Answers(t *testing.T) {
	t.Parallel()
	r := start(t, "frames")
	c := r.dial()
	send(t, c, testFrame(1, "hello")+testFrame(1, "")+testFrame(1, "wor"))
	receive(t, c, testFrame(2, "HELLO")+testFrame(2, "")+testFrame(2, "WOR"))
	for _, b := range []byte(testFrame(1, "one byte at a time")) {
		send(t, c, string([]byte{b}))
	}
	receive(t, c, testFrame(2, "ONE BYTE AT A TIME"))
	longest := strings.Repeat("x", 1<<16)
	send(t, c, testFrame(1, longest))
	receive(t, c, testFrame(2, strings.ToUpper(longest)))
	assert.Equal(t, "closed\n", r.stop())
}

func TestFrames_AnswersBadFramesWithError(t *testing.T) {
	t.Parallel()
	r := start(t, "frames")
	for bad, want := range map[string]string{
		"\x02":                         "version 2 is not supported",
		"GET / HTTP/1.1\r\n\r\n":       "version 71 is not supported",
		testFrame(9, "hello"):          "unexpected type 9",
		testFrame(2, "hello"):          "unexpected type 2",
		"\x01\x01\x00\x01\x00\x01":     "the body is longer than 65536 bytes",
		"\x01\x01\xff\xff\xff\xffbody": "the body is longer than 65536 bytes",
	} {
		c := r.dial()
		send(t, c, testFrame(1, "hello")+bad+strings.Repeat("what follows is discarded", 10000))
		receive(t, c, testFrame(2, "HELLO")+testFrame(3, want))
		receiveEnd(t, c)
		_ = c.Close()
	}
	c := r.dial()
	send(t, c, testFrame(3, "no \x1b[2J"))
	assert.Contains(t, r.line(), ` reports: no \x1b[2J`)
	receiveEnd(t, c)
	assert.Equal(t, "closed\n", r.stop())
}

func TestFrames_HalfFrameIsUnexpectedEOF(t *testing.T) {
	t.Parallel()
	r := start(t, "frames")
	whole := testFrame(1, "hello")
	for n := 1; n < len(whole); n++ {
		c := r.dial()
		send(t, c, whole[:n])
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		receiveEnd(t, c)
		assert.Contains(t, r.line(), "unexpected EOF")
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestFrames_Client(t *testing.T) {
	t.Parallel()
	r := start(t, "frames")
	code, printed := launch(t, "frames", "-addr", r.address, "-client", "hello", "wörld", "\x1b[2J").end()
	assert.Zero(t, code)
	assert.Equal(t, "HELLO\nWÖRLD\n\\x1b[2J\n", printed)
	_ = r.stop()
}

func TestFrames_ClientReportsBadServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for answer, want := range map[string]string{
		testFrame(3, "I am full"): "the server reports: I am full\n",
		testFrame(2, "x")[:4]:     "unexpected EOF",
		"":                        "",
	} {
		r := launch(t, "frames", "-addr", ln.Addr().String(), "-client", "hello")
		c, err := ln.Accept()
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(evtest.Patience)))
		receive(t, c, testFrame(1, "hello"))
		send(t, c, answer)
		require.NoError(t, c.Close())
		code, printed := r.end()
		assert.Equal(t, 1, code)
		assert.Contains(t, printed, want)
	}
	r := launch(t, "frames", "-addr", ln.Addr().String(), "-client", "hello")
	c, err := ln.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(evtest.Patience)))
	send(t, c, "HTTP/1.1 200 OK\r\n")
	receive(t, c, testFrame(1, "hello")+testFrame(3, "version 72 is not supported"))
	require.NoError(t, c.Close())
	code, _ := r.end()
	assert.Equal(t, 1, code)
}

func TestFrames_WithPython(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "python3")
	r := start(t, "frames")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "HELLO\nWORLD\n", client(t, "", "python3", "frames/client.py", host, port, "hello", "world"))
	long := strings.Repeat("x", 1<<16+1)
	printed, err := evtest.Command(t, "python3", "frames/client.py", host, port, long).CombinedOutput()
	require.IsType(t, &exec.ExitError{}, err)
	assert.Equal(t, "version 1, type 3: 'the body is longer than 65536 bytes'\n", string(printed))
	assert.Equal(t, "closed\n", r.stop())
}

func TestFrames_WithNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "nc")
	r := start(t, "frames")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, testFrame(2, "HELLO"), client(t, testFrame(1, "hello"), "nc", "-N", host, port))
	assert.Equal(t, testFrame(3, "version 104 is not supported"), client(t, "hello", "nc", "-N", host, port))
	assert.Equal(t, "closed\n", r.stop())
}

func TestFrames_WrongFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"more"}, {"-client"}} {
		code, printed := launch(t, "frames", args...).end()
		assert.Equal(t, 2, code)
		assert.Equal(t, "give -client and at least one request, or neither\n", printed)
	}
}
