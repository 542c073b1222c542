package trust

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// crowd is a crowded server in a process of its own.
type crowd struct {
	t   testing.TB
	cmd *exec.Cmd
	at  crowdPlaces
}

func newCrowd(t testing.TB, vars ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, cmd: play("crowded server", vars...)}
	stdin, err := c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &c.at))
	return c
}

// dial connects to one of the crowdPlaces, as a client of its kind does.
func (c *crowd) dial(place string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: fair}
	switch place {
	case "TLS":
		return tls.DialWithDialer(dialer, "tcp", c.at[place], &tls.Config{InsecureSkipVerify: true})
	case "Unix":
		return dialer.Dial("unix", c.at[place])
	case "dgram":
		return dialer.Dial("udp", c.at[place])
	}
	return dialer.Dial("tcp", c.at[place])
}

// attackers are connected, and have not begun yet.
func (c *crowd) attackers(place string, peers int) []net.Conn {
	c.t.Helper()
	var conns []net.Conn
	for range peers {
		conn, err := c.dial(place)
		require.NoError(c.t, err)
		conns = append(conns, conn)
	}
	return conns
}

// pourFeeds lets attackers send line feeds without end, or so many bytes once, and read what they are answered, until
// stop is called. It returns once each has sent something.
func pourFeeds(conns []net.Conn, once int) (stop func()) {
	var all, begun sync.WaitGroup
	for _, conn := range conns {
		feeds := bytes.Repeat([]byte("\n"), 64<<10)
		if conn.LocalAddr().Network() == "udp" {
			feeds = feeds[:1]
		}
		all.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		if len(feeds) == 1 && conn != conns[0] {
			continue // nothing holds a sender of datagrams back: one is enough to keep a processor busy
		}
		begun.Add(1)
		all.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			for sent := 0; once == 0 || sent < once; sent += len(feeds) {
				if _, err := conn.Write(feeds); err != nil {
					return
				}
				first()
			}
		})
	}
	begun.Wait()
	return func() {
		for _, conn := range conns {
			if over, ok := conn.(*tls.Conn); ok {
				conn = over.NetConn()
			}
			_ = conn.Close()
		}
		all.Wait()
	}
}
