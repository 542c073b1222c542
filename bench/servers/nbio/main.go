// Command nbio is the server of the benchmark on nbio.
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
	// The table of conns has this many entries, and the garbage collector scans all of them.
	nbio.MaxOpenFiles = 1 << 16
	config := nbio.Config{
		Network:  "tcp",
		Addrs:    []string{"127.0.0.1:0"},
		NPoller:  1,
		EpollMod: nbio.EPOLLLT,
	}
	if o.Workload == "proxy" {
		// In level-triggered mode nbio closes a conn after three reads once its peer has ended, and loses
		// the unread bytes. In edge-triggered mode it reads all bytes.
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
		newGroup().handle(engine)
	case "proxy":
		(&proxy{engine: engine, upstream: o.Upstream}).handle()
	default:
		// Write copies the bytes that the kernel does not accept, so data need not be copied.
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

// A group has the conns that receive a broadcast. It needs a lock because OnOpen runs on the accepting
// goroutine, and OnData on another one.
type group struct {
	mu    sync.Mutex
	conns map[*nbio.Conn]struct{}
}

func newGroup() *group {
	return &group{conns: make(map[*nbio.Conn]struct{})}
}

func (g *group) handle(engine *nbio.Engine) {
	engine.OnOpen(func(c *nbio.Conn) {
		c.SetSession(new(kit.Lines))
		g.mu.Lock()
		defer g.mu.Unlock()
		g.conns[c] = struct{}{}
	})
	engine.OnClose(func(c *nbio.Conn, _ error) {
		// A Write that fails in tick closes its conn, which calls OnClose while the lock is held.
		go g.leave(c)
	})
	engine.OnData(func(c *nbio.Conn, data []byte) {
		lines := c.Session().(*kit.Lines)
		for line, rest := lines.Next(data); line != nil; line, rest = lines.Next(rest) {
			g.tick(line)
		}
	})
}

func (g *group) leave(c *nbio.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *group) tick(line []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		for range kit.BroadcastLines {
			if _, err := c.Write(line); err != nil {
				break
			}
		}
	}
}
