//go:build unix

package examples_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileLine sets the title of a terminal, clears the screen, overwrites a line, and reverses the text direction. It also has
// other bytes that a terminal interprets or a reader does not see. It fits into an abstract Unix name.
const hostileLine = "\x1b]0;pwned\x07\x1b[2J\rover\u202e\u2066\u200e\u061c\u2028\u009b1m\x9b\xff\x7f"

// hostile also forges a log record.
const hostile = hostileLine + "\nforged"

// raw returns the characters of an output that a terminal would interpret or a reader would not see.
func raw(output string) (found []string) {
	output = strings.ReplaceAll(output, "\r\n", "\n")
	for i, r := range output {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(output[i:], "\ufffd"):
			found = append(found, fmt.Sprintf("%q", output[i:i+1]))
		case r == '\n', r == '\u200c', r == '\u200d': // zero-width joiners
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			found = append(found, fmt.Sprintf("%q", r))
		}
	}
	return found
}

// until reads lines up to the first one that contains mark.
func (s *server) until(mark string) string {
	s.t.Helper()
	all := ""
	for !strings.Contains(all, mark) {
		all += s.lines(1)
	}
	return all
}

// untilPwned starts a program, calls act with the address in its first line, and waits until the program prints the hostile
// text. It then interrupts the program and returns everything that it printed.
func untilPwned(t *testing.T, act func(address string), name string, args ...string) string {
	t.Helper()
	s := running(t, program(t, name, args...))
	first := s.lines(1)
	if act != nil {
		address := portOfTrace.FindString(first)
		if address == "" {
			_, address, _ = strings.Cut(strings.TrimSpace(first), "listening on ")
			address = strings.TrimPrefix(address, "unix ")
		}
		act(address)
	}
	if !strings.Contains(first, "pwned") {
		first += s.until("pwned")
	}
	require.NoError(t, s.process.Process.Signal(os.Interrupt))
	_, rest := s.ends()
	return first + rest
}

// atEnd runs a program until it exits and returns everything that it printed.
func atEnd(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	p := program(t, name, args...)
	p.Stdin = strings.NewReader(input)
	printed, _ := p.CombinedOutput()
	return string(printed)
}

// says starts a server that sends text to each client and ends. If first is set, it reads a line from the client before.
func says(t *testing.T, network, address, text string, first bool) string {
	t.Helper()
	ln := listen(t, network, address)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			if first {
				_, _ = bufio.NewReader(c).ReadString('\n')
			}
			_, _ = io.WriteString(c, text)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

// hostilePeer connects to a Unix socket from a hostile abstract name and sends text.
func hostilePeer(t *testing.T, path, text string) *net.UnixConn {
	t.Helper()
	from := &net.UnixAddr{Name: "@" + hostile, Net: "unix"}
	c, err := net.DialUnix("unix", from, &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	return c
}

// hostileFile returns a path whose last element is hostile.
func hostileFile(t *testing.T) string { return filepath.Join(filepath.Dir(socketPath(t)), hostile) }

// injections has a function for each external input of each program. It returns what the program prints if the input is hostile.
var injections = map[string]func(t *testing.T) string{
	"activation/LISTEN_FDNAMES": func(t *testing.T) string {
		env := []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=" + hostile}
		s := running(t, activated(t, env, descriptor(t, listen(t, "tcp", "127.0.0.1:0"))))
		first := s.until("pwned")
		require.NoError(t, s.process.Process.Signal(os.Interrupt))
		_, rest := s.ends()
		return first + rest
	},
	"activation/no listener": func(t *testing.T) string {
		file, err := os.Create(filepath.Join(t.TempDir(), "file"))
		require.NoError(t, err)
		defer file.Close()
		_, printed := running(t, activated(t, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=" + hostile}, file)).ends()
		return printed
	},
	"activation/abstract peer": func(t *testing.T) string {
		return untilPwned(t, func(path string) {
			c := hostilePeer(t, path, "xx")
			_, err := c.Read(make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, c.Close()) // a reset, because one byte is unread
		}, "activation", "-network", "unix", "-addr", socketPath(t))
	},
	"lines/abstract peer": func(t *testing.T) string {
		return untilPwned(t, func(path string) { hostilePeer(t, path, strings.Repeat("x", 100)+"\n") },
			"lines", "-network", "unix", "-addr", socketPath(t), "-max", "10")
	},
	"trace/abstract peer": func(t *testing.T) string {
		return untilPwned(t, func(path string) { hostilePeer(t, path, hostile) }, "trace", "-network", "unix", "-listen", socketPath(t))
	},
	"trace/bytes": func(t *testing.T) string {
		return atEnd(t, "", "trace", "-connect", says(t, "tcp", "127.0.0.1:0", hostile, false))
	},
	"trace/abstract server": func(t *testing.T) string {
		return atEnd(t, "", "trace", "-network", "unix", "-connect", says(t, "unix", "@"+hostile, "", false))
	},
	"trace/no server": func(t *testing.T) string {
		return atEnd(t, "", "trace", "-network", "unix", "-connect", hostileFile(t))
	},
	"server/path": func(t *testing.T) string { return untilPwned(t, nil, "server", "-unix", hostileFile(t)) },
	"lesson/path": func(t *testing.T) string { return atEnd(t, "", "lesson", "-unix", hostileFile(t)) },
	"client/greeting": func(t *testing.T) string {
		path := socketPath(t)
		says(t, "unix", path, hostileLine, false)
		return atEnd(t, "", "client", "-unix", path)
	},
	"client/no server": func(t *testing.T) string { return atEnd(t, "", "client", "-unix", hostileFile(t)) },
	"chat/room": func(t *testing.T) string {
		return atEnd(t, "", "chat", "-nick", "ana", "-connect", says(t, "tcp", "127.0.0.1:0", hostileLine+"\n", true))
	},
	"chat/member": func(t *testing.T) string {
		r := openRoom(t, "-pace", "0")
		ana, bob := r.join("ana"), r.join("bob")
		bob.say(hostileLine)
		ana.expect("* bob joined")
		line, err := ana.input.ReadString('\n')
		require.NoError(t, err)
		return line
	},
	"chat/no room": func(t *testing.T) string {
		return atEnd(t, "", "chat", "-network", "unix", "-connect", hostileFile(t))
	},
	"halfopen/server": func(t *testing.T) string {
		return atEnd(t, "x\n", "halfopen", "-connect", says(t, "tcp", "127.0.0.1:0", hostileLine+"\n", true))
	},
	"timeout/server": func(t *testing.T) string {
		return atEnd(t, "", "timeout", "-connect", says(t, "tcp", "127.0.0.1:0", hostileLine+"\n", false))
	},
	"timeout/client": func(t *testing.T) string {
		return untilPwned(t, func(address string) {
			_, err := io.WriteString(dial(t, tcpAddr(t, address)), hostileLine+"\n")
			require.NoError(t, err)
		}, "timeout", "-listen", "127.0.0.1:0")
	},
	"tls/names of a certificate": func(t *testing.T) string {
		cert, key, _ := certificateFiles(t, hostileASCII+".example")
		return tlsClient(t, cert, key, "")
	},
	"tls/bytes": func(t *testing.T) string {
		cert, key, _ := certificateFiles(t)
		return tlsClient(t, cert, key, hostileLine+"\n")
	},
	"tls/protocols of a client": func(t *testing.T) string {
		return untilPwned(t, func(address string) {
			_, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{hostile}})
			require.Error(t, err)
		}, "tls", "-listen", "127.0.0.1:0", "-cert", filepath.Join(t.TempDir(), "cert.pem"))
	},
	"echo-udp/answer": func(t *testing.T) string {
		conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer conn.Close()
		go func() {
			_, from, err := conn.ReadFrom(make([]byte, 100))
			if err == nil {
				_, _ = conn.WriteTo([]byte(hostile), from)
			}
		}()
		return atEnd(t, "x\n", "echo-udp", "-to", conn.LocalAddr().String())
	},
	"alarm/garbage": func(t *testing.T) string { return alarmManagerOf(t, hostile+"\n") },
	"alarm/fault": func(t *testing.T) string {
		return alarmManagerOf(t, fmt.Sprintf(`{"n":1,"time":"2025-03-01T14:03:16Z","fault":%s}`+"\n", jsonOf(t, hostile)))
	},
	"alarm/level": func(t *testing.T) string {
		return alarmManagerOf(t, fmt.Sprintf(`{"n":1,"readings":[{"name":"cpu","level":%s}]}`+"\n", jsonOf(t, hostile)))
	},
	"alarm/name": func(t *testing.T) string {
		return alarmManagerOf(t, fmt.Sprintf(`{"n":1,"readings":[{"name":%s,"level":"ok"}]}`+"\n", jsonOf(t, hostile)))
	},
	"alarm/sensor": func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "readings")
		require.NoError(t, os.WriteFile(path, []byte(hostile), 0o600))
		return atEnd(t, "", "alarm", "-listen", "127.0.0.1:0", "-sensor", "file:"+path)
	},
	"alarm/path": func(t *testing.T) string {
		return atEnd(t, "", "alarm", "-listen", "127.0.0.1:0", "-sensor", "file:"+hostileFile(t))
	},
	"filetransfer/error": func(t *testing.T) string {
		return transferTo(t, fmt.Sprintf(`{"error":%s}`+"\n", jsonOf(t, hostile)))
	},
	"filetransfer/temporary error": func(t *testing.T) string {
		return transferTo(t, fmt.Sprintf(`{"error":%s,"retry":true}`+"\n", jsonOf(t, hostile)))
	},
	"filetransfer/checksum": func(t *testing.T) string {
		return transferTo(t, fmt.Sprintf(`{"done":true,"sha256":%s}`+"\n", jsonOf(t, hostile)))
	},
	"filetransfer/garbage": func(t *testing.T) string { return transferTo(t, hostile+"\n") },
	"filetransfer/path": func(t *testing.T) string {
		path := hostileFile(t)
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		_, stdout, stderr := transfer(t, "-connect", "127.0.0.1:1", path)
		return stdout + stderr
	},
	"filetransfer/directory": func(t *testing.T) string {
		_, stdout, stderr := transfer(t, "-listen", "127.0.0.1:0", "-dir", hostileFile(t))
		return stdout + stderr
	},
	"filetransfer/name": func(t *testing.T) string { return receiverOf(t, headerOf("gpj.\u202eexe pwned", "x")) },
	"filetransfer/hash of a header": func(t *testing.T) string {
		return receiverOf(t, fmt.Sprintf(`{"filetransfer":1,"name":"x","size":1,"sha256":%s}`+"\n", jsonOf(t, hostile)))
	},
	"proxy/server":         func(t *testing.T) string { return proxyTo(t, "text") },
	"proxy/server in JSON": func(t *testing.T) string { return proxyTo(t, "json") },
	"proxy/file": func(t *testing.T) string {
		return atEnd(t, "", "proxy", "-to", "a:1", "-cert", hostileFile(t), "-key", hostileFile(t))
	},
}

// hostileASCII is the part of hostileLine that a certificate and a host name can contain.
var hostileASCII = strings.Map(func(r rune) rune {
	if r >= utf8.RuneSelf || r == '\n' || r == '[' || r == ']' {
		return -1
	}
	return r
}, hostileLine)

func tcpAddr(t *testing.T, address string) net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", address)
	require.NoError(t, err)
	return addr
}

func jsonOf(t *testing.T, text string) string {
	out, err := json.Marshal(text)
	require.NoError(t, err)
	return string(out)
}

// alarmManagerOf returns what a manager prints when the server sends text.
func alarmManagerOf(t *testing.T, text string) string {
	s := running(t, program(t, "alarm", "-connect", says(t, "tcp", "127.0.0.1:0", text, false), "-retry", "1h", "-retry-max", "1h"))
	all := s.until("retrying")
	require.NoError(t, s.process.Process.Signal(os.Interrupt))
	_, rest := s.ends()
	return all + rest
}

// tlsClient returns what a client prints when a server with this certificate sends text.
func tlsClient(t *testing.T, cert, key, text string) string {
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	ln := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{pair}})
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, text)
		_ = c.(*tls.Conn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	return atEnd(t, "", "tls", "-connect", "localhost:"+port, "-cert", cert)
}

// transferTo returns what a sender prints when the receiver sends text.
func transferTo(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "some.bin")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	_, stdout, stderr := transfer(t, "-retries", "0", "-connect", says(t, "tcp", "127.0.0.1:0", text, true), path)
	return stdout + stderr
}

// receiverOf returns what a receiver prints when the sender sends text.
func receiverOf(t *testing.T, text string) string {
	s := running(t, transferProgram(t, "-listen", "127.0.0.1:0", "-dir", t.TempDir()))
	c := dial(t, tcpAddr(t, s.after("listening on ")))
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	all := s.until("pwned")
	require.NoError(t, s.process.Process.Signal(os.Interrupt))
	_, rest := s.ends()
	return all + rest
}

// proxyTo returns the log of a proxy to a server with a hostile name.
func proxyTo(t *testing.T, format string) string {
	host := strings.NewReplacer("[", "", "]", "").Replace(hostile)
	return untilPwned(t, func(address string) { dial(t, tcpAddr(t, address)) }, "proxy", "-listen", "127.0.0.1:0", "-log", format, "-to", host+":1")
}

// Every program escapes external input before it prints or logs it. The output has no escape sequence, no carriage return, no
// bidirectional control, no byte that is not UTF-8, and no line that a peer has forged.
func TestInjection(t *testing.T) {
	for name, run := range injections {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "abstract") && runtime.GOOS != "linux" {
				t.Skip("only Linux has abstract names")
			}
			printed := run(t)
			assert.Contains(t, printed, "pwned", "the text is printed")
			assert.Empty(t, raw(printed), "%q", printed)
			for line := range strings.Lines(printed) {
				assert.False(t, strings.HasPrefix(line, "forged"), "%q", printed)
			}
		})
	}
}
