package dgram_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needsNode returns the path of Node, or skips the test. A test that binds a socket calls it before that, so that a
// skipped test leaves no socket open.
func needsNode(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	return path
}

// node returns the command that runs a script of testdata/node. The command ends with the test.
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

// Errors have the same codes as in Node.
func TestNodeCodes(t *testing.T) {
	out, err := node(t, "codes.js").Output()
	require.NoError(t, err)
	theirs := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		name, code, _ := strings.Cut(line, " ")
		theirs[name] = code
	}
	assert.Len(t, theirs, 38+3*len(bufferSizes)+2)
	isTooLarge := func(name, _ string) bool { // for an int
		return strconv.IntSize == 32 && (strings.HasSuffix(name, "G") || strings.HasSuffix(name, "4G-1"))
	}
	maps.DeleteFunc(theirs, isTooLarge)
	each(t, func(t *testing.T) {
		ours := ourCodes(t)
		maps.DeleteFunc(ours, isTooLarge)
		assert.Equal(t, theirs, ours)
	})
}

var bufferSizes = map[string]int64{"2G-1": 1<<31 - 1, "2G": 1 << 31, "4G-1": 1<<32 - 1, "4G": 1 << 32}

// ourCodes returns the codes for the situations of codes.js, by their names.
func ourCodes(t *testing.T) map[string]string {
	codes := map[string]string{}
	note := func(name string, err error) {
		if codes[name] = "none"; err != nil {
			codes[name] = evnet.Code(err)
		}
	}
	l := evnet.NewLoop()
	_, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp5"})
	note("bad-type", err)
	unbound := open(t, l, dgram.SocketOptions{})
	note("unbound-ttl", unbound.SetTTL(1))
	note("unbound-broadcast", unbound.SetBroadcast(true))
	_, err = unbound.ReadBuffer()
	note("unbound-buffer", err)
	_, err = unbound.RemoteAddress()
	note("unbound-remote", err)
	note("unbound-disconnect", unbound.Disconnect())
	note("send-port-0", unbound.Send([]byte("x"), "127.0.0.1:0", nil))
	note("send-no-port", unbound.Send([]byte("x"), "", nil))
	note("connect-port-0", unbound.Connect(":0", nil))
	note("no-group", unbound.AddMembership("", ""))
	for name, size := range bufferSizes {
		note("unbound-buffer-"+name, unbound.SetReadBuffer(int(size)))
	}
	_, err = dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", ReadBuffer: -1})
	note("option-negative", err)
	_, err = dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", WriteBuffer: int(bufferSizes["4G"])})
	note("option-4G", err)
	closed(unbound)
	note("closed-close", unbound.Close(nil))
	note("closed-bind", unbound.Bind("", nil))
	note("closed-send", unbound.Send([]byte("x"), "127.0.0.1:1", nil))
	_, err = unbound.RemoteAddress()
	note("closed-remote", err)
	note("closed-membership", unbound.AddMembership("224.0.0.114", ""))

	s := bound(t, l, dgram.SocketOptions{})
	note("bind-twice", s.Bind("", nil))
	note("ttl-0", s.SetTTL(0))
	note("ttl-256", s.SetTTL(256))
	note("multicast-ttl-256", s.SetMulticastTTL(256))
	note("multicast-ttl-0", s.SetMulticastTTL(0))
	note("junk-group", s.AddMembership("junk", ""))
	note("no-multicast-group", s.AddMembership("1.2.3.4", ""))
	note("drop-unknown-group", s.DropMembership("224.0.0.114", "127.0.0.1"))
	note("junk-interface", s.SetMulticastInterface("junk"))
	note("strange-interface", s.SetMulticastInterface("9.9.9.9"))
	note("junk-source", s.AddSourceSpecificMembership("junk", "232.1.1.1", "127.0.0.1"))
	note("negative-buffer", s.SetReadBuffer(-1))
	for name, size := range bufferSizes {
		note("buffer-"+name, s.SetReadBuffer(int(size)))
		note("send-buffer-"+name, s.SetWriteBuffer(int(size)))
	}
	for name, m := range map[string]struct {
		size    int
		address string
	}{"oversized": {70000, "127.0.0.1:9"}, "broadcast": {1, "255.255.255.255:9"}, "wrong-family": {1, "[::1]:9"}, "empty": {0, "127.0.0.1:9"}} {
		require.NoError(t, s.Send(make([]byte, m.size), m.address, func(err error) { note(name, err) }))
	}
	note("taken", open(t, l, dgram.SocketOptions{}).Bind(s.Address().String(), nil))
	l.Post(func() {
		closed(s)
		address := deadPort(t)
		c := open(t, l, dgram.SocketOptions{})
		c.On.Error(func(err error) {
			note("refused", err)
			closed(c)
		})
		require.NoError(t, c.Connect(address, func(error) {
			note("connect-twice", c.Connect(address, nil))
			note("connected-send", c.Send([]byte("x"), address, nil))
			require.NoError(t, c.Send([]byte("x"), "", nil))
		}))
		note("connecting-connect", c.Connect(address, nil))
		note("connecting-disconnect", c.Disconnect())
		note("connecting-send", c.Send([]byte("x"), "", nil))
	})
	run(t, l)
	return codes
}
