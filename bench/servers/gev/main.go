// Command gev is the server of the benchmark on gev. The bytes that a handler returns are written
// immediately. Send writes to other conns, always through the queue of the loop.
//
// A proxy is not possible with gev, because it has no client side.
package main

import (
	"bytes"
	"errors"
	"net"
	"syscall"

	"github.com/Allenxuxu/gev"
	gevlog "github.com/Allenxuxu/gev/log"
	"github.com/Allenxuxu/ringbuffer"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse()
	gevlog.SetLevel(gevlog.LevelFatal)
	server, addr, err := listen(handler(o))
	if err != nil {
		kit.Fatal(err)
	}
	kit.Ready(addr)
	server.Start()
}

// listen chooses a free port first, because gev does not report the port that the kernel chooses.
func listen(h gev.Handler, protocol gev.Protocol) (*gev.Server, net.Addr, error) {
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		addr := ln.Addr()
		ln.Close()
		server, err := gev.NewServer(h, gev.Address(addr.String()), gev.NumLoops(1), gev.CustomProtocol(protocol))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return server, addr, err
		}
	}
}

func handler(o kit.Options) (gev.Handler, gev.Protocol) {
	switch o.Workload {
	case "line":
		return echo{}, byLine{}
	case "broadcast":
		return &broadcast{conns: make(map[*gev.Connection]struct{})}, byLine{}
	case "proxy":
		kit.Unsupported("gev has no client side")
	}
	return echo{}, &gev.DefaultProtocol{}
}

// echo returns its message: received bytes, or a line of them.
type echo struct{}

func (echo) OnConnect(*gev.Connection) {}
func (echo) OnClose(*gev.Connection)   {}

func (echo) OnMessage(_ *gev.Connection, _ any, data []byte) any {
	return data
}

// byLine is a protocol with one line in each message.
type byLine struct{}

func (byLine) UnPacket(c *gev.Connection, buffer *ringbuffer.RingBuffer) (any, []byte) {
	head, tail := buffer.PeekAll()
	if end := bytes.IndexByte(head, '\n') + 1; end > 0 {
		buffer.Retrieve(end)
		return nil, head[:end]
	}
	end := bytes.IndexByte(tail, '\n') + 1
	if end == 0 {
		return nil, nil
	}
	// The line wraps around the end of the ring buffer.
	space := c.UserBuffer()
	*space = append(append((*space)[:0], head...), tail[:end]...)
	buffer.Retrieve(len(head) + end)
	return nil, *space
}

func (byLine) Packet(_ *gev.Connection, data any) []byte {
	return data.([]byte)
}

// broadcast does not need a lock: the callbacks of all conns run on the only loop.
type broadcast struct {
	conns map[*gev.Connection]struct{}
}

func (b *broadcast) OnConnect(c *gev.Connection) { b.conns[c] = struct{}{} }
func (b *broadcast) OnClose(c *gev.Connection)   { delete(b.conns, c) }

func (b *broadcast) OnMessage(_ *gev.Connection, _ any, line []byte) any {
	line = bytes.Clone(line) // it is sent after OnMessage returns
	for c := range b.conns {
		for range kit.BroadcastLines {
			if c.Send(line) != nil {
				break
			}
		}
	}
	return nil
}
