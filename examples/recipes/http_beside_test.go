package recipes_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHTTPBeside_ServesBoth(t *testing.T) {
	r := start(t, "http-beside")
	c := r.dial()
	send(t, c, "hello\n")
	receive(t, c, "5 bytes\n")

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport, Timeout: evtest.Patience}
	for _, want := range []string{"1 lines so far\n", "2 lines so far\n"} {
		response, err := web.Get("http://" + r.address + "/")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, string(body))
		send(t, c, "again\r\n")
		receive(t, c, "5 bytes\n")
	}
	assert.Equal(t, "closed\n", r.stop())
}

// Neither protocol loses a byte, whether the first line arrives with everything after it or in single bytes.
func TestHTTPBeside_KeepsTheFirstLine(t *testing.T) {
	r := start(t, "http-beside")
	get := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	last := "GET / HTTP/1.0\n\n" // a line may end without a carriage return
	for _, chunks := range [][]string{{get + last}, evtest.Bytewise(get + last)} {
		c := r.dial()
		for _, chunk := range chunks {
			send(t, c, chunk)
		}
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, 2, strings.Count(string(got), "lines so far\n"), "%s", got)
	}
	text := "GET / HTTP\nGET\n\n get / HTTP/1.1\nGET / HTTP/1.1\n" // the first line decides, and this one is not HTTP
	for _, chunks := range [][]string{{text}, evtest.Bytewise(text)} {
		c := r.dial()
		for _, chunk := range chunks {
			send(t, c, chunk)
		}
		receive(t, c, "10 bytes\n3 bytes\n0 bytes\n15 bytes\n14 bytes\n")
	}
	assert.Equal(t, "closed\n", r.stop())
}

// A first line without an end is a line if the client ends there.
func TestHTTPBeside_FirstLineWithoutEnd(t *testing.T) {
	r := start(t, "http-beside")
	c := r.dial()
	send(t, c, "hello")
	require.NoError(t, evtest.CloseWrite(c))
	receive(t, c, "5 bytes\n")
	receiveEnd(t, c)
	assert.Equal(t, "closed\n", r.stop())
}

func TestHTTPBeside_RejectsLongLines(t *testing.T) {
	r := start(t, "http-beside")
	for _, first := range []string{"", "GET / HTTP/1.0 \n"} {
		c := r.dial()
		send(t, c, first+strings.Repeat("x", 9000))
		assert.Contains(t, r.line(), "token too long")
	}
	assert.Equal(t, "closed\n", r.stop())
}

func TestHTTPBeside_WithCurlAndNetcat(t *testing.T) {
	evtest.RequireProgram(t, "curl")
	evtest.RequireProgram(t, "nc")
	r := start(t, "http-beside")
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "5 bytes\n", client(t, "hello\n", "nc", "-N", host, port))
	assert.Equal(t, "1 lines so far\n", client(t, "", "curl", "-s", "--noproxy", "*", "http://"+r.address))
	assert.Equal(t, "closed\n", r.stop())
}
