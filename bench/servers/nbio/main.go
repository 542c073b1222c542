// Command nbio is the benchmark's server on nbio.
package main

import (
	"net"
	"sync"

	"github.com/lesismal/nbio"
	"github.com/lesismal/nbio/logging"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse()
	logging.SetLevel(logging.LevelNone)
	// The table of conns has this many entries, and the garbage collector looks at all of them.
	nbio.MaxOpenFiles = 1 << 16
	config := nbio.Config{
		Network:  "tcp",
		Addrs:    []string{"127.0.0.1:0"},
		NPoller:  1,
		EpollMod: nbio.EPOLLLT,
	}
	if o.Workload == "proxy" {
		// Level-triggered, a conn whose peer has ended is closed after three reads, and what they
		// leave is lost; edge-triggered, all is read.
		config.EpollMod = nbio.EPOLLET
	}
	engine := nbio.NewEngine(config)
	handle(engine, o)
	if err := engine.Start(); err != nil {
		kit.Fatal(err)
	}
	addr, err := net.ResolveTCPAddr("tcp", engine.Addrs[0])
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(addr)
	select {}
}

func handle(engine *nbio.Engine, o kit.Options) {
	switch o.Workload {
	case "line":
		engine.OnOpen(func(c *nbio.Conn) { c.SetSession(new(kit.Lines)) })
		engine.OnData(answerLines)
	case "broadcast":
		newHall().handle(engine)
	case "proxy":
		(&proxy{engine: engine, upstream: o.Upstream}).handle()
	default:
		// Write keeps a copy of what the system does not take, so data needs none.
		engine.OnData(func(c *nbio.Conn, data []byte) { c.Write(data) })
	}
}

func answerLines(c *nbio.Conn, data []byte) {
	lines := c.Session().(*kit.Lines)
	for line, rest := lines.Next(data); line != nil; line, rest = lines.Next(rest) {
		if _, err := c.Write(line); err != nil {
			return
		}
	}
}

// hall is the conns a broadcast reaches. The lock is for OnOpen, which runs where conns are
// accepted, on another goroutine than OnData.
type hall struct {
	mu    sync.Mutex
	conns map[*nbio.Conn]struct{}
}

func newHall() *hall {
	return &hall{conns: make(map[*nbio.Conn]struct{})}
}

func (h *hall) handle(engine *nbio.Engine) {
	engine.OnOpen(func(c *nbio.Conn) {
		c.SetSession(new(kit.Lines))
		h.mu.Lock()
		defer h.mu.Unlock()
		h.conns[c] = struct{}{}
	})
	engine.OnClose(func(c *nbio.Conn, _ error) {
		// A Write that fails inside tick closes its conn, and calls this with the lock held.
		go h.leave(c)
	})
	engine.OnData(func(c *nbio.Conn, data []byte) {
		lines := c.Session().(*kit.Lines)
		for line, rest := lines.Next(data); line != nil; line, rest = lines.Next(rest) {
			h.tick(line)
		}
	})
}

func (h *hall) leave(c *nbio.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *hall) tick(line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		for range kit.BroadcastLines {
			if _, err := c.Write(line); err != nil {
				break
			}
		}
	}
}
