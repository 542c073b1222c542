package examples_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Data is relayed in both directions simultaneously, and the end of one direction leaves the other open.
func TestProxyPassesOn(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "-to", proxyBackend(t, echoBack))
	const size = 32 << 20
	sent := randomBytes(size)
	before := readByCalls(t, p.Process.Pid)
	for range 2 {
		client := p.dial()
		go func() {
			_, _ = client.Write(sent)
			_ = client.CloseWrite()
		}()
		got := sha256.New()
		n, err := io.Copy(got, client)
		require.NoError(t, err)
		assert.EqualValues(t, size, n)
		assert.Equal(t, sha256.Sum256(sent), [32]byte(got.Sum(nil)))
		r := p.closed("completed")
		assert.EqualValues(t, size, r.Received)
		assert.EqualValues(t, size, r.Sent)
		assert.Equal(t, client.LocalAddr().String(), r.Client)
		assert.Positive(t, r.Duration)
		assert.Equal(t, "INFO", r.Level)
	}
	if runtime.GOOS == "linux" && os.Getenv("EVNET_TRANSPORT") == "" {
		assert.Less(t, readByCalls(t, p.Process.Pid)-before, size, "most of the %d bytes stay in the kernel", 4*size)
	}
}

func TestProxyHalfClose(t *testing.T) {
	p := startProxy(t, "-to", proxyBackend(t, func(conn *net.TCPConn) {
		request, _ := io.ReadAll(conn)
		_, _ = fmt.Fprintf(conn, "%x", sha256.Sum256(request))
	}))
	client := p.dial()
	request := randomBytes(1 << 20)
	_, err := client.Write(request)
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(request)), string(answer))
	p.closed("completed")

	other := startProxy(t, "-to", proxyBackend(t, func(conn *net.TCPConn) { // the server ends first
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}))
	client = other.dial()
	_, err = client.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = client.Write([]byte("late"))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	assert.EqualValues(t, 4, other.closed("completed").Received)
}

// A client that ends its side before the server is connected still gets the answer.
func TestProxyHalfCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	answers := proxyBackend(t, func(conn *net.TCPConn) {
		_, _ = io.Copy(io.Discard, conn)
		_, _ = io.WriteString(conn, "answer")
	})
	p := startProxy(t, "-to", unansweringAddress(t)+","+answers, "-dial", "300ms")
	client := p.dial()
	require.NoError(t, client.CloseWrite())
	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "answer", string(answer))
	p.next("server unavailable")
	p.closed("completed")
}

func TestProxyServerDown(t *testing.T) {
	down := "127.0.0.1:" + refusingPort(t)
	up := proxyBackend(t, echoBack)
	p := startProxy(t, "-to", down+","+up)
	for i := range 4 {
		client := p.dial()
		require.NoError(t, client.CloseWrite())
		_, err := io.Copy(io.Discard, client)
		require.NoError(t, err)
		if i == 0 { // afterwards it is tried last
			r := p.next("server unavailable")
			assert.Equal(t, down, r.Server)
			assert.Contains(t, r.Err, "refused")
		}
		assert.Equal(t, up, p.closed("completed").Server)
	}

	p = startProxy(t, "-to", down)
	client := p.dial()
	_, err := io.ReadAll(client) // without writing: unread data could turn the close into a reset
	require.NoError(t, err)
	p.next("server unavailable")
	r := p.closed("no server available")
	assert.Contains(t, r.Err, down)
	assert.Contains(t, r.Err, "refused")
}

// Available servers are used in turn.
func TestProxyTakesTurns(t *testing.T) {
	one, two := proxyBackend(t, echoBack), proxyBackend(t, echoBack)
	p := startProxy(t, "-to", one+","+two)
	for _, want := range []string{one, two, one, two} {
		client := p.dial()
		require.NoError(t, client.CloseWrite())
		_, _ = io.Copy(io.Discard, client)
		assert.Equal(t, want, p.closed("completed").Server)
	}
}

func TestProxyLimits(t *testing.T) {
	for want, args := range map[string][]string{
		"too many connections":                  {"-max", "2"},
		"too many connections from this client": {"-per-client", "2"},
	} {
		address, conns := heldConns(t)
		p := startProxy(t, append(args, "-to", address)...)
		first, _ := p.relayed(conns)
		p.relayed(conns)
		third := p.dial()
		_, err := io.ReadAll(third)
		require.NoError(t, err)
		assert.Equal(t, third.LocalAddr().String(), p.closed(want).Client)
		require.NoError(t, first.SetLinger(0))
		require.NoError(t, first.Close())
		p.closed("client reset")
		p.relayed(conns) // below the limit again
	}
}

func TestProxyDenies(t *testing.T) {
	for list, denied := range map[string]bool{
		"-deny 127.0.0.0/8":                     true,
		"-deny 10.1.2.3,127.0.0.1":              true,
		"-allow 10.0.0.0/8":                     true,
		"-allow 10.0.0.0/8,127.0.0.1-127.0.0.9": false,
		"-deny 10.0.0.0/8":                      false,
		"-allow 127.0.0.0/8 -deny 127.0.0.1":    true,
	} {
		p := startProxy(t, append(strings.Fields(list), "-to", proxyBackend(t, echoBack))...)
		client := p.dial()
		if !denied {
			require.NoError(t, client.CloseWrite())
		}
		_, err := io.ReadAll(client)
		require.NoError(t, err)
		if denied {
			r := p.closed("denied")
			assert.Empty(t, r.Server)
			assert.Equal(t, "WARN", r.Level)
		} else {
			p.closed("completed")
		}
	}
}

func TestProxyTimeouts(t *testing.T) {
	t.Parallel()
	address, conns := heldConns(t)
	idle := startProxy(t, "-to", address, "-idle", "2s") // also the time that relayed may take for each byte
	client, server := idle.relayed(conns)

	p := startProxy(t, "-to", proxyBackend(t, echoBack), "-first-byte", "200ms")
	_, _ = p.dial().Read(make([]byte, 1))
	p.closed("first byte timeout")

	p = startProxy(t, "-to", address, "-close", "200ms")
	ended, _ := p.relayed(conns)
	require.NoError(t, ended.CloseWrite())
	_, _ = ended.Read(make([]byte, 1))
	p.closed("close timeout")

	p = startProxy(t, "-to", unansweringAddress(t), "-dial", "200ms")
	_, err := p.dial().Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	p.next("server unavailable")
	assert.Contains(t, p.closed("no server available").Err, "-dial")

	for _, conn := range []net.Conn{client, server} { // both connections are reset: the streams are truncated
		_, err := conn.Read(make([]byte, 1))
		assert.Error(t, err)
	}
	idle.closed("idle timeout")
}

// A reset is relayed as a reset, so that the other side does not take a truncated stream for a complete one.
func TestProxyResets(t *testing.T) {
	address, conns := heldConns(t)
	p := startProxy(t, "-to", address)
	client, server := p.relayed(conns)
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	_, err := server.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Equal(t, address, p.closed("client reset").Server)

	client, server = p.relayed(conns)
	require.NoError(t, server.SetLinger(0))
	require.NoError(t, server.Close())
	_, err = client.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	p.closed("server reset")
}

func TestProxyStops(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal to stop it")
	}
	stop := func(p *proxyProcess, open int) {
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		assert.Equal(t, open, p.next("stopping").Open)
	}
	t.Run("no connection is open", func(t *testing.T) {
		p := startProxy(t, "-to", "127.0.0.1:1", "-grace", "1h")
		stop(p, 0)
		p.exits(0)
	})
	t.Run("a busy connection completes", func(t *testing.T) {
		p := startProxy(t, "-to", proxyBackend(t, echoBack), "-grace", "1m")
		client := p.dial()
		sent := randomBytes(8 << 20)
		_, err := client.Write(sent[:1]) // until the echo arrives, the server is connected
		require.NoError(t, err)
		readExactly(t, client, string(sent[:1]))
		stop(p, 1)
		go func() {
			_, _ = client.Write(sent[1:])
			_ = client.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent[1:], got))
		p.closed("completed")
		p.exits(0)
	})
	t.Run("an idle connection is reset after the grace period", func(t *testing.T) {
		address, conns := heldConns(t)
		p := startProxy(t, "-to", address, "-grace", "200ms")
		client, server := p.relayed(conns)
		stop(p, 1)
		for _, conn := range []net.Conn{client, server} {
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		}
		p.closed("shutdown")
		p.exits(1)
	})
	t.Run("a second signal resets immediately", func(t *testing.T) {
		address, conns := heldConns(t)
		p := startProxy(t, "-to", address, "-grace", "1h")
		client, _ := p.relayed(conns)
		stop(p, 1)
		_, err := net.Dial("tcp", p.address)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		stop(p, 1)
		_, err = client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		p.closed("shutdown")
		p.exits(1)
	})
	t.Run("a connection without a server is reset too", func(t *testing.T) {
		p := startProxy(t, "-to", "127.0.0.1:"+refusingPort(t)+","+unansweringAddress(t), "-dial", "1m", "-grace", "200ms")
		client := p.dial()
		p.next("server unavailable") // the other server is tried now
		stop(p, 1)
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		p.closed("shutdown")
		p.exits(1)
	})
}

func TestProxySpeaksTLS(t *testing.T) {
	cert, key, pool := certificateFiles(t)
	p := startProxy(t, "-to", proxyBackend(t, echoBack), "-cert", cert, "-key", key)
	client := tls.Client(p.dial(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	sent := randomBytes(1 << 20)
	go func() {
		_, _ = client.Write(sent)
		_ = client.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
	_ = client.Close()
	r := p.closed("completed")
	assert.EqualValues(t, len(sent), r.Received)
	assert.EqualValues(t, len(sent), r.Sent)

	plain := p.dial()
	_, err = io.WriteString(plain, "GET / HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, plain)
	r = p.closed("client failed")
	assert.Empty(t, r.Server)
	assert.Contains(t, r.Err, "does not look like a TLS handshake")
}

func TestProxyBadUse(t *testing.T) {
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "-per-client int", []string{"-h"}},
		{2, "-to is required", nil},
		{2, `-to "127.0.0.1": `, []string{"-to", "127.0.0.1"}},
		{2, `-to "": `, []string{"-to", "a:1,"}},
		{2, "missing port in address", []string{"-to", "a:"}},
		{2, `unexpected argument "b:2"`, []string{"-to", "a:1", "b:2"}},
		{2, "must not be negative", []string{"-to", "a:1", "-idle", "-1s"}},
		{2, "must not be negative", []string{"-to", "a:1", "-max", "-1"}},
		{2, "-dial must not be 0", []string{"-to", "a:1", "-dial", "0"}},
		{2, "invalid value", []string{"-to", "a:1", "-idle", "later"}},
		{2, `"300.0.0.1"`, []string{"-to", "a:1", "-deny", "300.0.0.1"}},
		{2, `not "xml"`, []string{"-to", "a:1", "-log", "xml"}},
		{2, "must be used together", []string{"-to", "a:1", "-cert", "c"}},
		{1, "open no-such-file", []string{"-to", "a:1", "-cert", "no-such-file", "-key", "k"}},
		{1, "missing port", []string{"-to", "a:1", "-listen", "127.0.0.1"}},
		{1, "listen tcp 127.0.0.1:", []string{"-to", "a:1", "-listen", taken(t)}},
	} {
		code, stdout, stderr := result(t, "proxy", c.args...)
		assert.Equal(t, c.code, code, "%q", c.args)
		assert.Empty(t, stdout, "%q", c.args)
		assert.Contains(t, stderr, c.want)
		assert.NotContains(t, stderr, "panic")
	}
}

// Every command on the page runs, on free ports, and the page documents every flag.
func TestProxyPage(t *testing.T) {
	page, err := os.ReadFile("proxy/README.md")
	require.NoError(t, err)
	cert, key, _ := certificateFiles(t)
	commands := 0
	for line := range strings.Lines(string(page)) {
		args, ok := strings.CutPrefix(line, "go run ./examples/proxy ")
		if !ok {
			continue
		}
		commands++
		args = strings.NewReplacer("127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:8443", "127.0.0.1:0", "cert.pem", cert, "key.pem", key).Replace(args)
		p := program(t, "proxy", strings.Fields(args)...)
		stdout, err := p.StdoutPipe()
		require.NoError(t, err)
		p.Stderr = os.Stderr
		require.NoError(t, p.Start())
		output, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err, line)
		assert.Contains(t, output, "listening", line)
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
	}
	assert.Equal(t, 5, commands)
	_, _, help := result(t, "proxy", "-h")
	for line := range strings.Lines(help) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			assert.Contains(t, string(page), "`-"+strings.Fields(name)[0]+"`", "the page does not document the flag")
		}
	}
}
