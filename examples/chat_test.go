package examples_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	chatWelcome = "* welcome: what is your name?"
	chatHelp    = "Commands: /nick NAME, /who, /quit"
)

// chatRoom is a running chat program with -listen.
type chatRoom struct {
	*terminal
	t       *testing.T
	network string
	address string
}

// openRoom starts a room and returns when it listens.
func openRoom(t *testing.T, args ...string) *chatRoom {
	t.Helper()
	return openRoomAt(t, "tcp", "127.0.0.1:0", args...)
}

func openRoomAt(t *testing.T, network, address string, args ...string) *chatRoom {
	t.Helper()
	at := begin(t, program(t, "chat", append([]string{"-network", network, "-listen", address}, args...)...))
	address, ok := strings.CutPrefix(at.line(t), "listening on ")
	require.True(t, ok, address)
	return &chatRoom{at, t, network, address}
}

// close interrupts the room and checks that it prints only these last lines.
func (r *chatRoom) close(last ...string) {
	r.t.Helper()
	if runtime.GOOS == "windows" {
		return // there is no signal to end it with
	}
	require.NoError(r.t, r.process.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(r.said)
	require.NoError(r.t, err)
	assert.Equal(r.t, strings.Join(append(last, "closed\n"), "\n"), string(rest))
	assert.NoError(r.t, r.process.Wait())
}

// chatMember is a raw connection to the room, as netcat makes one.
type chatMember struct {
	t     *testing.T
	conn  net.Conn
	input *bufio.Reader
}

// connect dials the room and reads the welcome line.
func (r *chatRoom) connect() *chatMember {
	r.t.Helper()
	conn, err := net.Dial(r.network, r.address)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(5*patience)))
	m := &chatMember{r.t, conn, bufio.NewReader(conn)}
	m.expect(chatWelcome)
	return m
}

// join connects with a name that the room accepts.
func (r *chatRoom) join(name string) *chatMember {
	r.t.Helper()
	m := r.connect()
	m.say(name)
	m.expect("* hello " + name + "! " + chatHelp)
	return m
}

// stuckBuffer is the size of the kernel's receive buffer of a member that does not read. Without a limit the kernel may buffer
// everything that a test sends, 32 MB on some systems, and the room queues nothing.
const stuckBuffer = 64 << 10

// joinStuck joins as a member that reads nothing more.
func (r *chatRoom) joinStuck() *chatMember {
	r.t.Helper()
	m := r.join("stuck")
	require.NoError(r.t, m.conn.(*net.TCPConn).SetReadBuffer(stuckBuffer))
	return m
}

func (m *chatMember) say(line string) {
	m.t.Helper()
	_, err := io.WriteString(m.conn, line+"\n")
	require.NoError(m.t, err)
}

// expect checks that the next lines are these.
func (m *chatMember) expect(lines ...string) {
	m.t.Helper()
	for _, want := range lines {
		got, err := m.input.ReadString('\n')
		require.NoError(m.t, err, "waiting for %q: %q", want, got)
		require.Equal(m.t, want+"\n", got)
	}
}

// expectEnd checks that the room has ended the connection in an orderly way.
func (m *chatMember) expectEnd() {
	m.t.Helper()
	rest, err := io.ReadAll(m.input)
	require.NoError(m.t, err)
	require.Empty(m.t, string(rest))
}

func TestChatPage(t *testing.T) {
	t.Parallel()
	play(t, "chat", "9000")
}

func TestChat(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			r := openRoomAt(t, network, chatAddress(t, network))
			ana := r.join("ana")
			bob := r.connect()
			bob.say("/nick bob\r") // telnet ends its lines with CR LF
			bob.expect("* hello bob! " + chatHelp)
			ana.expect("* bob joined")
			ana.say("hello")
			bob.expect("ana: hello")
			bob.say("")
			bob.say("  who are you?\t")
			ana.expect("bob: who are you?")
			bob.say("/who")
			bob.expect("* in the room: 2", "* ana bob")
			bob.say("/nick Robert")
			bob.expect("* bob is now called Robert")
			ana.expect("* bob is now called Robert")
			ana.say("/dance now")
			ana.expect("* unknown command /dance: use /nick NAME, /who or /quit")

			carl := r.join("bob") // the name is free again
			ana.expect("* bob joined")
			bob.expect("* bob joined")
			require.NoError(t, carl.conn.Close())
			ana.expect("* bob left")
			bob.expect("* bob left")
			dora := r.join("dóra")
			ana.expect("* dóra joined")
			bob.expect("* dóra joined")
			require.NoError(t, dora.conn.(interface{ CloseWrite() error }).CloseWrite())
			dora.expectEnd()
			ana.expect("* dóra left")
			bob.expect("* dóra left")
			bob.say("/quit")
			bob.expect("* goodbye")
			bob.expectEnd()
			ana.expect("* Robert left")
			r.expect(t, "ana joined", "bob joined", "bob is now called Robert", "bob joined", "bob left", "dóra joined",
				"dóra left", "Robert left")
			if r.close(); runtime.GOOS != "windows" {
				ana.expect("* the server is shutting down")
				ana.expectEnd()
			}
		})
	}
}

// chatAddress returns a free address.
func chatAddress(t *testing.T, network string) string {
	if network == "tcp" {
		return "127.0.0.1:0"
	}
	dir, err := os.MkdirTemp("", "evnet") // t.TempDir is too long for a socket path
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "room")
}

func TestChatNames(t *testing.T) {
	r := openRoom(t, "-pace", "0")
	ana := r.join("Ana")
	m := r.connect()
	again := ": choose another name"
	refused := func(command string) {
		for _, c := range []struct{ name, reason string }{
			{"", "a name must not be empty"},
			{" \t", "a name must not be empty"},
			{"Ana", "Ana is taken"},
			{"aNA", "aNA is taken"},
			{strings.Repeat("x", 21), "a name must not have more than 20 characters"},
			{strings.Repeat("ã", 21), "a name must not have more than 20 characters"},
			{"a\x1b[2Jb", "a name must not contain control characters"},
			{"a\x00b", "a name must not contain control characters"},
			{"a\u0085b", "a name must not contain control characters"},
			{"a\xffb", "a name must be valid UTF-8"},
			{"an na", "a name must consist of letters, digits, - and _"},
			{"ana:", "a name must consist of letters, digits, - and _"},
			{"* ana", "a name must consist of letters, digits, - and _"},
			{"a\u202eb", "a name must consist of letters, digits, - and _"},
			{"a\u3164b", "a name must not contain invisible characters"},
		} {
			m.say(command + c.name)
			m.expect("* " + c.reason + again)
		}
	}
	refused("")
	refused("/nick ")
	m.say(strings.Repeat("x", 1001))
	m.expect("* line too long: the limit is 1000 bytes")
	m.say("/who") // works without a name too
	m.expect("* in the room: 1", "* Ana")
	longest := strings.Repeat("ã", 20)
	m.say(longest)
	m.expect("* hello " + longest + "! " + chatHelp)
	ana.expect("* " + longest + " joined")
	refused("/nick ")
	m.say("after all")
	ana.expect(longest + ": after all")
	m.say("/nick " + longest) // its own is not taken
	ana.expect("* " + longest + " is now called " + longest)

	unnamed := r.connect()
	unnamed.say("/quit")
	unnamed.expect("* goodbye")
	unnamed.expectEnd()
	ana.say("done")
	m.expect("* "+longest+" is now called "+longest, "Ana: done") // nothing about the member without a name
}

// A member cannot send control characters to another member's terminal.
func TestChatCleansLines(t *testing.T) {
	r := openRoom(t, "-pace", "0")
	ana, bob := r.join("ana"), r.join("bob")
	ana.expect("* bob joined")
	for sent, received := range map[string]string{
		"\x1b[31mred\x1b]0;title\x07": `\x1b[31mred\x1b]0;title\a`,
		"a\rb\x00c\x7fd\u009be":       `a\rb\x00c\x7fd\u009be`,
		"tab\there":                   "tab here",
		"\xff\xfeolá\xc3":             `\xff\xfeolá\xc3`,
		"\u202eturned\u2066\u2028.":   `\u202eturned\u2066\u2028.`,
		"👩\u200d🚀 naïve 日本":           "👩\u200d🚀 naïve 日本",
	} {
		bob.say(sent)
		ana.expect("bob: " + received)
	}
	bob.say("/\x1b[31m")
	bob.expect("* unknown command /\\x1b[31m: use /nick NAME, /who or /quit")
}

// The room refuses a line that is too long without buffering it, whatever its length. The member stays.
func TestChatLongLines(t *testing.T) {
	r := openRoom(t, "-pace", "0", "-line", "100")
	ana, bob := r.join("ana"), r.join("bob")
	ana.expect("* bob joined")
	refusal := "* line too long: the limit is 100 bytes"
	longest := strings.Repeat("x", 100)
	bob.say(longest)
	ana.expect("bob: " + longest)
	bob.say(longest + "\r")
	ana.expect("bob: " + longest)
	bob.say(longest + "x")
	bob.expect(refusal)
	bob.say(longest + "x\r")
	bob.expect(refusal)
	before := memory(t, r.process.Process.Pid)
	for range 32 << 20 >> 16 {
		_, err := bob.conn.Write(make([]byte, 1<<16))
		require.NoError(t, err)
	}
	bob.expect(refusal)
	bob.say("\nstill here") // the first newline ends the long line
	ana.expect("bob: still here")
	assert.Less(t, memory(t, r.process.Process.Pid)-before, 16<<20)

	_, err := io.WriteString(bob.conn, "without a newline")
	require.NoError(t, err)
	require.NoError(t, bob.conn.(*net.TCPConn).CloseWrite())
	ana.expect("bob: without a newline", "* bob left")
	bob.expectEnd()

	carl := r.join("carl")
	ana.expect("* carl joined")
	_, err = io.WriteString(carl.conn, longest+longest) // too long, and without a newline
	require.NoError(t, err)
	require.NoError(t, carl.conn.(*net.TCPConn).CloseWrite())
	carl.expect(refusal)
	carl.expectEnd()
	ana.expect("* carl left")
}

func TestChatIsFull(t *testing.T) {
	r := openRoom(t, "-members", "2")
	ana, bob := r.join("ana"), r.join("bob")
	ana.expect("* bob joined")
	for range 3 {
		conn, err := net.Dial("tcp", r.address)
		require.NoError(t, err)
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(conn, "carl\nhello\n") // if the room left it unread, closing would reset the connection
		require.NoError(t, err)
		received, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "* the room is full: try again later\n", string(received))
		_ = conn.Close()
	}
	bob.say("/quit")
	bob.expect("* goodbye")
	bob.expectEnd()
	_ = bob.conn.Close()
	ana.expect("* bob left")
	require.Eventually(t, func() bool { // there is room again once the connection is closed
		conn, err := net.Dial("tcp", r.address)
		require.NoError(t, err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		return line == chatWelcome+"\n"
	}, patience, time.Millisecond)
}

func TestChatSilence(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second // far more than a slow machine needs between two lines
	r := openRoom(t, "-idle", idle.String(), "-pace", "0")
	unnamed := r.connect()
	m := r.join("ana")
	begun := time.Now()
	for time.Since(begun) < idle+idle/8 { // a member that sends lines stays longer than the limit
		m.say("/who")
		m.expect("* in the room: 1", "* ana")
		time.Sleep(idle / 20)
	}
	unnamed.expect("* disconnected: idle timeout")
	unnamed.expectEnd()
	m.expect("* disconnected: idle timeout")
	m.expectEnd()
	r.expect(t, "ana joined", "ana disconnected: idle timeout")
}

// The room disconnects a member whose queue makes no progress for -slow. The queue may be far below its limit, and the member
// may send lines meanwhile.
func TestChatDisconnectsMemberThatStopsReading(t *testing.T) {
	t.Parallel()
	t.Run("silent", func(t *testing.T) { disconnectsNonReader(t, nil) })
	t.Run("three bytes now and then", func(t *testing.T) {
		disconnectsNonReader(t, func(stuck net.Conn) error {
			tick := time.NewTicker(30 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := stuck.Write([]byte("abc")); err != nil {
					return err
				}
				<-tick.C
			}
		})
	})
}

// disconnectsNonReader runs the test with a member that reads nothing, while talk may send.
func disconnectsNonReader(t *testing.T, talk func(stuck net.Conn) error) {
	r := openRoom(t, "-slow", "300ms", "-queue", "1000000000", "-pace", "0", "-idle", "1h")
	ana := r.join("ana")
	stuck := r.joinStuck()
	ana.expect("* stuck joined")
	talked := make(chan error, 1)
	if talk != nil {
		go func() { talked <- talk(stuck.conn) }()
	}
	go func() { // until the member is disconnected: the kernel may accept megabytes on the room's side
		lines := strings.Repeat(strings.Repeat("x", 999)+"\n", 1<<6)
		for range 32 << 10 >> 6 {
			if _, err := io.WriteString(ana.conn, lines); err != nil {
				return
			}
		}
	}()
	ana.expect("* stuck disconnected: too slow")
	r.expect(t, "ana joined", "stuck joined", "stuck disconnected: too slow")
	_, err := io.Copy(io.Discard, stuck.conn)
	if err == nil && talk != nil { // the kernel reports a reset to one call, which may be the Write
		err = <-talked
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
	assert.Error(t, err, "a reset")
}
