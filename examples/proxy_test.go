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

// Both ways at once, and the end of one way leaves the other open.
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
		r := p.ends("ended")
		assert.EqualValues(t, size, r.Received)
		assert.EqualValues(t, size, r.Sent)
		assert.Equal(t, client.LocalAddr().String(), r.Client)
		assert.Positive(t, r.Duration)
		assert.Equal(t, "INFO", r.Level)
	}
	if runtime.GOOS == "linux" && os.Getenv("EVNET_TRANSPORT") == "" {
		assert.Less(t, readByCalls(t, p.Process.Pid)-before, size, "of %d bytes most are to stay in the kernel", 4*size)
	}
}

func TestProxyHalfClose(t *testing.T) {
	p := startProxy(t, "-to", proxyBackend(t, func(conn *net.TCPConn) {
		question, _ := io.ReadAll(conn)
		_, _ = fmt.Fprintf(conn, "%x", sha256.Sum256(question))
	}))
	client := p.dial()
	question := randomBytes(1 << 20)
	_, err := client.Write(question)
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%x", sha256.Sum256(question)), string(answer))
	p.ends("ended")

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
	assert.EqualValues(t, 4, other.ends("ended").Received)
}

// A client that ends its side before there is a server to pass that on to is answered all the same.
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
	p.next("server is down")
	p.ends("ended")
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
		if i == 0 { // afterwards it comes last
			r := p.next("server is down")
			assert.Equal(t, down, r.Server)
			assert.Contains(t, r.Err, "refused")
		}
		assert.Equal(t, up, p.ends("ended").Server)
	}

	p = startProxy(t, "-to", down)
	client := p.dial()
	_, err := io.ReadAll(client) // what it says is unread, and may make the end a reset
	require.NoError(t, err)
	p.next("server is down")
	r := p.ends("no server")
	assert.Contains(t, r.Err, down)
	assert.Contains(t, r.Err, "refused")
}

// Those that are up take turns.
func TestProxyTakesTurns(t *testing.T) {
	one, two := proxyBackend(t, echoBack), proxyBackend(t, echoBack)
	p := startProxy(t, "-to", one+","+two)
	for _, want := range []string{one, two, one, two} {
		client := p.dial()
		require.NoError(t, client.CloseWrite())
		_, _ = io.Copy(io.Discard, client)
		assert.Equal(t, want, p.ends("ended").Server)
	}
}

func TestProxyLimits(t *testing.T) {
	for want, args := range map[string][]string{
		"too many connections":                {"-max", "2"},
		"too many connections of this client": {"-per-client", "2"},
	} {
		address, conns := heldConns(t)
		p := startProxy(t, append(args, "-to", address)...)
		first, _ := p.joined(conns)
		p.joined(conns)
		third := p.dial()
		_, err := io.ReadAll(third)
		require.NoError(t, err)
		assert.Equal(t, third.LocalAddr().String(), p.ends(want).Client)
		require.NoError(t, first.SetLinger(0))
		require.NoError(t, first.Close())
		p.ends("client reset")
		p.joined(conns) // there is room again
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
			r := p.ends("denied")
			assert.Empty(t, r.Server)
			assert.Equal(t, "WARN", r.Level)
		} else {
			p.ends("ended")
		}
	}
}

func TestProxyTimeouts(t *testing.T) {
	t.Parallel()
	address, conns := heldConns(t)
	quiet := startProxy(t, "-to", address, "-idle", "2s") // which is also what joined may take for each byte
	client, server := quiet.joined(conns)

	p := startProxy(t, "-to", proxyBackend(t, echoBack), "-first-byte", "200ms")
	_, _ = p.dial().Read(make([]byte, 1))
	p.ends("first byte timeout")

	p = startProxy(t, "-to", address, "-close", "200ms")
	ended, _ := p.joined(conns)
	require.NoError(t, ended.CloseWrite())
	_, _ = ended.Read(make([]byte, 1))
	p.ends("close timeout")

	p = startProxy(t, "-to", unansweringAddress(t), "-dial", "200ms")
	_, err := p.dial().Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	p.next("server is down")
	assert.Contains(t, p.ends("no server").Err, "-dial")

	for _, conn := range []net.Conn{client, server} { // both are told by a reset: the stream was cut off
		_, err := conn.Read(make([]byte, 1))
		assert.Error(t, err)
	}
	quiet.ends("idle timeout")
}

// A reset is no end: whoever takes the stream for a whole one is wrong.
func TestProxyResets(t *testing.T) {
	address, conns := heldConns(t)
	p := startProxy(t, "-to", address)
	client, server := p.joined(conns)
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	_, err := server.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Equal(t, address, p.ends("client reset").Server)

	client, server = p.joined(conns)
	require.NoError(t, server.SetLinger(0))
	require.NoError(t, server.Close())
	_, err = client.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	p.ends("server reset")
}

func TestProxyStops(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows knows no signal to stop it with")
	}
	stop := func(p *proxyProcess, open int) {
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		assert.Equal(t, open, p.next("stopping").Open)
	}
	t.Run("nothing is open", func(t *testing.T) {
		p := startProxy(t, "-to", "127.0.0.1:1", "-grace", "1h")
		stop(p, 0)
		p.exits(0)
	})
	t.Run("a busy connection is let finish", func(t *testing.T) {
		p := startProxy(t, "-to", proxyBackend(t, echoBack), "-grace", "1m")
		client := p.dial()
		sent := randomBytes(8 << 20)
		_, err := client.Write(sent[:1]) // and so it is connected
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
		p.ends("ended")
		p.exits(0)
	})
	t.Run("an idle one is cut off in the end", func(t *testing.T) {
		address, conns := heldConns(t)
		p := startProxy(t, "-to", address, "-grace", "200ms")
		client, server := p.joined(conns)
		stop(p, 1)
		for _, conn := range []net.Conn{client, server} {
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		}
		p.ends("stopped")
		p.exits(1)
	})
	t.Run("a second signal ends at once", func(t *testing.T) {
		address, conns := heldConns(t)
		p := startProxy(t, "-to", address, "-grace", "1h")
		client, _ := p.joined(conns)
		stop(p, 1)
		_, err := net.Dial("tcp", p.address)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		stop(p, 1)
		_, err = client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		p.ends("stopped")
		p.exits(1)
	})
	t.Run("one that still waits for a server too", func(t *testing.T) {
		p := startProxy(t, "-to", "127.0.0.1:"+refusingPort(t)+","+unansweringAddress(t), "-dial", "1m", "-grace", "200ms")
		client := p.dial()
		p.next("server is down") // the other one is tried now
		stop(p, 1)
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		p.ends("stopped")
		p.exits(1)
	})
}

func TestProxySpeaksTLS(t *testing.T) {
	cert, key, trusted := certificateFiles(t)
	p := startProxy(t, "-to", proxyBackend(t, echoBack), "-cert", cert, "-key", key)
	client := tls.Client(p.dial(), &tls.Config{RootCAs: trusted, ServerName: "localhost"})
	sent := randomBytes(1 << 20)
	go func() {
		_, _ = client.Write(sent)
		_ = client.CloseWrite()
	}()
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
	_ = client.Close()
	r := p.ends("ended")
	assert.EqualValues(t, len(sent), r.Received)
	assert.EqualValues(t, len(sent), r.Sent)

	plain := p.dial()
	_, err = io.WriteString(plain, "GET / HTTP/1.0\r\n\r\n")
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, plain)
	r = p.ends("client failed")
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
		{2, "-to host:port is missing", nil},
		{2, `-to "127.0.0.1": `, []string{"-to", "127.0.0.1"}},
		{2, `-to "": `, []string{"-to", "a:1,"}},
		{2, "it has no port", []string{"-to", "a:"}},
		{2, `what is "b:2"?`, []string{"-to", "a:1", "b:2"}},
		{2, "cannot be negative", []string{"-to", "a:1", "-idle", "-1s"}},
		{2, "cannot be negative", []string{"-to", "a:1", "-max", "-1"}},
		{2, "-dial cannot be 0", []string{"-to", "a:1", "-dial", "0"}},
		{2, "invalid value", []string{"-to", "a:1", "-idle", "soon"}},
		{2, `"300.0.0.1"`, []string{"-to", "a:1", "-deny", "300.0.0.1"}},
		{2, `-log "xml"`, []string{"-to", "a:1", "-log", "xml"}},
		{2, "go together", []string{"-to", "a:1", "-cert", "c"}},
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

// Every command of the page runs, but with ports of its own, and every end that is told of is on it.
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
		said, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err, line)
		assert.Contains(t, said, "listening", line)
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
	}
	assert.Equal(t, 5, commands)
	_, _, help := result(t, "proxy", "-h")
	for line := range strings.Lines(help) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			assert.Contains(t, string(page), "`-"+strings.Fields(name)[0]+"`", "the page does not tell of it")
		}
	}
}
