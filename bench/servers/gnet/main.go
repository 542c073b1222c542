// Command gnet is the server of the benchmark on gnet. Build it with the tag poll_opt, gnet's fast path
// from an event to its conn. Do not use the tag gc_opt: it makes the accept workload slow, and the work
// that it saves the garbage collector does not occur here.
package main

import (
	"bytes"
	"net"
	"os"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse()
	err := gnet.Run(handler(o), "tcp://127.0.0.1:0",
		gnet.WithNumEventLoop(o.Loops),
		// With ReusePort a single loop accepts by itself, without another goroutine. Several loops
		// would each listen on a different port, because the kernel chooses the port.
		gnet.WithReusePort(o.Loops == 1),
		gnet.WithLogger(quiet{}))
	if err != nil {
		kit.Fatal(err)
	}
}

func handler(o kit.Options) gnet.EventHandler {
	switch o.Workload {
	case "line":
		return &lines{}
	case "broadcast":
		if o.Loops > 1 {
			// Conn.Write may be called only on the conn's own loop.
			kit.Unsupported("broadcast on several loops")
		}
		return &broadcast{conns: make(map[gnet.Conn]struct{})}
	case "proxy":
		return newProxy(o.Upstream)
	default:
		return &echo{}
	}
}

// base prints the address of the engine when it starts.
type base struct{ gnet.BuiltinEventEngine }

func (base) OnBoot(eng gnet.Engine) gnet.Action {
	addr, err := address(eng)
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(addr)
	return gnet.None
}

func address(eng gnet.Engine) (net.Addr, error) {
	fd, err := eng.Dup()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	return ln.Addr(), nil
}

type echo struct{ base }

func (*echo) OnTraffic(c gnet.Conn) gnet.Action {
	p, _ := c.Next(-1)
	c.Write(p) // closes c itself if it fails
	return gnet.None
}

type lines struct{ base }

// OnTraffic searches for lines in gnet's buffer, which keeps an incomplete line.
func (*lines) OnTraffic(c gnet.Conn) gnet.Action {
	eachLine(c, func(line []byte) error {
		_, err := c.Write(line)
		return err
	})
	return gnet.None
}

func eachLine(c gnet.Conn, do func(line []byte) error) {
	p, _ := c.Peek(-1)
	taken := 0
	for {
		end := bytes.IndexByte(p[taken:], '\n') + 1
		if end == 0 {
			break
		}
		if do(p[taken:taken+end]) != nil {
			return
		}
		taken += end
	}
	if taken > 0 { // Discard(0) would discard all
		c.Discard(taken)
	}
}

// broadcast does not need a lock: all its conns are on one loop, where Conn.Write may be called directly.
type broadcast struct {
	base
	conns map[gnet.Conn]struct{}
}

func (b *broadcast) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	b.conns[c] = struct{}{}
	return nil, gnet.None
}

func (b *broadcast) OnClose(c gnet.Conn, _ error) gnet.Action {
	delete(b.conns, c)
	return gnet.None
}

func (b *broadcast) OnTraffic(c gnet.Conn) gnet.Action {
	eachLine(c, b.tick)
	return gnet.None
}

func (b *broadcast) tick(line []byte) error {
	for c := range b.conns {
		for range kit.BroadcastLines {
			if _, err := c.Write(line); err != nil {
				break
			}
		}
	}
	return nil
}

// quiet discards the log of gnet, of which a part would go to standard output.
type quiet struct{}

var _ logging.Logger = quiet{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}
