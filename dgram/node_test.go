package dgram_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needsNode tells where Node is. A test that binds a socket first asks before that: who is skipped leaves none behind.
func needsNode(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	return path
}

// node is a script of testdata/node, ended with the test.
func node(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	path := needsNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, append([]string{filepath.Join("testdata", "node", script)}, args...)...)
}

func TestNodeAnswers(t *testing.T) {
	each(t, func(t *testing.T) {
		for network, host := range map[string]string{"udp4": "127.0.0.1", "udp6": "[::1]"} {
			p := node(t, "echo.js", network)
			output, err := p.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, p.Start())
			port, err := bufio.NewReader(output).ReadString('\n')
			require.NoError(t, err)

			l := evnet.NewLoop()
			s := open(t, l, dgram.SocketOptions{Network: network})
			s.On.Error(func(err error) { assert.NoError(t, err) })
			sizes := []int{0, 1, 64, 1472, 9000, 65000}
			for i := range 500 {
				sizes = append(sizes, i)
			}
			var want []byte
			next := func() {
				if len(sizes) == 0 {
					want = []byte("bye")
				} else {
					want = make([]byte, sizes[0])
					_, _ = rand.Read(want)
					sizes = sizes[1:]
				}
				require.NoError(t, s.Send(want, "", nil))
			}
			s.On.Message(func(msg []byte, _ netip.AddrPort) {
				require.True(t, bytes.Equal(want, msg), "the answer differs")
				if string(msg) == "bye" {
					closed(s)
					return
				}
				next()
			})
			require.NoError(t, s.Connect(host+":"+strings.TrimSpace(port), func(err error) {
				require.NoError(t, err)
				next()
			}))
			run(t, l)
			require.NoError(t, p.Wait())
			assert.Empty(t, sizes)
		}
	})
}

func TestNodeAsks(t *testing.T) {
	needsNode(t)
	each(t, func(t *testing.T) {
		for _, network := range []string{"udp4", "udp6"} {
			l := evnet.NewLoop()
			s := bound(t, l, dgram.SocketOptions{Network: network})
			s.On.Message(func(msg []byte, from netip.AddrPort) { require.NoError(t, s.SendTo(msg, from, nil)) })
			p := node(t, "client.js", network, port(s))
			go func() {
				defer closed(s)
				out, err := p.CombinedOutput()
				assert.NoError(t, err)
				assert.Equal(t, "all the same\n", string(out))
			}()
			run(t, l)
		}
	})
}

// What is wrong has the same code in Node and here.
func TestNodeCodes(t *testing.T) {
	out, err := node(t, "codes.js").Output()
	require.NoError(t, err)
	theirs := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		name, code, _ := strings.Cut(line, " ")
		theirs[name] = code
	}
	each(t, func(t *testing.T) {
		ours := ourCodes(t)
		assert.Len(t, theirs, 38)
		assert.Equal(t, theirs, ours)
	})
}

// ourCodes are those of the situations of codes.js.
func ourCodes(t *testing.T) map[string]string {
	codes := map[string]string{}
	told := func(name string, err error) {
		if codes[name] = "none"; err != nil {
			codes[name] = evnet.Code(err)
		}
	}
	l := evnet.NewLoop()
	_, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp5"})
	told("bad-type", err)
	unbound := open(t, l, dgram.SocketOptions{})
	told("unbound-ttl", unbound.SetTTL(1))
	told("unbound-broadcast", unbound.SetBroadcast(true))
	_, err = unbound.ReadBuffer()
	told("unbound-buffer", err)
	_, err = unbound.RemoteAddress()
	told("unbound-remote", err)
	told("unbound-disconnect", unbound.Disconnect())
	told("send-port-0", unbound.Send([]byte("x"), "127.0.0.1:0", nil))
	told("send-no-port", unbound.Send([]byte("x"), "", nil))
	told("connect-port-0", unbound.Connect(":0", nil))
	told("no-group", unbound.AddMembership("", ""))
	closed(unbound)
	told("closed-close", unbound.Close(nil))
	told("closed-bind", unbound.Bind("", nil))
	told("closed-send", unbound.Send([]byte("x"), "127.0.0.1:1", nil))
	_, err = unbound.RemoteAddress()
	told("closed-remote", err)
	told("closed-membership", unbound.AddMembership("224.0.0.114", ""))

	s := bound(t, l, dgram.SocketOptions{})
	told("bind-twice", s.Bind("", nil))
	told("ttl-0", s.SetTTL(0))
	told("ttl-256", s.SetTTL(256))
	told("multicast-ttl-256", s.SetMulticastTTL(256))
	told("multicast-ttl-0", s.SetMulticastTTL(0))
	told("junk-group", s.AddMembership("junk", ""))
	told("no-multicast-group", s.AddMembership("1.2.3.4", ""))
	told("drop-unknown-group", s.DropMembership("224.0.0.114", "127.0.0.1"))
	told("junk-interface", s.SetMulticastInterface("junk"))
	told("strange-interface", s.SetMulticastInterface("9.9.9.9"))
	told("junk-source", s.AddSourceSpecificMembership("junk", "232.1.1.1", "127.0.0.1"))
	told("negative-buffer", s.SetReadBuffer(-1))
	for name, m := range map[string]struct {
		size    int
		address string
	}{"oversized": {70000, "127.0.0.1:9"}, "broadcast": {1, "255.255.255.255:9"}, "wrong-family": {1, "[::1]:9"}, "empty": {0, "127.0.0.1:9"}} {
		require.NoError(t, s.Send(make([]byte, m.size), m.address, func(err error) { told(name, err) }))
	}
	told("taken", open(t, l, dgram.SocketOptions{}).Bind(s.Address().String(), nil))
	l.Post(func() {
		closed(s)
		address := deadPort(t)
		c := open(t, l, dgram.SocketOptions{})
		c.On.Error(func(err error) {
			told("refused", err)
			closed(c)
		})
		require.NoError(t, c.Connect(address, func(error) {
			told("connect-twice", c.Connect(address, nil))
			told("connected-send", c.Send([]byte("x"), address, nil))
			require.NoError(t, c.Send([]byte("x"), "", nil))
		}))
		told("connecting-connect", c.Connect(address, nil))
		told("connecting-disconnect", c.Disconnect())
		told("connecting-send", c.Send([]byte("x"), "", nil))
	})
	run(t, l)
	return codes
}
