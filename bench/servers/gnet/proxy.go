package main

import (
	"context"
	"net"
	"time"

	"github.com/panjf2000/gnet/v2"

	"evnet/bench/servers/kit"
)

// proxy has both conns of a pair on one loop, so that each can write to the other directly.
//
// gnet does not support two features. A source cannot be paused: bytes that the other side does not
// accept are queued without bound. And the end of a peer closes its conn in both directions: the proxy
// passes it on by closing the other conn after its queue is empty.
type proxy struct {
	base
	upstream net.Addr
}

// An end is one of the two conns of a pair. It is the context of its conn.
type end struct {
	conn gnet.Conn // nil while it is not open
	peer *end
}

func newProxy(upstream string) *proxy {
	addr, err := net.ResolveTCPAddr("tcp", upstream)
	if err != nil {
		kit.Fatal(err)
	}
	return &proxy{upstream: addr}
}

func (p *proxy) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	if up, ok := c.Context().(*end); ok {
		return nil, p.joined(up, c)
	}
	client := &end{conn: c}
	client.peer = &end{peer: client}
	c.SetContext(client)
	result, err := c.EventLoop().Register(gnet.NewContext(context.Background(), client.peer), p.upstream)
	if err != nil {
		return nil, gnet.Close
	}
	go func() {
		if r := <-result; r.Err != nil {
			c.Close()
		}
	}()
	return nil, gnet.None
}

func (p *proxy) joined(up *end, c gnet.Conn) gnet.Action {
	if up.peer.conn == nil {
		return gnet.Close
	}
	up.conn = c
	forward(up.peer)
	return gnet.None
}

func (p *proxy) OnTraffic(c gnet.Conn) gnet.Action {
	forward(c.Context().(*end))
	return gnet.None
}

// forward leaves the bytes in gnet's buffer while the other conn is connecting.
func forward(e *end) {
	if e.peer.conn == nil {
		return
	}
	if p, _ := e.conn.Next(-1); len(p) > 0 {
		e.peer.conn.Write(p)
	}
}

func (p *proxy) OnClose(c gnet.Conn, _ error) gnet.Action {
	if e, ok := c.Context().(*end); ok {
		e.conn = nil
		closeWhenSent(e.peer)
	}
	return gnet.None
}

// closeWhenSent polls until the queue is empty, because gnet does not report when it is, and discards the
// rest of the queue when a conn is closed.
func closeWhenSent(e *end) {
	switch {
	case e.conn == nil:
	case e.conn.OutboundBuffered() == 0:
		e.conn.Close()
	default:
		loop := e.conn.EventLoop()
		time.AfterFunc(time.Millisecond, func() {
			loop.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
				closeWhenSent(e)
				return nil
			}))
		})
	}
}
