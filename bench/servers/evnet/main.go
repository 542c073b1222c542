// Command evnet is the benchmark's server on evnet.
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

// quiet, because load generators break connections off as they please.
var quiet = slog.New(slog.DiscardHandler)

func handler(o kit.Options) func(*evnet.Socket) {
	switch o.Workload {
	case "line":
		return answerLines
	case "broadcast":
		return newHall().join
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

// echoRead listens for Drain only while it has to, so that an idle socket keeps no listener.
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

// holdBack stops reading from a peer that does not read.
func holdBack(c *evnet.Socket) {
	if c.NeedDrain() && !c.Paused() {
		c.Pause()
		c.Once.Drain(c.Resume)
	}
}

// hall is the sockets a broadcast reaches. The lock is for several loops.
type hall struct {
	mu      sync.Mutex
	sockets map[*evnet.Socket]struct{}
}

func newHall() *hall {
	return &hall{sockets: make(map[*evnet.Socket]struct{})}
}

func (h *hall) join(c *evnet.Socket) {
	h.mu.Lock()
	h.sockets[c] = struct{}{}
	h.mu.Unlock()
	c.On.Close(func(bool) {
		h.mu.Lock()
		delete(h.sockets, c)
		h.mu.Unlock()
	})
	must(c.Scan(kit.SplitLines, 0, h.tick))
}

func (h *hall) tick(line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.sockets {
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
