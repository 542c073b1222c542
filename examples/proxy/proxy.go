package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"evnet"
)

// retryAfter is how long an unavailable server is tried last.
const retryAfter = 10 * time.Second

var errDial = errors.New("connect: no connection within -dial")

type options struct {
	to                                  []*upstream
	max, perClient                      int
	dial, firstByte, idle, close, grace time.Duration
	allow, deny                         evnet.BlockList
	tls                                 *tls.Config // nil: plain TCP
}

// upstream is a server to which connections are relayed.
type upstream struct {
	address   string
	downUntil time.Time
}

// proxy is used on the loop only. Its callbacks run one at a time, so it needs no lock.
type proxy struct {
	*options
	server   *evnet.Server
	open     map[*connection]bool
	from     map[netip.Addr]int // number of open connections from each address
	next     int                // selects the upstream to try first
	stopping bool
	resets   int // number of connections that stop has reset
}

func newProxy(o *options) *proxy {
	p := &proxy{options: o, open: map[*connection]bool{}, from: map[netip.Addr]int{}}
	p.server = evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   o.max,
		FirstByteTimeout: o.firstByte,
		IdleTimeout:      o.idle,
		CloseTimeout:     o.close,
		HandshakeTimeout: 10 * time.Second,
		PauseOnConnect:   true, // client data stays in the kernel until the server is connected
	})
	p.server.On.Connection(p.accept)
	p.server.On.Drop(func(d evnet.Drop) {
		slog.Warn("connection closed", "client", d.Remote.String(), "result", "too many connections")
	})
	return p
}

// connection is the connection of one client, from the accept to the record in the log.
type connection struct {
	*proxy
	client, server *evnet.Socket // server is nil until it is connected
	to             string
	start          time.Time
	result         string // why it was closed; the first reason counts
	err            error
}

func (p *proxy) accept(client *evnet.Socket) {
	c := &connection{proxy: p, client: client, start: time.Now()}
	address := client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	p.open[c] = true
	p.from[address]++
	client.On.Error(func(err error) { c.failed("client", err) })
	client.On.Close(func(bool) {
		delete(p.open, c)
		if p.from[address]--; p.from[address] == 0 {
			delete(p.from, address)
		}
		if c.server == nil {
			c.done(nil)
		}
	})
	switch {
	case p.deny.Check(address) || p.allow.Len() > 0 && !p.allow.Check(address):
		c.refuse("denied")
	case p.perClient > 0 && p.from[address] > p.perClient:
		c.refuse("too many connections from this client")
	case p.tls != nil:
		client.On.SecureConnect(func() { c.connect(p.upstreams()) })
		if err := client.StartTLSServer(p.tls); err != nil {
			client.Destroy(err)
		}
	default:
		c.connect(p.upstreams())
	}
}

// refuse closes a connection that was not relayed.
func (c *connection) refuse(result string) {
	c.result = result
	c.client.Destroy(nil)
}

// upstreams returns all servers in the order to try: round-robin, with unavailable servers last.
func (p *proxy) upstreams() []*upstream {
	var up, down []*upstream
	now := time.Now()
	for i := range p.to {
		if u := p.to[(p.next+i)%len(p.to)]; now.Before(u.downUntil) {
			down = append(down, u)
		} else {
			up = append(up, u)
		}
	}
	p.next++
	return append(up, down...)
}

// connect tries one server after the other and relays the client to the first that accepts.
func (c *connection) connect(servers []*upstream) {
	if len(servers) == 0 {
		c.refuse("no server available")
		return
	}
	to := servers[0]
	server := evnet.NewSocket(&evnet.SocketOptions{IdleTimeout: c.idle, CloseTimeout: c.close})
	dialTimer := evnet.DefaultLoop.AfterFunc(c.dial, func() { server.Destroy(errDial) })
	clientClosed := c.client.On.Close(func(bool) { server.Destroy(nil) })
	server.On.Connect(func() {
		dialTimer.Stop()
		clientClosed.Off()
		to.downUntil = time.Time{}
		c.server, c.to, c.err = server, to.address, nil
		evnet.Relay(c.client, server, c.done)
	})
	server.On.Error(func(err error) {
		if c.server != nil {
			c.failed("server", err)
			return
		}
		slog.Warn("server unavailable", "server", to.address, "err", err)
		to.downUntil = time.Now().Add(retryAfter)
		c.err = err
	})
	server.On.Close(func(bool) {
		dialTimer.Stop()
		clientClosed.Off()
		if c.server == nil && !c.client.Destroyed() {
			c.connect(servers[1:])
		}
	})
	server.Connect("tcp", to.address)
}

// failed records which side has failed first, and how.
func (c *connection) failed(side string, err error) {
	if c.result != "" {
		return
	}
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &op):
		c.result = op.Op + " timeout" // idle, first byte, close or handshake
	case errors.Is(err, syscall.ECONNRESET):
		c.result = side + " reset"
	default:
		c.result = side + " failed"
	}
	c.err = err
}

// done logs a closed connection.
func (c *connection) done(err error) {
	if c.result == "" {
		c.result = "completed"
		if err != nil {
			c.result, c.err = "failed", err
		}
	}
	attrs := []any{"client", c.client.RemoteAddr().String(), "server", c.to, "received", c.client.BytesRead()}
	sent := int64(0)
	if c.server != nil {
		sent = c.server.BytesRead()
	}
	attrs = append(attrs, "sent", sent, "duration", time.Since(c.start), "result", c.result)
	if c.err != nil {
		attrs = append(attrs, "err", c.err)
	}
	level := slog.LevelInfo
	if c.result != "completed" {
		level = slog.LevelWarn
	}
	slog.Log(context.Background(), level, "connection closed", attrs...)
}

// stop stops listening and resets the open connections after the grace period, or immediately if called again.
func (p *proxy) stop(s os.Signal) {
	_ = p.server.Close(nil) // it may be closed already
	slog.Info("stopping", "signal", s.String(), "open", len(p.open))
	if p.stopping {
		p.resetAll()
		return
	}
	p.stopping = true
	evnet.DefaultLoop.AfterFunc(p.grace, p.resetAll).Unref() // the timer does not keep Run waiting
}

// resetAll resets the open connections, so that no peer takes a truncated stream for a complete one.
func (p *proxy) resetAll() {
	for c := range p.open {
		if c.result == "" {
			c.result = "shutdown"
			p.resets++
			c.client.Reset() // Relay resets the server's side
		}
	}
}
