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

// crowd is a server of every kind, in its own process.
type crowd struct {
	t   testing.TB
	cmd *exec.Cmd
	at  crowdPlaces
}

func newCrowd(t testing.TB, vars ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, cmd: childCommand("server of every kind", vars...)}
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

// dial connects to one of the crowdPlaces, like a client of that kind.
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

// attackers returns connections that have not sent anything yet.
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

// pourFeeds makes each attacker send line feeds, either endlessly or for the given number of bytes, and read the
// answers until stop is called. It returns once each attacker has sent something.
func pourFeeds(conns []net.Conn, once int) (stop func()) {
	var all, begun sync.WaitGroup
	for _, conn := range conns {
		feeds := bytes.Repeat([]byte("\n"), 64<<10)
		if conn.LocalAddr().Network() == "udp" {
			feeds = feeds[:1]
		}
		all.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		if len(feeds) == 1 && conn != conns[0] {
			continue // a sender of datagrams gets no backpressure: one is enough to keep a processor busy
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
