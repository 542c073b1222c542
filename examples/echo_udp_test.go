package examples_test

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const udpListening = "Servidor UDP escutando na porta "

// udpServer starts a server and returns when it listens.
func udpServer(t *testing.T) *server {
	t.Helper()
	p := program(t, "echo-udp", "-port", "0")
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = p.Stdout
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Wait() }) // the context has ended it
	s := &server{t: t, process: p, output: bufio.NewReader(output)}
	port, ok := strings.CutPrefix(s.lines(1), udpListening)
	require.True(t, ok)
	s.port = strings.TrimSuffix(port, "\n")
	return s
}

func TestEchoUDP(t *testing.T) {
	s := udpServer(t)
	p := program(t, "echo-udp", "-to", "127.0.0.1:"+s.port)
	p.Stdin = strings.NewReader("Olá!\n\nAté logo!\n")
	out, err := p.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "Olá!\n\nAté logo!\n", string(out))
	seen := strings.Split(strings.TrimSuffix(s.lines(3), "\n"), "\n")
	for i, n := range []int{5, 0, 10} {
		assert.True(t, strings.HasPrefix(seen[i], strconv.Itoa(n)+" bytes de 127.0.0.1:"), seen[i])
	}
	if runtime.GOOS == "windows" {
		return // no signals
	}
	require.NoError(t, s.process.Process.Signal(os.Interrupt))
	assert.Equal(t, "Servidor encerrado\n", s.lines(1))
	require.NoError(t, s.process.Wait())
}

func TestEchoUDPFails(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "0.0.0.0:0")
	require.NoError(t, err)
	defer taken.Close()
	port := strconv.Itoa(taken.LocalAddr().(*net.UDPAddr).Port)

	code, stdout, stderr := result(t, "echo-udp", "-port", port)
	assert.Equal(t, 1, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "Erro: bind udp4 0.0.0.0:"+port+": ")

	code, _, stderr = result(t, "echo-udp", "-to", "127.0.0.1:0")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "127.0.0.1:0")

	p := program(t, "echo-udp", "-to", "127.0.0.1:"+port, "-wait", (10 * time.Millisecond).String()) // this port never replies
	var errs bytes.Buffer
	p.Stdin, p.Stderr = strings.NewReader("Olá!\n"), &errs
	assert.Error(t, p.Run())
	assert.Equal(t, "Erro: nenhuma resposta do servidor\n", errs.String())
}

// A signal also ends a client that is waiting for its standard input.
func TestEchoUDPClientInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals")
	}
	s := udpServer(t)
	p := program(t, "echo-udp", "-to", "127.0.0.1:"+s.port)
	input, err := p.StdinPipe()
	require.NoError(t, err)
	output, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	_, err = input.Write([]byte("Olá!\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "Olá!\n", line)
	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.NoError(t, p.Wait())
	s.lines(1)
	s.stop()
}

func TestEchoUDPHelp(t *testing.T) {
	code, stdout, stderr := result(t, "echo-udp", "-h")
	assert.Equal(t, 0, code)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "-port int")
	assert.Contains(t, stderr, "-to endereço:porta")
}
