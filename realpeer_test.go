package evnet_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the lesson's programs print, in Node and here. The message ends in CRLF, and so does Node's
// console.log and fmt.Println in LF.
const (
	lessonServer = "Cliente conectado\nCliente desconectado\n"
	lessonClient = "Cliente conectado ao servidor!\nMensagem do servidor!\r\n\nDesconectado do servidor\n"
)

// The events of both sides of testdata/node/halfopen.js, in Node and here.
const (
	halfOpenServer = "data Pergunta\nend\nfinish\nclose false\n"
	halfOpenClient = "finish\ndata Resposta depois do fim\nend\nclose false\n"
)

const echoSize = 1 << 20

// command is a program that is not part of the library, ended with the test. Where EVNET_CI is set
// nothing may be skipped, so that a machine without the program cannot pass.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path := needs(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// needs is where a program is. A test that listens before it has its command asks before that: who is skipped leaves
// no server behind.
func needs(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not installed")
	}
	return path
}

func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("EVNET_CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// lessonListening is what a script prints, before its port, once it listens.
const lessonListening = "Servidor escutando na porta "

// node is a script of testdata/node.
func node(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	file := "testdata/node/" + script
	require.FileExists(t, file)
	return command(t, "node", append([]string{file}, args...)...)
}

// visit runs l while a client program runs against s, closes s when the program has ended, however
// it did, and returns what it printed.
func visit(t *testing.T, l *evnet.Loop, s *evnet.Server, program *exec.Cmd) string {
	t.Helper()
	var printed []byte
	exited := make(chan error, 1)
	go func() {
		var err error
		printed, err = program.CombinedOutput()
		exited <- err
		_ = s.Close(nil)
	}()
	run(t, l)
	require.NoError(t, <-exited, "%s", printed)
	return string(printed)
}

// nodeServer is a script that serves until stop.
type nodeServer struct {
	program *exec.Cmd
	output  *bufio.Reader
	addr    string
}

// startNode returns once the script listens.
func startNode(t *testing.T, script string, args ...string) *nodeServer {
	t.Helper()
	program := node(t, script, args...)
	output, err := program.StdoutPipe()
	require.NoError(t, err)
	program.Stderr = program.Stdout
	require.NoError(t, program.Start())
	t.Cleanup(func() { _ = program.Wait() }) // after the context has ended it
	n := &nodeServer{program: program, output: bufio.NewReader(output)}
	first := n.lines(1)
	port, listening := strings.CutPrefix(first, lessonListening)
	require.True(t, listening, first)
	n.addr = net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
	return n
}

// lines waits for so many lines, or the end of the program.
func (n *nodeServer) lines(count int) string {
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

// prints checks that the server prints these lines, and, once stopped, that it has printed no more.
func (n *nodeServer) prints(t *testing.T, want string) {
	t.Helper()
	assert.Equal(t, want, n.lines(strings.Count(want, "\n")))
	require.NoError(t, n.program.Process.Kill())
	rest, err := n.output.ReadString(0)
	assert.Empty(t, rest)
	assert.Error(t, err)
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// printEvents is the function of that name in testdata/node/halfopen.js.
func printEvents(c *evnet.Socket, printed *strings.Builder) {
	c.On.Data(func(chunk []byte) { fmt.Fprintf(printed, "data %s\n", chunk) })
	c.On.End(func() { fmt.Fprintln(printed, "end") })
	c.On.Finish(func() { fmt.Fprintln(printed, "finish") })
	c.On.Close(func(hadError bool) { fmt.Fprintln(printed, "close", hadError) })
}

// digest is the line that testdata/node/echo.js prints for p.
func digest(p []byte) string { return fmt.Sprintf("%d %x\n", len(p), sha256.Sum256(p)) }

func TestNodeClientLesson(t *testing.T) {
	needs(t, "node")
	var printed strings.Builder
	l := evnet.NewLoop()
	s, addr := serve(t, l, nil, func(c *evnet.Socket) {
		fmt.Fprintln(&printed, "Cliente conectado")
		c.On.End(func() { fmt.Fprintln(&printed, "Cliente desconectado") })
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	assert.Equal(t, lessonClient, visit(t, l, s, node(t, "client.js", portOf(t, addr))))
	assert.Equal(t, lessonServer, printed.String())
}

func TestNodeServerLesson(t *testing.T) {
	n := startNode(t, "server.js", "0")
	var printed strings.Builder
	l := evnet.NewLoop()
	c := client(l)
	c.On.Connect(func() { fmt.Fprintln(&printed, "Cliente conectado ao servidor!") })
	c.On.Data(func(chunk []byte) {
		fmt.Fprintln(&printed, string(chunk))
		c.End()
	})
	c.On.End(func() { fmt.Fprintln(&printed, "Desconectado do servidor") })
	c.Connect("tcp", n.addr)
	run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, lessonClient, printed.String())
	n.prints(t, lessonServer)
}

func TestNodeClientEcho(t *testing.T) {
	needs(t, "node")
	var received []byte
	l := evnet.NewLoop()
	// Half-open, so that it is Pipe that ends the answer.
	s, addr := serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
		c.On.Data(func(chunk []byte) { received = append(received, chunk...) })
		c.Pipe(c)
	})
	printed := visit(t, l, s, node(t, "echo.js", "client", portOf(t, addr), fmt.Sprint(echoSize)))
	assert.Len(t, received, echoSize)
	assert.Equal(t, digest(received)+digest(received), printed, "what Node sent, and what it received")
}

func TestNodeServerEcho(t *testing.T) {
	n := startNode(t, "echo.js", "server", "0")
	sent := make([]byte, echoSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	var received []byte
	l := evnet.NewLoop()
	c := client(l)
	c.On.Data(func(chunk []byte) { received = append(received, chunk...) })
	rest := sent
	send := func() {
		for len(rest) > 0 && !c.NeedDrain() {
			size := min(len(rest), 10000)
			_, err := c.Write(rest[:size])
			assert.NoError(t, err)
			rest = rest[size:]
		}
		if len(rest) == 0 {
			c.End()
		}
	}
	c.On.Connect(func() {
		assert.NoError(t, c.Conn().(*net.TCPConn).SetWriteBuffer(16<<10)) // or the system takes it all at once
		send()
	})
	c.On.Drain(send)
	c.Connect("tcp", n.addr)
	run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, digest(sent), digest(received))
	n.prints(t, digest(sent))
}

func TestNodeClientHalfOpen(t *testing.T) {
	needs(t, "node")
	var printed strings.Builder
	l := evnet.NewLoop()
	s, addr := serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
		printEvents(c, &printed)
		c.On.End(func() {
			l.AfterFunc(10*time.Millisecond, func() {
				c.WriteString("Resposta depois do fim")
				c.End()
			})
		})
	})
	assert.Equal(t, halfOpenClient, visit(t, l, s, node(t, "halfopen.js", "client", portOf(t, addr))))
	assert.Equal(t, halfOpenServer, printed.String())
}

func TestNodeServerHalfOpen(t *testing.T) {
	n := startNode(t, "halfopen.js", "server", "0")
	var printed strings.Builder
	l := evnet.NewLoop()
	c := client(l)
	printEvents(c, &printed)
	c.Connect("tcp", n.addr)
	c.WriteString("Pergunta")
	c.End()
	run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, halfOpenClient, printed.String())
	n.prints(t, halfOpenServer)
}

// TestNetcat sends lines, half-closes, and takes everything back.
func TestNetcat(t *testing.T) {
	help, _ := command(t, "nc", "-h").CombinedOutput()
	if !strings.Contains(string(help), "OpenBSD") {
		missing(t, "nc is not the OpenBSD variant, whose -N half-closes")
	}
	var lines strings.Builder
	for i := range 10000 {
		fmt.Fprintln(&lines, "linha", i)
	}
	l := evnet.NewLoop()
	ended := 0
	s, addr := serve(t, l, nil, func(c *evnet.Socket) {
		c.On.End(func() { ended++ })
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	nc := command(t, "nc", "-N", "127.0.0.1", portOf(t, addr))
	nc.Stdin = strings.NewReader(lines.String())
	assert.Equal(t, "Mensagem do servidor!\r\n"+lines.String(), visit(t, l, s, nc))
	assert.Equal(t, 1, ended)
}
