package kit

import (
	"bufio"
	"net"
	"os/exec"
	"strings"
	"testing"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// LessonListening is the text that a script prints in front of its port once it listens.
const LessonListening = "Servidor escutando na porta "

// NodeScript returns the command that runs a script of testdata/node.
func NodeScript(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	file := "testdata/node/" + script
	require.FileExists(t, file)
	return evtest.Command(t, "node", append([]string{file}, args...)...)
}

// RunWithClient runs l while a client program runs against s. It closes s when the program ends, whatever its
// exit status, and returns the program's output.
func RunWithClient(t *testing.T, l *evnet.Loop, s *evnet.Server, program *exec.Cmd) string {
	t.Helper()
	var printed []byte
	exited := make(chan error, 1)
	go func() {
		var err error
		printed, err = program.CombinedOutput()
		exited <- err
		_ = s.Close(nil)
	}()
	Run(t, l)
	require.NoError(t, <-exited, "%s", printed)
	return string(printed)
}

// NodeServer is a script that serves until stop.
type NodeServer struct {
	program *exec.Cmd
	output  *bufio.Reader
	Addr    string
}

// StartNode returns once the script listens.
func StartNode(t *testing.T, script string, args ...string) *NodeServer {
	t.Helper()
	program := NodeScript(t, script, args...)
	output, err := program.StdoutPipe()
	require.NoError(t, err)
	program.Stderr = program.Stdout
	require.NoError(t, program.Start())
	t.Cleanup(func() { _ = program.Wait() }) // after the context has killed it
	n := &NodeServer{program: program, output: bufio.NewReader(output)}
	first := n.Lines(1)
	port, listening := strings.CutPrefix(first, LessonListening)
	require.True(t, listening, first)
	n.Addr = net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
	return n
}

// Lines waits for count lines or the end of the program.
func (n *NodeServer) Lines(count int) string {
	var lines strings.Builder
	for range count {
		line, err := n.output.ReadString('\n')
		lines.WriteString(line)
		if err != nil {
			break
		}
	}
	return lines.String()
}

// Prints checks that the server prints these lines and, once stopped, that it has printed no others.
func (n *NodeServer) Prints(t *testing.T, want string) {
	t.Helper()
	assert.Equal(t, want, n.Lines(strings.Count(want, "\n")))
	require.NoError(t, n.program.Process.Kill())
	rest, err := n.output.ReadString(0)
	assert.Empty(t, rest)
	assert.Error(t, err)
}
