package docs_test

import (
	"fmt"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"evnet"
	"evnet/conformance/scenario"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var backticked = regexp.MustCompile("`([^`]+)`")

// rows returns the rows of the Markdown tables of a file as cells, without the header rows.
func rows(t testing.TB, file string) [][]string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return rowsOf(string(text))
}

func rowsOf(text string) [][]string {
	var all [][]string
	previous := ""
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "|--") || strings.HasPrefix(line, "|") && !strings.HasPrefix(previous, "|") {
			previous = line
			continue
		}
		if previous = line; strings.HasPrefix(line, "|") {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
		}
	}
	return all
}

// exportedNames returns the names that a package exports: Name, Type.Method and Type.Field.
func exportedNames(t testing.TB, dir string) map[string]bool {
	names := map[string]bool{}
	declared(t, dir, false, func(_, name string, _ ...*ast.CommentGroup) { names[name] = exported(name) })
	return names
}

// Every name of evnet and of the standard library in the migration table exists.
func TestFromNodeNamesExist(t *testing.T) {
	own, dgram := exportedNames(t, "."), exportedNames(t, "dgram")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	std := map[string]map[string]bool{}
	for _, name := range []string{"net", "net/netip"} {
		std[filepath.Base(name)] = exportedNames(t, filepath.Join(strings.TrimSpace(string(root)), "src", name))
	}
	count := 0
	for _, row := range rows(t, "docs/from-node.md") {
		require.Len(t, row, 3, "%q", row)
		for _, m := range backticked.FindAllStringSubmatch(row[1], -1) {
			name := m[1]
			count++
			first, rest, _ := strings.Cut(name, ".")
			switch {
			case first == "dgram":
				assert.True(t, dgram[rest], "%s of the row %q", name, row[0])
			case std[first] != nil:
				assert.True(t, std[first][rest], "%s of the row %q", name, row[0])
			case first == "On":
				assert.True(t, own["SocketEvents."+rest] || own["ServerEvents."+rest], "%s of the row %q", name, row[0])
			default:
				assert.True(t, own[name], "%s of the row %q", name, row[0])
			}
		}
	}
	assert.Greater(t, count, 150)
}

// nodeMembers are the members of Node's net, by the section of the table.
const nodeMembers = `
createServer connect createConnection isIP isIPv4 isIPv6 getDefaultAutoSelectFamily setDefaultAutoSelectFamily
getDefaultAutoSelectFamilyAttemptTimeout setDefaultAutoSelectFamilyAttemptTimeout Server Socket Stream BlockList
SocketAddress BoundSocket promises.connect promises.listen
allowHalfOpen pauseOnConnect noDelay keepAlive keepAliveInitialDelay highWaterMark blockList
backlog exclusive ipv6Only reusePort readableAll writableAll signal handle fd
server.listen server.close server.address server.listening server.getConnections server.maxConnections
server.dropMaxConnection server.ref server.unref server[Symbol.asyncDispose] server[Symbol.asyncIterator]
listening connection close error drop
readable writable onread readableHighWaterMark writableHighWaterMark typeOfService objectMode readableObjectMode
writableObjectMode port host path family hints localAddress localPort lookup autoSelectFamily
autoSelectFamilyAttemptTimeout timeout
connecting pending readyState destroyed closed errored readableEnded writableEnded writableFinished readableFlowing
readableLength readableEncoding readableDidRead readableAborted writableAborted writableLength writableNeedDrain
writableCorked bufferSize bytesRead bytesWritten server address localFamily remoteAddress remotePort remoteFamily
autoSelectFamilyAttemptedAddresses
write end destroy destroySoon resetAndDestroy pause resume setEncoding setTimeout setNoDelay setKeepAlive
setTypeOfService getTypeOfService ref unref read unshift pipe unpipe isPaused cork uncork setDefaultEncoding
[Symbol.asyncIterator] [Symbol.asyncDispose]
connectionAttempt connectionAttemptFailed connectionAttemptTimeout ready data end finish prefinish drain
on addListener prependListener once prependOnceListener off removeListener removeAllListeners emit listenerCount listeners
rawListeners eventNames setMaxListeners getMaxListeners newListener errorMonitor
addAddress addRange addSubnet check rules toJSON fromJSON BlockList.isBlockList addAddresses addCIDR clear size
PRIVATE_RANGES flowlabel SocketAddress.parse`

func TestFromNodeIsComplete(t *testing.T) {
	have := map[string]bool{}
	for _, row := range rows(t, "docs/from-node.md") {
		for _, m := range backticked.FindAllStringSubmatch(row[0], -1) {
			have[m[1]] = true
		}
	}
	for _, name := range strings.Fields(nodeMembers) {
		assert.True(t, have[name], "%s has no row", name)
	}
}

// nodeDgramMembers are the members of Node's dgram: functions and methods, options, events.
const nodeDgramMembers = `
dgram.createSocket(type) dgram.createSocket(options) dgram.Socket
type reuseAddr reusePort ipv6Only recvBufferSize sendBufferSize lookup receiveBlockList sendBlockList signal
port address exclusive fd
socket.bind socket.connect socket.disconnect socket.remoteAddress socket.send socket.sendto socket.getSendQueueSize
socket.getSendQueueCount socket.address socket.close socket[Symbol.asyncDispose] socket.ref socket.unref
socket.setBroadcast socket.setTTL socket.setMulticastTTL socket.setMulticastLoopback socket.setMulticastInterface
socket.addMembership socket.dropMembership socket.addSourceSpecificMembership socket.dropSourceSpecificMembership
socket.getRecvBufferSize socket.setRecvBufferSize socket.getSendBufferSize socket.setSendBufferSize
message listening connect error close`

func TestFromNodeHasDatagrams(t *testing.T) {
	text, err := os.ReadFile("docs/from-node.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## Datagrams\n")
	require.True(t, ok)
	have := map[string]bool{}
	for _, row := range rowsOf(section) {
		for _, m := range backticked.FindAllStringSubmatch(row[0], -1) {
			have[m[1]] = true
		}
		for _, m := range backticked.FindAllStringSubmatch(row[1], -1) {
			assert.Regexp(t, `^(dgram|net)\.`, m[1])
		}
	}
	for _, name := range strings.Fields(nodeDgramMembers) {
		assert.True(t, have[name], "%s has no row", name)
	}
}

// traceEvents returns the events among the lines of a trace, with Go's names. Close keeps its argument.
func traceEvents(lines []string) []string {
	var events []string
	for _, line := range lines {
		name, args, _ := strings.Cut(line, " ")
		if !traceEvent.MatchString(line) {
			continue
		}
		text := strings.ToUpper(name[:1]) + name[1:]
		if name == "close" && args != "" {
			text += "(" + args + ")"
		}
		if n := len(events); name != "data" || n == 0 || events[n-1] != text {
			events = append(events, text)
		}
	}
	return events
}

var traceEvent = regexp.MustCompile(`^(lookup (null|[A-Z]+) .*|connectionAttempt(Failed|Timeout)? \S+ \S+ \S+.*|connect|ready` +
	`|data (\d+|".*")|drain|end|finish|timeout|error [A-Z_]+|close( true| false)?|listening|connection|drop .*)$`)

// Each event sequence in docs/events.md matches its scenario.
func TestEventsPaths(t *testing.T) {
	scripts := map[string]*scenario.Script{}
	for _, s := range scenario.ReadScripts(t, "conformance/testdata/scenarios") {
		scripts[s.Name] = s
	}
	paths := 0
	for _, row := range rows(t, "docs/events.md") {
		if len(row) != 3 || !strings.HasPrefix(row[2], "`") {
			continue
		}
		paths++
		name, actor, ok := strings.Cut(strings.Trim(row[2], "`"), " ")
		require.True(t, ok && scripts[name] != nil, "the scenario of %q", row)
		var want []string
		if row[1] != "" {
			want = strings.Split(row[1], " · ")
		}
		assert.Equal(t, traceEvents(scripts[name].Expected()[actor]), want, "%s: %s", row[2], row[0])
	}
	assert.Greater(t, paths, 30)
}

// The table of the lesson matches its server and client.
func TestLessonEvents(t *testing.T) {
	want := map[string][]string{}
	for _, row := range rows(t, "docs/aula.md") {
		if row[0] == "cliente" || row[0] == "servidor" {
			want[row[0]] = append(want[row[0]], row[1])
		}
	}
	got := map[string][]string{}
	tell := func(side string, s *evnet.Socket) {
		note := func(event string) func() { return func() { got[side] = append(got[side], event) } }
		s.On.ConnectionAttempt(func(evnet.Attempt) { note("ConnectionAttempt")() })
		s.On.Connect(note("Connect"))
		s.On.Ready(note("Ready"))
		s.On.Data(func([]byte) { note("Data")() })
		s.On.End(note("End"))
		s.On.Finish(note("Finish"))
		s.On.Close(func(hadError bool) { note(fmt.Sprintf("Close(%t)", hadError))() })
	}
	loop := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{loop}})
	server.On.Connection(func(c *evnet.Socket) {
		got["servidor"] = append(got["servidor"], "Connection")
		tell("servidor", c)
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
		require.NoError(t, server.Close(nil))
	})
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	client := evnet.NewSocket(&evnet.SocketOptions{Loop: loop})
	tell("cliente", client)
	client.On.Data(func([]byte) { client.End() })
	client.Connect("tcp", server.Address().String())
	loop.Run()
	assert.Equal(t, want, got)
}

var eventHeading = regexp.MustCompile("^### `On\\.(\\w+)\\((.*)\\)`$")

// The reference lists each event with the arguments of its callback.
func TestEventsReference(t *testing.T) {
	have := map[string]string{}
	section := ""
	for _, line := range prose(t, "docs/events.md") {
		if of, ok := strings.CutPrefix(line, "## "); ok {
			section = of
		}
		if m := eventHeading.FindStringSubmatch(line); m != nil {
			have[section+": "+m[1]] = m[2]
		}
	}
	want := map[string]string{}
	for file, sections := range map[string]map[string]string{
		"events.go":       {"SocketEvents": "Events of a Socket", "ServerEvents": "Events of a Server"},
		"dgram/events.go": {"SocketEvents": "Events of a dgram Socket"},
	} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func \(v (\w+)\) ([A-Z]\w*)\((.*)\) Listener \{`).FindAllStringSubmatch(string(text), -1) {
			want[sections[m[1]]+": "+m[2]] = m[3]
		}
	}
	assert.Equal(t, want, have)
	assert.Len(t, want, 25)
}

// Names of evnet in the pages for programmers exist.
func TestPagesNameWhatExists(t *testing.T) {
	own, dgram := exportedNames(t, "."), exportedNames(t, "dgram")
	examples := map[string]bool{}
	declared(t, ".", true, func(_, name string, _ ...*ast.CommentGroup) { examples[name] = true })
	qualified := regexp.MustCompile(`^(dgram\.|evnet\.)?([A-Z]\w*)(?:\.([A-Z]\w*))?$`)
	count := 0
	for _, page := range []string{"docs/guide.md", "docs/events.md", "docs/from-go.md", "docs/operations.md", "docs/design.md", "docs/aula.md"} {
		for i, line := range prose(t, page) {
			for _, m := range backticked.FindAllStringSubmatch(line, -1) {
				q := qualified.FindStringSubmatch(m[1])
				if q == nil {
					continue
				}
				names, name := own, strings.TrimPrefix(strings.TrimPrefix(m[1], "dgram."), "evnet.")
				if q[1] == "dgram." {
					names = dgram
				}
				switch {
				case strings.HasPrefix(name, "Example"):
					names = examples
				case q[2] == "On" && q[3] != "":
					assert.True(t, own["SocketEvents."+q[3]] || own["ServerEvents."+q[3]], "%s:%d: %s", page, i+1, m[1])
					continue
				case q[1] != "" || strings.HasPrefix(name, "Err") && name != "Err" || q[3] != "" && own[q[2]]:
				default:
					continue
				}
				count++
				assert.True(t, names[name], "%s:%d: %s", page, i+1, m[1])
			}
		}
	}
	assert.Greater(t, count, 80)
}
