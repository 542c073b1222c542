package trust

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"evnet"

	"github.com/stretchr/testify/require"
)

// LookupNetIP returns the addresses of the plan. The plan is the Resolver of its name.
func (p *plan) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	var ips []netip.Addr
	for _, host := range p.hosts {
		ips = append(ips, netip.MustParseAddr(host))
	}
	return ips, nil
}

// start makes the socket and its peer, and starts the operations.
func (m *machine) start() {
	p := m.plan
	p.options.Loop, p.options.Logger = m.l, quiet
	p.options.Context, m.cancel = context.WithCancel(context.Background())
	m.cleanup = append(m.cleanup, m.cancel)
	if p.secure && p.kind != "accepted" {
		p.options.TLSConfig = &tls.Config{InsecureSkipVerify: true}
	}
	m.conns = []*connection{{}}
	switch p.kind {
	case "wrapped":
		here, there := m.pair()
		m.adopt(evnet.Wrap(here, &p.options))
		m.peer(only(m.secured(there), m.conns[0]))
	case "accepted":
		options := evnet.ServerOptions{
			Loops: []*evnet.Loop{m.l}, Logger: quiet, AllowHalfOpen: p.options.AllowHalfOpen, HighWaterMark: p.options.HighWaterMark,
			MaxWriteBuffer: p.options.MaxWriteBuffer, IdleTimeout: p.options.IdleTimeout, CloseTimeout: p.options.CloseTimeout,
		}
		if p.secure {
			options.TLSConfig = selfSigned()
		}
		server := evnet.NewServer(&options)
		address := m.address()
		require.NoError(m.t, server.Listen(p.network, address, nil))
		m.cancel = func() { m.s.Destroy(context.Canceled) } // an accepted socket does not have a Context
		server.Once.Connection(func(s *evnet.Socket) {
			_ = server.Close(nil)
			m.adopt(s)
		})
		server.On.TLSClientError(func(error, *evnet.Socket) { _ = server.Close(nil) })
		c, err := net.Dial(p.network, server.Address().String())
		require.NoError(m.t, err)
		m.peer(only(m.secured(c), m.conns[0]))
	case "connecting":
		m.connecting()
	}
}

// connecting connects to a listener that stays open, so that the socket can connect again.
func (m *machine) connecting() {
	p := m.plan
	ln, err := net.Listen(p.network, m.address())
	require.NoError(m.t, err)
	m.cleanup = append([]func(){func() { _ = ln.Close() }}, m.cleanup...)
	to := ln.Addr().String()
	if p.hosts != nil {
		host, port, _ := net.SplitHostPort(to)
		for i := range p.hosts {
			if p.hosts[i] == "127.0.0.1" {
				p.hosts[i] = host
			}
		}
		to, p.options.Resolver = net.JoinHostPort("name.test", port), p
	}
	m.s = evnet.NewSocket(&p.options)
	m.s.On.Connect(func() {
		m.conn().local = m.s.LocalAddr().String()
		if p.tight {
			tighten(m.s.Conn())
		}
	})
	m.opener = func() { m.s.Connect(p.network, to) }
	var mu sync.Mutex
	accepted := map[string]*connection{} // what the peer accepted, by remote address
	m.peer(func() (net.Conn, *connection) {
		c, err := ln.Accept()
		if err != nil {
			return nil, nil
		}
		mu.Lock()
		defer mu.Unlock()
		h := &connection{}
		accepted[c.RemoteAddr().String()] = h
		return m.secured(c), h
	})
	m.cleanup = append(m.cleanup, func() {
		for _, c := range m.conns {
			if h := accepted[c.local]; h != nil && strings.Contains(c.events, "c") { // else the attempt was abandoned
				c.sent, c.received, c.peerRead, c.cut = h.sent, h.received, h.peerRead, h.cut
			}
		}
	})
	m.adopt(m.s)
	m.opener()
}

var listeners atomic.Int32

func (m *machine) address() string {
	if m.plan.network == "tcp" {
		if runtime.GOOS != "linux" {
			return "127.0.0.1:0"
		}
		// A port of an address cannot be reused for a minute.
		n := listeners.Add(1)
		return fmt.Sprintf("127.0.%d.%d:0", 1+n/250%250, 1+n%250)
	}
	dir, err := os.MkdirTemp("", "evnet")
	require.NoError(m.t, err)
	m.cleanup = append(m.cleanup, func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func (m *machine) pair() (here, there net.Conn) {
	if m.plan.network == "pipe" {
		return net.Pipe()
	}
	ln, err := net.Listen(m.plan.network, m.address())
	require.NoError(m.t, err)
	defer ln.Close()
	there, err = net.Dial(m.plan.network, ln.Addr().String())
	require.NoError(m.t, err)
	here, err = ln.Accept()
	require.NoError(m.t, err)
	return here, there
}

// secured returns the peer's conn, under TLS if the plan says so.
func (m *machine) secured(conn net.Conn) net.Conn {
	switch {
	case !m.plan.secure:
		return conn
	case m.plan.kind == "accepted":
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return tls.Server(conn, selfSigned())
}

func (m *machine) adopt(s *evnet.Socket) {
	m.s = s
	m.recordEvents()
	if conn := s.Conn(); conn != nil && m.plan.tight {
		tighten(conn)
	}
	if m.plan.echo {
		m.consumed = true
		s.Pipe(s)
		m.conn().dropped = true // an echo does not check the delivered data
	}
	m.l.AfterFunc(0, m.turn)
}

// peer runs the peer of each conn that next returns, until next returns nil.
func (m *machine) peer(next func() (net.Conn, *connection)) {
	var done sync.WaitGroup
	done.Go(func() {
		for conn, c := next(); conn != nil; conn, c = next() {
			done.Go(func() { m.plan.peer.run(conn, c, m.plan.tight) })
		}
	})
	m.cleanup = append(m.cleanup, done.Wait)
}

// only returns a function that returns one conn, once.
func only(conn net.Conn, c *connection) func() (net.Conn, *connection) {
	return func() (net.Conn, *connection) {
		defer func() { conn = nil }()
		return conn, c
	}
}

// run is the peer's side of one connection.
func (p *peerPlan) run(conn net.Conn, c *connection, tight bool) {
	defer conn.Close()
	if tight {
		tighten(conn)
	}
	read := make(chan struct{})
	start := make(chan struct{})
	go func() {
		defer close(read)
		<-start
		p.read(conn, c)
	}()
	begin := sync.OnceFunc(func() { close(start) })
	if p.reader != "late" {
		begin()
	}
	ended := p.write(conn, c)
	begin()
	switch finale := p.finale; {
	case ended == "reset" || ended == "close":
	case finale == "end":
		c.end(conn)
		<-read
	case finale == "wait":
		<-read
	case finale == "reset":
		resetOf(conn)
	}
	over := false
	select {
	case <-read:
		over = true
	default:
	}
	failed := conn.Close() != nil // under TLS, Close writes and may consume the reset, as in write
	<-read
	c.cut = c.cut || failed && !over
}

// write runs the steps, and returns the step that ended the connection.
func (p *peerPlan) write(conn net.Conn, c *connection) (ended string) {
	sent := 0
	for _, step := range p.steps {
		switch step.what {
		case "write":
			if ended != "" {
				continue
			}
			n, err := conn.Write(pattern(incoming, sent, step.n))
			sent += n
			c.mu.Lock()
			c.sent = sent
			// A failed write may consume the reset: Read then reports an end although the stream was cut.
			c.cut = c.cut || err != nil
			c.mu.Unlock()
			if err != nil {
				return ended
			}
		case "yield":
			for range step.n % 100 {
				runtime.Gosched()
			}
		case "end":
			if _, half := conn.(interface{ CloseWrite() error }); half {
				c.end(conn)
				ended = "end"
			}
		case "reset", "close":
			if step.n%4 > 0 { // not too often
				continue
			}
			c.mu.Lock()
			c.cut = true
			c.mu.Unlock()
			if step.what == "reset" {
				resetOf(conn)
			}
			_ = conn.Close()
			return step.what
		}
	}
	return ended
}

func (p *peerPlan) read(conn net.Conn, c *connection) {
	buf := make([]byte, 64<<10)
	if p.reader == "bits" {
		buf = buf[:500]
	}
	for {
		n, err := conn.Read(buf)
		c.mu.Lock()
		c.received = append(c.received, buf[:n]...)
		c.peerRead = err == io.EOF
		c.mu.Unlock()
		if err != nil {
			return
		}
		if p.reader == "bits" {
			runtime.Gosched()
		}
	}
}

// end ends the peer's side. If it fails, it may have consumed the reset, as in write.
func (c *connection) end(conn net.Conn) {
	failed := false
	if over, ok := conn.(*tls.Conn); ok {
		failed = over.Handshake() != nil // the TLS conn cannot be half-closed before the handshake
	}
	if half, ok := conn.(interface{ CloseWrite() error }); !ok {
		_ = conn.Close()
	} else if half.CloseWrite() != nil {
		failed = true
		_ = conn.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = c.cut || failed
}

func resetOf(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
}
