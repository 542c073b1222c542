// Command evnet is the server of the benchmark on evnet.
package main

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"evnet"
	"evnet/bench/servers/kit"
	"evnet/dgram"
)

func main() {
	o := kit.Parse("udp")
	if o.Workload == "udp" {
		echoDatagrams(o)
		return
	}
	loops := make([]*evnet.Loop, o.Loops)
	for i := range loops {
		loops[i] = evnet.NewLoop()
	}
	server := evnet.NewServer(&evnet.ServerOptions{Loops: loops, Logger: quiet})
	server.On.Connection(handler(o))
	if err := server.Listen("tcp", "127.0.0.1:0", nil); err != nil {
		kit.Fatal(err)
	}
	kit.Ready(server.Address())
	for _, l := range loops[1:] {
		go l.Run()
	}
	loops[0].Run()
}

// quiet discards log records, because the load generator resets connections.
var quiet = slog.New(slog.DiscardHandler)

func handler(o kit.Options) func(*evnet.Socket) {
	switch o.Workload {
	case "line":
		return answerLines
	case "broadcast":
		return newGroup().join
	case "proxy":
		return func(c *evnet.Socket) { relay(c, o.Upstream) }
	}
	switch o.Mode {
	case "data":
		return echoData
	case "pipe":
		return func(c *evnet.Socket) { c.Pipe(c) }
	default:
		return echoRead
	}
}

// echoRead adds a Drain listener only while writes are queued, so that an idle socket has no listener.
func echoRead(c *evnet.Socket) {
	must(c.OnRead(func(p []byte) bool {
		c.Write(p)
		if c.NeedDrain() {
			c.Once.Drain(c.Resume)
			return false
		}
		return true
	}))
}

func echoData(c *evnet.Socket) {
	c.On.Data(func(chunk []byte) {
		c.Write(chunk)
		holdBack(c)
	})
}

func echoDatagrams(o kit.Options) {
	s, err := dgram.NewSocket(&dgram.SocketOptions{Network: "udp4"})
	if err != nil {
		kit.Fatal(err)
	}
	echo := func(msg []byte, from netip.AddrPort) { must(s.SendTo(msg, from, nil)) }
	s.On.Error(kit.Fatal)
	if o.Mode == "data" {
		s.On.Message(echo)
	} else {
		must(s.OnRead(echo))
	}
	must(s.Bind("127.0.0.1:0", func() { kit.Ready(net.UDPAddrFromAddrPort(s.Address())) }))
	evnet.Run()
}

func answerLines(c *evnet.Socket) {
	must(c.Scan(kit.SplitLines, 0, func(line []byte) {
		c.Write(line)
		holdBack(c)
	}))
}

// holdBack pauses a socket whose peer does not read.
func holdBack(c *evnet.Socket) {
	if c.NeedDrain() && !c.Paused() {
		c.Pause()
		c.Once.Drain(c.Resume)
	}
}

// A group has the sockets that receive a broadcast. The lock is for servers with several loops.
type group struct {
	mu      sync.Mutex
	sockets map[*evnet.Socket]struct{}
}

func newGroup() *group {
	return &group{sockets: make(map[*evnet.Socket]struct{})}
}

func (g *group) join(c *evnet.Socket) {
	g.mu.Lock()
	g.sockets[c] = struct{}{}
	g.mu.Unlock()
	c.On.Close(func(bool) {
		g.mu.Lock()
		delete(g.sockets, c)
		g.mu.Unlock()
	})
	must(c.Scan(kit.SplitLines, 0, g.tick))
}

func (g *group) tick(line []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.sockets {
		for range kit.BroadcastLines {
			c.Write(line)
		}
	}
}

func relay(c *evnet.Socket, upstream string) {
	up := evnet.NewSocket(&evnet.SocketOptions{Loop: c.Loop(), Logger: quiet})
	evnet.Relay(c, up, nil)
	up.Connect("tcp", upstream)
}

func must(err error) {
	if err != nil {
		kit.Fatal(err)
	}
}
