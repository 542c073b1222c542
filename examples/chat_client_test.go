package examples_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChatClientEnds(t *testing.T) {
	t.Parallel()
	r := openRoom(t, "-pace", "1ms")
	ana := r.join("ana")
	var sent, received strings.Builder
	for i := range 300 {
		fmt.Fprintf(&sent, "line %d\n", i)
		fmt.Fprintf(&received, "bob: line %d\n", i)
	}
	bob := program(t, "chat", "-connect", r.address, "-nick", "bob")
	bob.Stdin = strings.NewReader(sent.String() + "a last line without a newline")
	out, err := bob.CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, chatWelcome+"\n* hello bob! "+chatHelp+"\n", string(out))
	ana.expect("* bob joined")
	for line := range strings.Lines(received.String() + "bob: a last line without a newline\n* bob left\n") {
		ana.expect(strings.TrimSuffix(line, "\n"))
	}

	carl := program(t, "chat", "-connect", r.address) // the first line is the name
	carl.Stdin = strings.NewReader("ana\ncarl\n/quit\nnever sent\n")
	out, err = carl.CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, chatWelcome+"\n* ana is taken: choose another name\n* hello carl! "+chatHelp+"\n* goodbye\n", string(out))
	ana.expect("* carl joined", "* carl left")
}

// chatClient runs the chat program with -connect and returns once it has joined.
func chatClient(t *testing.T, r *chatRoom, name string) *terminal {
	c := runCommand(t, "", "chat", fmt.Sprintf("go run ./examples/chat -network %s -connect %s -nick %s", r.network, r.address, name))
	c.expect(t, chatWelcome, "* hello "+name+"! "+chatHelp)
	return c
}

func TestChatClientAndSignals(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	for _, network := range []string{"tcp", "unix"} {
		r := openRoomAt(t, network, chatAddress(t, network))
		ana := chatClient(t, r, "ana")
		bob := chatClient(t, r, "bob")
		ana.expect(t, "* bob joined")
		_, err := io.WriteString(bob.stdin, "I am \x1b[1mbob\n")
		require.NoError(t, err)
		ana.expect(t, `bob: I am \x1b[1mbob`)
		require.NoError(t, bob.process.Process.Signal(os.Interrupt)) // its input is still open
		ana.expect(t, "* bob left")
		rest, err := io.ReadAll(bob.said)
		require.NoError(t, err)
		assert.Empty(t, string(rest))
		assert.NoError(t, bob.process.Wait())

		r.expect(t, "ana joined", "bob joined", "bob left")
		r.close()
		ana.expect(t, "* the server is shutting down")
		assert.Empty(t, ana.finish(t))
		assert.Zero(t, ana.process.ProcessState.ExitCode())
	}
}

// The client exits even if the room does not end its side.
func TestChatClientLeavesAStuckRoom(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel completes connections without an Accept
	require.NoError(t, err)
	defer ln.Close()
	stuck := runCommand(t, "", "chat", "go run ./examples/chat -nick ana -connect "+ln.Addr().String())
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "\x1b]0;owned\x07\n") // the client must escape this
	require.NoError(t, err)
	stuck.expect(t, `\x1b]0;owned\a`)
	require.NoError(t, stuck.process.Process.Signal(os.Interrupt))
	received, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "/nick ana\n", string(received))
	rest, err := io.ReadAll(stuck.said)
	require.NoError(t, err)
	assert.Empty(t, string(rest))
	assert.NoError(t, stuck.process.Wait())
}

func TestChatBadUse(t *testing.T) {
	refusing := "127.0.0.1:" + refusingPort(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "exactly one of -listen and -connect is required"},
		{[]string{"-listen", "127.0.0.1:0", "-connect", "127.0.0.1:1"}, 2, "exactly one of -listen and -connect is required"},
		{[]string{"-listen", "127.0.0.1:0", "9000"}, 2, `unexpected argument "9000"`},
		{[]string{"-listen", "127.0.0.1:0", "-members", "0"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-queue", "-1"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-line", "0"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-slow", "0"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-idle", "-1s"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-grace", "0"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-pace", "-1s"}, 2, "must be positive"},
		{[]string{"-listen", "127.0.0.1:0", "-slow", "later"}, 2, `invalid value "later"`},
		{[]string{"-wat"}, 2, "not defined: -wat"},
		{[]string{"-connect", "127.0.0.1:1", "-nick", "a\nb"}, 2, "control characters"},
		{[]string{"-connect", "127.0.0.1:1", "-nick", "a b"}, 2, "letters, digits"},
		{[]string{"-listen", taken(t)}, 1, "listen tcp 127.0.0.1:"},
		{[]string{"-listen", "127.0.0.1"}, 1, "missing port"},
		{[]string{"-listen", "127.0.0.1:0", "-network", "carrier"}, 1, "carrier"},
		{[]string{"-connect", refusing}, 1, refusing},
		{[]string{"-connect", "127.0.0.1"}, 1, "missing port"},
		{[]string{"-connect", filepath.Join(t.TempDir(), "none"), "-network", "unix"}, 1, "none"},
		{[]string{"-h"}, 0, "-pace duration"},
	} {
		code, out, problems := result(t, "chat", c.args...)
		assert.Equal(t, c.code, code, "%q", c.args)
		assert.Empty(t, out, "%q", c.args)
		assert.Contains(t, problems, c.want, "%q", c.args)
	}
}

// The room reads from a member that floods it at -pace. No line is lost.
func TestChatPace(t *testing.T) {
	t.Parallel()
	const pace, count = 20 * time.Millisecond, 20
	r := openRoom(t, "-pace", pace.String())
	ana, bob := r.join("ana"), r.join("bob")
	ana.expect("* bob joined")
	begun := time.Now()
	bob.say(strings.Repeat("flood\n", count) + "/quit")
	for range count {
		ana.expect("bob: flood")
	}
	ana.expect("* bob left")
	bob.expect("* goodbye")
	assert.Greater(t, time.Since(begun), (count-1)*pace)
}
