package main

import (
	"sync"

	"github.com/lesismal/nbio"
)

// proxy connects conns in pairs.
//
// nbio does not support two features. A program can stop reading a source only with its own OnRead. Then
// unread bytes are lost when the peer ends, because the engine closes the conn after that event. So the
// proxy reads on, and bytes that the other side does not accept are queued without bound. For the same
// reason the end of a peer closes its conn in both directions: the proxy passes it on by closing the other
// conn after its queue is empty.
type proxy struct {
	engine   *nbio.Engine
	upstream string
}

// An end is one of the two conns of a pair. It is the session of its conn.
type end struct {
	conn *nbio.Conn
	peer *end

	mu      sync.Mutex
	unsent  int // bytes passed to conn.Write that the kernel has not accepted
	closing bool
}

func (p *proxy) handle() {
	p.engine.OnOpen(p.join)
	p.engine.OnData(func(c *nbio.Conn, data []byte) { c.Session().(*end).peer.write(data) })
	p.engine.OnWrittenSize(func(c *nbio.Conn, _ []byte, n int) { c.Session().(*end).sent(n) })
	p.engine.OnClose(func(c *nbio.Conn, _ error) {
		if e, ok := c.Session().(*end); ok {
			e.peer.closeWhenSent()
		}
	})
}

// join connects to the upstream on the accepting goroutine, before the client's bytes are read.
func (p *proxy) join(c *nbio.Conn) {
	if c.Session() != nil {
		return // the upstream conn, for which the engine calls OnOpen too
	}
	up, err := nbio.Dial("tcp", p.upstream)
	if err != nil {
		c.Close()
		return
	}
	client := &end{conn: c}
	client.peer = &end{conn: up, peer: client}
	c.SetSession(client)
	up.SetSession(client.peer)
	if _, err := p.engine.AddConn(up); err != nil {
		c.Close()
	}
}

func (e *end) write(p []byte) {
	e.mu.Lock()
	e.unsent += len(p)
	e.mu.Unlock()
	e.conn.Write(p)
}

func (e *end) sent(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsent -= n
	if e.closing && e.unsent == 0 {
		go e.conn.Close() // not here: the conn is locked
	}
}

func (e *end) closeWhenSent() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closing = true
	if e.unsent == 0 {
		go e.conn.Close()
	}
}
