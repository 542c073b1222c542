package tls_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TLS works with the implementations of Node and OpenSSL.

// exchanged returns the number of bytes that each side sends.
func exchanged() int {
	if race.Enabled {
		return 10_000_000
	}
	return evtest.Pick(10_000_000, 100_000_000)
}

// exchange does the same as the function of that name in testdata/node/tls.js.
func exchange(s *evnet.Socket, size int, printed *strings.Builder) {
	sent, received := sha256.New(), sha256.New()
	piece := make([]byte, 100_000)
	_, _ = rand.Read(piece)
	left, got := size, 0
	s.On.Data(func(p []byte) { got += len(p); received.Write(p) })
	s.On.End(func() { fmt.Fprintln(printed, "end") })
	s.On.Error(func(err error) { fmt.Fprintln(printed, "error", err) })
	s.On.Close(func(hadError bool) {
		fmt.Fprintf(printed, "sent %d %x\nreceived %d %x\nclose %v\n", size, sent.Sum(nil), got, received.Sum(nil), hadError)
	})
	var send func()
	send = func() {
		for left > 0 {
			p := piece[:min(left, len(piece))]
			left -= len(p)
			sent.Write(p)
			_, _ = s.Write(p)
			if s.NeedDrain() {
				s.Once.Drain(send)
				return
			}
		}
		s.End()
	}
	send()
}

// sums returns the lines that begin with word, without the word.
func sums(text, word string) string {
	for _, line := range strings.Split(text, "\n") {
		if rest, found := strings.CutPrefix(line, word+" "); found {
			return rest
		}
	}
	return ""
}

func agree(t *testing.T, here, there string) {
	t.Helper()
	assert.Regexp(t, `^\d+ [0-9a-f]{64}$`, sums(here, "sent"))
	assert.Equal(t, sums(here, "sent"), sums(there, "received"))
	assert.Equal(t, sums(there, "sent"), sums(here, "received"))
	for _, side := range []string{here, there} {
		assert.Contains(t, side, "end\n")
		assert.Contains(t, side, "close false\n")
		assert.NotContains(t, side, "error")
	}
}

// Node's tls.connect and this server send 100 MB to each other concurrently, and end cleanly; also after STARTTLS.
func TestTLSNodeClient(t *testing.T) {
	evtest.RequireProgram(t, "node")
	ca, _, _ := evtest.CertificateFiles(t)
	for _, mode := range []string{"tls", "starttls"} {
		t.Run(mode, func(t *testing.T) {
			l := evnet.NewLoop()
			var printed strings.Builder
			opts := evnet.ServerOptions{AllowHalfOpen: true}
			args := []string{"client", "", fmt.Sprint(exchanged()), ca}
			start := func(s *evnet.Socket) { exchange(s, exchanged(), &printed) }
			if mode == "tls" {
				opts.TLSConfig = evtest.ServerConfig()
			} else {
				args = append(args, mode)
				start = func(s *evnet.Socket) {
					s.Once.Data(func(p []byte) {
						assert.Equal(t, "STARTTLS\r\n", string(p))
						_, _ = s.WriteString("220 go\r\n")
						assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
					})
					s.Once.SecureConnect(func() { exchange(s, exchanged(), &printed) })
				}
			}
			server, addr := kit.Serve(t, l, &opts, start)
			server.On.TLSClientError(func(err error, _ *evnet.Socket) { t.Error(err) })
			args[1] = evtest.Port(addr)
			began := time.Now()
			there := kit.RunWithClient(t, l, server, kit.NodeScript(t, "tls.js", args...))
			t.Logf("%d bytes each way in %v", exchanged(), time.Since(began))
			agree(t, printed.String(), there)
		})
	}
}

// The same exchange works with this side as the client.
func TestTLSNodeServer(t *testing.T) {
	_, cert, key := evtest.CertificateFiles(t)
	for _, mode := range []string{"tls", "starttls"} {
		t.Run(mode, func(t *testing.T) {
			args := []string{"server", "0", fmt.Sprint(exchanged()), cert, key}
			if mode == "starttls" {
				args = append(args, mode)
			}
			n := kit.StartNode(t, "tls.js", args...)
			l := evnet.NewLoop()
			var printed strings.Builder
			opts := evnet.SocketOptions{Loop: l, AllowHalfOpen: true, TLSConfig: evtest.ClientConfig()}
			if mode == "starttls" {
				opts.TLSConfig = nil
			}
			c := evnet.NewSocket(&opts)
			if mode == "starttls" {
				c.Once.Data(func(p []byte) {
					assert.Equal(t, "220 go\r\n", string(p))
					assert.NoError(t, c.StartTLS(evtest.ClientConfig()))
				})
				c.On.Connect(func() { _, _ = c.WriteString("STARTTLS\r\n") })
			}
			c.Once.SecureConnect(func() { exchange(c, exchanged(), &printed) })
			c.Connect("tcp", n.Addr)
			began := time.Now()
			kit.Run(t, l)
			require.NoError(t, c.Err())
			t.Logf("%d bytes each way in %v", exchanged(), time.Since(began))
			agree(t, printed.String(), n.Lines(4))
		})
	}
}

// openssl s_client talks to an echo server with TLS 1.2 and 1.3, and after SMTP's STARTTLS.
func TestTLSOpenSSLClient(t *testing.T) {
	evtest.RequireProgram(t, "openssl")
	ca, _, _ := evtest.CertificateFiles(t)
	for _, flags := range [][]string{{"-tls1_2"}, {"-tls1_3"}, {"-starttls", "smtp"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			l := evnet.NewLoop()
			var opts evnet.ServerOptions
			accept := kit.Echo
			if flags[0] == "-starttls" {
				accept = func(s *evnet.Socket) { smtp(t, s) }
			} else {
				opts.TLSConfig = evtest.ServerConfig()
			}
			server, addr := kit.Serve(t, l, &opts, accept)
			program := evtest.Command(t, "openssl", append([]string{"s_client", "-connect", addr, "-CAfile", ca, "-verify_return_error", "-verify_ip", "127.0.0.1", "-quiet", "-no_ign_eof"}, flags...)...)
			in, err := program.StdinPipe()
			require.NoError(t, err)
			out, err := program.StdoutPipe()
			require.NoError(t, err)
			var problems bytes.Buffer
			program.Stderr = &problems
			require.NoError(t, program.Start())
			kit.Aside(l, func() {
				defer server.Close(nil)
				_, _ = io.WriteString(in, "over OpenSSL\n")
				got := make([]byte, len("over OpenSSL\n"))
				_, err := io.ReadFull(out, got)
				assert.NoError(t, err)
				assert.Equal(t, "over OpenSSL\n", string(got))
				_ = in.Close()
				_, _ = io.Copy(io.Discard, out)
				assert.NoError(t, program.Wait(), "%s", &problems)
			})
			kit.Run(t, l)
		})
	}
}

// smtp implements as much of a mail server as s_client needs, and an echo under TLS.
func smtp(t *testing.T, s *evnet.Socket) {
	_, _ = s.WriteString("220 mail.example ESMTP\r\n")
	assert.NoError(t, s.Scan(nil, 0, func(line []byte) {
		switch {
		case strings.HasPrefix(string(line), "EHLO"):
			_, _ = s.WriteString("250-mail.example\r\n250 STARTTLS\r\n")
		case string(line) == "STARTTLS":
			_, _ = s.WriteString("220 go\r\n")
			assert.NoError(t, s.StartTLSServer(evtest.ServerConfig()))
		}
	}))
	s.On.SecureConnect(func() {
		assert.NoError(t, s.Scan(nil, 0, nil))
		s.Pipe(s)
	})
}

// A client talks to openssl s_server -rev, which sends each line back reversed.
func TestTLSOpenSSLServer(t *testing.T) {
	_, cert, key := evtest.CertificateFiles(t)
	program := evtest.Command(t, "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key, "-rev", "-naccept", "1")
	out, err := program.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, program.Start())
	said := bufio.NewReader(out)
	address := ""
	for address == "" {
		line, err := said.ReadString('\n')
		require.NoError(t, err)
		address = sums(line, "ACCEPT")
	}
	rest := make(chan struct{})
	go func() { defer close(rest); _, _ = io.Copy(io.Discard, said) }()

	l := evnet.NewLoop()
	c := kit.ClientTLS(l)
	var got kit.Notes
	kit.NoteEvents(c, &got)
	c.RemoveAllListeners(evnet.EventLookup, evnet.EventConnectionAttempt, evnet.EventData)
	require.NoError(t, c.Scan(nil, 0, func(line []byte) { got.Chunk("line ")(line); _, _ = c.WriteString("CLOSE\n") }))
	c.Connect("tcp", "localhost:"+evtest.Port(address))
	_, _ = c.WriteString("tenve\n")
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"connect", "ready", "secureConnect", "line evnet", "end", "finish", "close false"}, got)
	require.NoError(t, c.Err())
	<-rest
	require.NoError(t, program.Wait())
}
