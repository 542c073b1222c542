package recipes_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startMetrics returns the URL of the HTTP server too, without a path.
func startMetrics(t *testing.T, args ...string) (r *running, url string) {
	t.Helper()
	r = start(t, "metrics", append([]string{"-http", "127.0.0.1:0"}, args...)...)
	url, ok := strings.CutPrefix(r.line(), "metrics at ")
	require.True(t, ok, url)
	return r, strings.TrimSuffix(url, "/metrics")
}

// getMetrics returns what an HTTP server answers.
func getMetrics(t *testing.T, url string) (body string, header http.Header) {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: evtest.Patience}
	answer, err := web.Get(url)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, string(text))
	return string(text), answer.Header
}

// helloAndEnd makes a connection that the server logs when it is closed.
func helloAndEnd(t *testing.T, r *running) {
	t.Helper()
	c := r.dial()
	send(t, c, "hello\n")
	receive(t, c, "5\n")
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	receiveEnd(t, c)
}

func TestMetrics_CountsAndLogs(t *testing.T) {
	t.Parallel()
	r, url := startMetrics(t)
	helloAndEnd(t, r)
	ended := r.line()
	assert.Contains(t, ended, `level=INFO msg="connection closed" remote=127.0.0.1:`)
	assert.Contains(t, ended, " read=6 written=2 duration=")
	long := r.dial()
	send(t, long, strings.Repeat("x", 5000))
	receiveEnd(t, long)
	failed := r.line()
	assert.Contains(t, failed, `level=WARN msg="connection closed"`)
	assert.Contains(t, failed, "token too long")
	open := r.dial()
	send(t, open, "hello\n")
	receive(t, open, "5\n")

	text, header := getMetrics(t, url+"/metrics")
	assert.Equal(t, "text/plain; version=0.0.4; charset=utf-8", header.Get("Content-Type"))
	for _, want := range []string{
		"# TYPE evnet_open_sockets gauge\nevnet_open_sockets 1\n",
		"# TYPE evnet_written_bytes_total counter\nevnet_written_bytes_total 4\n",
		"# TYPE evnet_events_total counter\n",
		"evnet_events_total{event=\"close\"} 2\n",
		"evnet_events_total{event=\"server connection\"} 3\n",
		"evnet_errors_total{code=\"\"} 1\n",
	} {
		assert.Contains(t, text, want)
	}
	text, _ = getMetrics(t, url+"/debug/vars")
	var vars struct {
		Evnet struct{ Open, BytesWritten int }
	}
	require.NoError(t, json.Unmarshal([]byte(text), &vars))
	assert.Equal(t, 1, vars.Evnet.Open)
	assert.Equal(t, 4, vars.Evnet.BytesWritten)
	assert.Contains(t, r.stop(), "\nclosed\n")
}

func TestMetrics_LogLevels(t *testing.T) {
	t.Parallel()
	r, _ := startMetrics(t, "-log", "debug")
	helloAndEnd(t, r)
	for _, want := range []string{`msg="server connection"`, "msg=end", "msg=finish", "msg=close"} {
		line := r.untilLine(want)
		assert.Contains(t, line, "level=DEBUG")
	}
	assert.Contains(t, r.line(), `level=INFO msg="connection closed"`)
	_ = r.stop()

	r, _ = startMetrics(t, "-log", "warn")
	helloAndEnd(t, r)
	assert.Equal(t, "closed\n", r.stop())
}

func TestMetrics_WithCurlAndNetcat(t *testing.T) {
	t.Parallel()
	evtest.RequireProgram(t, "curl")
	evtest.RequireProgram(t, "nc")
	r, url := startMetrics(t)
	host, port, _ := net.SplitHostPort(r.address)
	assert.Equal(t, "5\n", client(t, "hello\n", "nc", "-N", host, port))
	assert.Contains(t, r.line(), "connection closed")
	assert.Contains(t, client(t, "", "curl", "--silent", "--fail", url+"/metrics"), "\nevnet_read_bytes_total 6\n")
	assert.Contains(t, client(t, "", "curl", "--silent", "--fail", url+"/debug/vars"), `"bytesRead":6`)
	assert.Equal(t, "closed\n", r.stop())
}

func TestMetrics_WrongFlags(t *testing.T) {
	t.Parallel()
	code, printed := launch(t, "metrics", "more").end()
	assert.Equal(t, 2, code)
	assert.Equal(t, "unexpected argument: more\n", printed)
	code, printed = launch(t, "metrics", "-log", "loud").end()
	assert.Equal(t, 2, code)
	assert.Contains(t, printed, `"loud"`)
	code, printed = launch(t, "metrics", "-addr", "127.0.0.1:0", "-http", "127.0.0.1:99999").end()
	assert.Equal(t, 1, code)
	assert.Contains(t, printed, "invalid port")
}
