// Command netpoll is the server of the benchmark on cloudwego/netpoll. Its handlers run on goroutines, not
// on the poller: Flush blocks until the kernel has accepted all bytes, which the poller reports.
package main

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/cloudwego/netpoll"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse()
	err := netpoll.Configure(netpoll.Config{
		PollerNum:    1,
		Runner:       func(_ context.Context, f func()) { go f() }, // cheaper here than its pool
		BufferSize:   o.BufferSize(),
		LoggerOutput: io.Discard,
	})
	if err != nil {
		kit.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		kit.Fatal(err)
	}
	loop, err := eventLoop(o)
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(ln.Addr())
	kit.Fatal(loop.Serve(ln))
}

func eventLoop(o kit.Options) (netpoll.EventLoop, error) {
	switch o.Workload {
	case "line":
		return netpoll.NewEventLoop(answerLines)
	case "broadcast":
		g := &group{conns: make(map[netpoll.Connection]struct{})}
		return netpoll.NewEventLoop(g.onRequest,
			netpoll.WithOnConnect(g.onConnect), netpoll.WithOnDisconnect(g.onDisconnect))
	case "proxy":
		p := &proxy{upstream: o.Upstream}
		return netpoll.NewEventLoop(p.onRequest, netpoll.WithOnConnect(p.onConnect))
	default:
		return netpoll.NewEventLoop(func(_ context.Context, c netpoll.Connection) error {
			return forward(c, c)
		})
	}
}

// forward writes the received bytes of src to dst. Release comes after Flush, because a large write
// refers to the received bytes.
func forward(dst, src netpoll.Connection) error {
	r, w := src.Reader(), dst.Writer()
	p, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	if _, err := w.WriteBinary(p); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return r.Release()
}

// eachLine calls do for each line. It waits for the rest of an incomplete line.
func eachLine(c netpoll.Connection, do func(line []byte) error) error {
	r := c.Reader()
	for r.Len() > 0 {
		line, err := r.Until('\n')
		if err != nil {
			return err
		}
		if err := do(line); err != nil {
			return err
		}
	}
	return r.Release()
}

func answerLines(_ context.Context, c netpoll.Connection) error {
	return eachLine(c, func(line []byte) error { return write(c, line) })
}

func write(c netpoll.Connection, line []byte) error {
	w := c.Writer()
	if _, err := w.WriteBinary(line); err != nil {
		return err
	}
	return w.Flush()
}

// A group has the conns that receive a broadcast. Its lock allows only one tick at a time, because a conn
// may have only one writer.
type group struct {
	mu    sync.Mutex
	conns map[netpoll.Connection]struct{}
}

func (g *group) onConnect(ctx context.Context, c netpoll.Connection) context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
	return ctx
}

func (g *group) onDisconnect(_ context.Context, c netpoll.Connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *group) onRequest(_ context.Context, c netpoll.Connection) error {
	return eachLine(c, g.tick)
}

func (g *group) tick(line []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		for range kit.BroadcastLines {
			if write(c, line) != nil {
				break
			}
		}
	}
	return nil
}
