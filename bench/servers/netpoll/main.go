// Command netpoll is the benchmark's server on cloudwego/netpoll. Its handlers run on goroutines, not
// on the poller: Flush blocks until the system has taken all, and it is the poller that tells it.
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
		h := &hall{conns: make(map[netpoll.Connection]struct{})}
		return netpoll.NewEventLoop(h.onRequest,
			netpoll.WithOnConnect(h.onConnect), netpoll.WithOnDisconnect(h.onDisconnect))
	case "proxy":
		p := &proxy{upstream: o.Upstream}
		return netpoll.NewEventLoop(p.onRequest, netpoll.WithOnConnect(p.onConnect))
	default:
		return netpoll.NewEventLoop(func(_ context.Context, c netpoll.Connection) error {
			return forward(c, c)
		})
	}
}

// forward writes what has come from src to dst. Release follows Flush, for a large write refers to
// the bytes that were read.
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

// eachLine waits for the end of a line that has begun.
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

// hall is the conns a broadcast reaches. One tick at a time: a conn has one writer only.
type hall struct {
	mu    sync.Mutex
	conns map[netpoll.Connection]struct{}
}

func (h *hall) onConnect(ctx context.Context, c netpoll.Connection) context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
	return ctx
}

func (h *hall) onDisconnect(_ context.Context, c netpoll.Connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *hall) onRequest(_ context.Context, c netpoll.Connection) error {
	return eachLine(c, h.tick)
}

func (h *hall) tick(line []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		for range kit.BroadcastLines {
			if write(c, line) != nil {
				break
			}
		}
	}
	return nil
}
