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

// skipFor is how long a server that could not be reached comes last.
const skipFor = 10 * time.Second

var errDial = errors.New("no connection within the time that -dial allows")

type options struct {
	to                                  []*upstream
	max, perClient                      int
	dial, firstByte, idle, close, grace time.Duration
	allow, deny                         evnet.BlockList
	tls                                 *tls.Config // nil: plain TCP
}

// upstream is a server to pass on to.
type upstream struct {
	address   string
	downUntil time.Time
}

// proxy belongs to the loop, whose callbacks run one at a time: nothing here has a lock.
type proxy struct {
	*options
	server   *evnet.Server
	open     map[*connection]bool
	from     map[netip.Addr]int // how many of them each address has
	turn     int                // whose turn it is
	stopping bool
	cut      int // how many connections stop has cut off
}

func newProxy(o *options) *proxy {
	p := &proxy{options: o, open: map[*connection]bool{}, from: map[netip.Addr]int{}}
	p.server = evnet.NewServer(&evnet.ServerOptions{
		MaxConnections:   o.max,
		FirstByteTimeout: o.firstByte,
		IdleTimeout:      o.idle,
		CloseTimeout:     o.close,
		HandshakeTimeout: 10 * time.Second,
		PauseOnConnect:   true, // what a client says waits, in the kernel, for a server to say it to
	})
	p.server.On.Connection(p.accept)
	p.server.On.Drop(func(d evnet.Drop) {
		slog.Warn("connection", "client", d.Remote.String(), "end", "too many connections")
	})
	return p
}

// connection is one client's, from its accept to its record in the log.
type connection struct {
	*proxy
	client, server *evnet.Socket // server is nil until it is connected
	to             string
	began          time.Time
	end            string // why it has ended; the first reason counts
	err            error
}

func (p *proxy) accept(client *evnet.Socket) {
	c := &connection{proxy: p, client: client, began: time.Now()}
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
			c.over(nil)
		}
	})
	switch {
	case p.deny.Check(address) || p.allow.Len() > 0 && !p.allow.Check(address):
		c.refuse("denied")
	case p.perClient > 0 && p.from[address] > p.perClient:
		c.refuse("too many connections of this client")
	case p.tls != nil:
		client.On.SecureConnect(func() { c.connect(p.inTurn()) })
		if err := client.StartTLSServer(p.tls); err != nil {
			client.Destroy(err)
		}
	default:
		c.connect(p.inTurn())
	}
}

// refuse ends a connection that was not passed on.
func (c *connection) refuse(why string) {
	c.end = why
	c.client.Destroy(nil)
}

// inTurn is every server: the one whose turn it is first, and last those that were down a moment ago.
func (p *proxy) inTurn() []*upstream {
	var up, down []*upstream
	now := time.Now()
	for i := range p.to {
		if u := p.to[(p.turn+i)%len(p.to)]; now.Before(u.downUntil) {
			down = append(down, u)
		} else {
			up = append(up, u)
		}
	}
	p.turn++
	return append(up, down...)
}

// connect tries one server after the other, and joins the first that answers with the client.
func (c *connection) connect(servers []*upstream) {
	if len(servers) == 0 {
		c.refuse("no server")
		return
	}
	to := servers[0]
	server := evnet.NewSocket(&evnet.SocketOptions{IdleTimeout: c.idle, CloseTimeout: c.close})
	late := evnet.DefaultLoop.AfterFunc(c.dial, func() { server.Destroy(errDial) })
	gone := c.client.On.Close(func(bool) { server.Destroy(nil) })
	server.On.Connect(func() {
		late.Stop()
		gone.Off()
		to.downUntil = time.Time{}
		c.server, c.to, c.err = server, to.address, nil
		evnet.Relay(c.client, server, c.over)
	})
	server.On.Error(func(err error) {
		if c.server != nil {
			c.failed("server", err)
			return
		}
		slog.Warn("server is down", "server", to.address, "err", err)
		to.downUntil = time.Now().Add(skipFor)
		c.err = err
	})
	server.On.Close(func(bool) {
		late.Stop()
		gone.Off()
		if c.server == nil && !c.client.Destroyed() {
			c.connect(servers[1:])
		}
	})
	server.Connect("tcp", to.address)
}

// failed notes which side has failed first, and how.
func (c *connection) failed(side string, err error) {
	if c.end != "" {
		return
	}
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &op):
		c.end = op.Op + " timeout" // idle, first byte, close or handshake
	case errors.Is(err, syscall.ECONNRESET):
		c.end = side + " reset"
	default:
		c.end = side + " failed"
	}
	c.err = err
}

// over writes the record of a connection.
func (c *connection) over(err error) {
	if c.end == "" {
		c.end = "ended"
		if err != nil {
			c.end, c.err = "failed", err
		}
	}
	attrs := []any{"client", c.client.RemoteAddr().String(), "server", c.to, "received", c.client.BytesRead()}
	sent := int64(0)
	if c.server != nil {
		sent = c.server.BytesRead()
	}
	attrs = append(attrs, "sent", sent, "duration", time.Since(c.began), "end", c.end)
	if c.err != nil {
		attrs = append(attrs, "err", c.err)
	}
	level := slog.LevelInfo
	if c.end != "ended" {
		level = slog.LevelWarn
	}
	slog.Log(context.Background(), level, "connection", attrs...)
}

// stop lets the open connections go on for a while and then cuts them off; called again, it does so at once.
func (p *proxy) stop(s os.Signal) {
	_ = p.server.Close(nil) // it may be closed already
	slog.Info("stopping", "signal", s.String(), "open", len(p.open))
	if p.stopping {
		p.cutOff()
		return
	}
	p.stopping = true
	evnet.DefaultLoop.AfterFunc(p.grace, p.cutOff).Unref() // not waited for when all is over before
}

// cutOff resets the connections, so that nobody takes a stream that was cut off for a whole one.
func (p *proxy) cutOff() {
	for c := range p.open {
		if c.end == "" {
			c.end = "stopped"
			p.cut++
			c.client.Reset() // and Relay the server's side
		}
	}
}
