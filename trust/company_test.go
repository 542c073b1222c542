package trust

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"evnet"
	"evnet/dgram"
	"evnet/internal/evtest"
	"evnet/internal/race"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// company is the other services of a process while one of its servers is attacked. They run on the same loop, on
// another loop, and in package net.
type company struct {
	t     *testing.T
	l     *evnet.Loop
	other *evnet.Loop
	dials map[string]func() (net.Conn, error)
	ends  []func()
	late  atomic.Int64 // the longest delay of a timer of the loop
}

func newCompany(t *testing.T, l *evnet.Loop) *company {
	c := &company{t: t, l: l, other: evnet.NewLoop(), dials: map[string]func() (net.Conn, error){}}
	echo := func(s *evnet.Socket) { s.Pipe(s) }
	server := func(name string, l *evnet.Loop, config *tls.Config) {
		server, address := serve(t, l, evnet.ServerOptions{TLSConfig: config}, echo)
		c.ends = append(c.ends, func() { _ = server.Close(nil); server.CloseAllConnections() })
		c.dials[name] = func() (net.Conn, error) { return net.Dial("tcp", address) }
		if config != nil {
			c.dials[name] = func() (net.Conn, error) {
				return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
			}
		}
	}
	server("TLS", l, selfSigned())
	server("another loop", c.other, nil)
	c.serveUnix(echo)
	c.serveDatagrams()
	c.servePlainly()
	return c
}

func (c *company) serveUnix(echo func(*evnet.Socket)) {
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(c.t, err)
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{c.l}, Logger: quiet})
	server.On.Connection(echo)
	require.NoError(c.t, server.Listen("unix", dir+"/s", nil))
	c.ends = append(c.ends, func() {
		_ = server.Close(nil)
		server.CloseAllConnections()
		_ = os.RemoveAll(dir)
	})
	c.dials["Unix"] = func() (net.Conn, error) { return net.Dial("unix", dir+"/s") }
}

func (c *company) serveDatagrams() {
	d, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4", Loop: c.l, Logger: quiet})
	require.NoError(c.t, err)
	d.On.Message(func(p []byte, from netip.AddrPort) { _ = d.SendTo(p, from, nil) })
	require.NoError(c.t, d.Bind("127.0.0.1:0", nil))
	c.ends = append(c.ends, func() { _ = d.Close(nil) })
	c.dials["datagrams"] = func() (net.Conn, error) { return net.Dial("udp", d.Address().String()) }
}

func (c *company) servePlainly() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(c.t, err)
	var all sync.WaitGroup
	c.ends = append(c.ends, func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}) // without splice, whose pipes Go would keep
			})
		}
	})
	c.dials["package net"] = func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }
}

// talk starts two clients of each kind until detected reports true: one keeps its connection, the other reconnects
// for each exchange. No client waits longer than fair, and no timer is delayed longer.
func (c *company) talk(slowest *atomic.Int64, detected func() bool) {
	c.l.Do(func() { c.tick(time.Now(), detected) })
	var all, others sync.WaitGroup
	others.Go(c.other.Run)
	for name, dial := range c.dials {
		all.Go(func() { talk(c.t, dial, false, func() {}, slowest, detected) })
		if name != "datagrams" {
			all.Go(func() { talk(c.t, dial, true, func() {}, slowest, detected) })
		}
	}
	all.Wait()
	for _, end := range c.ends {
		end()
	}
	others.Wait()
	assert.Less(c.t, time.Duration(c.late.Load()), fair, "a timer of the loop")
}

// tick records how late the timers of the loop are.
func (c *company) tick(due time.Time, detected func() bool) {
	if late := int64(time.Since(due)); late > c.late.Load() {
		c.late.Store(late)
	}
	if !detected() {
		next := time.Now().Add(time.Millisecond)
		c.l.AfterFunc(time.Millisecond, func() { c.tick(next, detected) }).Unref()
	}
}

// onProcessors runs a test on each transport. The long form also runs it on the epoll transport with one processor.
func onProcessors(t *testing.T, fn func(t *testing.T)) {
	onEach(t, fn)
	if !evtest.Long() || race.Enabled {
		return // the race detector makes one processor ten times slower and finds nothing more on it than on two
	}
	t.Run("poll, GOMAXPROCS=1", func(t *testing.T) {
		use(t, true)
		before := runtime.GOMAXPROCS(1)
		defer runtime.GOMAXPROCS(before)
		fn(t)
	})
}

// exchange sends a line and waits until it is echoed.
func exchange(conn net.Conn, line string) (time.Duration, error) {
	began := time.Now()
	_ = conn.SetDeadline(began.Add(fair))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return time.Since(began), err
	}
	p := make([]byte, len(line)+1)
	if _, err := io.ReadFull(conn, p); err != nil {
		return time.Since(began), err
	}
	if string(p) != line+"\n" {
		return time.Since(began), fmt.Errorf("answered %q", p)
	}
	return time.Since(began), nil
}
