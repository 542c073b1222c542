package main

import (
	"sync"

	"github.com/lesismal/nbio"
)

// proxy joins conns in pairs.
//
// Two things nbio has no way for. A source can be left unread only by an OnRead of one's own, and
// then what it has not been read of is lost when its peer ends, for the engine closes the conn after
// that event: so what the other side does not take is queued without bound. And for the same reason
// the end of a peer closes its conn in both directions: it is passed on as the close of the other
// conn, once that has sent all it had.
type proxy struct {
	engine   *nbio.Engine
	upstream string
}

// end is one of the two conns of a pair, and the session of its conn.
type end struct {
	conn *nbio.Conn
	peer *end

	mu      sync.Mutex
	unsent  int // bytes given to conn.Write and not to the system
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

// join connects before anything of the client is read, on the goroutine that accepts.
func (p *proxy) join(c *nbio.Conn) {
	if c.Session() != nil {
		return // the upstream conn, which the engine has opened too
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
