package conformance_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The lesson's programs print this in Node and in Go. The message ends in CRLF; console.log and fmt.Println
// add an LF.
const (
	lessonServer = "Cliente conectado\nCliente desconectado\n"
	lessonClient = "Cliente conectado ao servidor!\nMensagem do servidor!\r\n\nDesconectado do servidor\n"
)

// The events of both sides of testdata/node/halfopen.js, in Node and in Go.
const (
	halfOpenServer = "data Pergunta\nend\nfinish\nclose false\n"
	halfOpenClient = "finish\ndata Resposta depois do fim\nend\nclose false\n"
)

const echoSize = 1 << 20

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// printEvents does the same as the function of that name in testdata/node/halfopen.js.
func printEvents(c *evnet.Socket, printed *strings.Builder) {
	c.On.Data(func(chunk []byte) { fmt.Fprintf(printed, "data %s\n", chunk) })
	c.On.End(func() { fmt.Fprintln(printed, "end") })
	c.On.Finish(func() { fmt.Fprintln(printed, "finish") })
	c.On.Close(func(hadError bool) { fmt.Fprintln(printed, "close", hadError) })
}

// digest returns the line that testdata/node/echo.js prints for p.
func digest(p []byte) string { return fmt.Sprintf("%d %x\n", len(p), sha256.Sum256(p)) }

func TestNodeClientLesson(t *testing.T) {
	evtest.RequireProgram(t, "node")
	var printed strings.Builder
	l := evnet.NewLoop()
	s, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) {
		fmt.Fprintln(&printed, "Cliente conectado")
		c.On.End(func() { fmt.Fprintln(&printed, "Cliente desconectado") })
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	assert.Equal(t, lessonClient, kit.RunWithClient(t, l, s, kit.NodeScript(t, "client.js", portOf(t, addr))))
	assert.Equal(t, lessonServer, printed.String())
}

func TestNodeServerLesson(t *testing.T) {
	n := kit.StartNode(t, "server.js", "0")
	var printed strings.Builder
	l := evnet.NewLoop()
	c := kit.NewClient(l)
	c.On.Connect(func() { fmt.Fprintln(&printed, "Cliente conectado ao servidor!") })
	c.On.Data(func(chunk []byte) {
		fmt.Fprintln(&printed, string(chunk))
		c.End()
	})
	c.On.End(func() { fmt.Fprintln(&printed, "Desconectado do servidor") })
	c.Connect("tcp", n.Addr)
	kit.Run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, lessonClient, printed.String())
	n.Prints(t, lessonServer)
}

func TestNodeClientEcho(t *testing.T) {
	evtest.RequireProgram(t, "node")
	var received []byte
	l := evnet.NewLoop()
	// Half-open, so that Pipe ends the answer.
	s, addr := kit.Serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
		c.On.Data(func(chunk []byte) { received = append(received, chunk...) })
		c.Pipe(c)
	})
	printed := kit.RunWithClient(t, l, s, kit.NodeScript(t, "echo.js", "client", portOf(t, addr), fmt.Sprint(echoSize)))
	assert.Len(t, received, echoSize)
	assert.Equal(t, digest(received)+digest(received), printed, "the data that Node sent, and the data that it received")
}

func TestNodeServerEcho(t *testing.T) {
	n := kit.StartNode(t, "echo.js", "server", "0")
	sent := make([]byte, echoSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	var received []byte
	l := evnet.NewLoop()
	c := kit.NewClient(l)
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
		assert.NoError(t, c.Conn().(*net.TCPConn).SetWriteBuffer(16<<10)) // otherwise the kernel accepts all of it in one write
		send()
	})
	c.On.Drain(send)
	c.Connect("tcp", n.Addr)
	kit.Run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, digest(sent), digest(received))
	n.Prints(t, digest(sent))
}

func TestNodeClientHalfOpen(t *testing.T) {
	evtest.RequireProgram(t, "node")
	var printed strings.Builder
	l := evnet.NewLoop()
	s, addr := kit.Serve(t, l, &evnet.ServerOptions{AllowHalfOpen: true}, func(c *evnet.Socket) {
		printEvents(c, &printed)
		c.On.End(func() {
			l.AfterFunc(10*time.Millisecond, func() {
				c.WriteString("Resposta depois do fim")
				c.End()
			})
		})
	})
	assert.Equal(t, halfOpenClient, kit.RunWithClient(t, l, s, kit.NodeScript(t, "halfopen.js", "client", portOf(t, addr))))
	assert.Equal(t, halfOpenServer, printed.String())
}

func TestNodeServerHalfOpen(t *testing.T) {
	n := kit.StartNode(t, "halfopen.js", "server", "0")
	var printed strings.Builder
	l := evnet.NewLoop()
	c := kit.NewClient(l)
	printEvents(c, &printed)
	c.Connect("tcp", n.Addr)
	c.WriteString("Pergunta")
	c.End()
	kit.Run(t, l)
	require.NoError(t, c.Err())
	assert.Equal(t, halfOpenClient, printed.String())
	n.Prints(t, halfOpenServer)
}

// Netcat sends lines, half-closes, and receives everything back.
func TestNetcat(t *testing.T) {
	help, _ := evtest.Command(t, "nc", "-h").CombinedOutput()
	if !strings.Contains(string(help), "OpenBSD") {
		evtest.SkipOrFail(t, "nc is not the OpenBSD variant, whose -N half-closes")
	}
	var lines strings.Builder
	for i := range 10000 {
		fmt.Fprintln(&lines, "linha", i)
	}
	l := evnet.NewLoop()
	ended := 0
	s, addr := kit.Serve(t, l, nil, func(c *evnet.Socket) {
		c.On.End(func() { ended++ })
		c.WriteString("Mensagem do servidor!\r\n")
		c.Pipe(c)
	})
	nc := evtest.Command(t, "nc", "-N", "127.0.0.1", portOf(t, addr))
	nc.Stdin = strings.NewReader(lines.String())
	assert.Equal(t, "Mensagem do servidor!\r\n"+lines.String(), kit.RunWithClient(t, l, s, nc))
	assert.Equal(t, 1, ended)
}
