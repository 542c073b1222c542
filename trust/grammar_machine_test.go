package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"

	"pgregory.net/rapid"
)

// operation is something that a program does to a socket.
type operation struct {
	what  string
	n     int
	where string
}

var (
	operations = []string{
		"write", "write", "write", "write then", "write then", "write then", "write then", "write string", "read from", "cork", "cork", "uncork", "uncork",
		"pause", "resume", "resume", "data", "data", "on read", "scan", "pipe", "no consumer", "end", "close", "destroy",
		"destroy with an error", "reset", "timeout", "timeout", "timeout", "no timeout", "encoding", "unref and ref", "look", "half open",
		"no delay", "unshift", "unshift", "unshift", "chunks", "chunks", "chunks", "chunks", "chunks", "cancel", "detach",
	}
	finales = []string{"end", "end", "wait", "wait", "close", "destroy", "destroy with an error", "reset", "cancel", "detach"}
	places  = []string{"turn", "callback", "callback", "goroutine"}
)

func drawOperation(of []string) *rapid.Generator[operation] {
	sizes := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 5000), rapid.IntRange(0, 300_000))
	return rapid.Custom(func(t *rapid.T) operation {
		return operation{rapid.SampledFrom(of).Draw(t, "what"), sizes.Draw(t, "n"), rapid.SampledFrom(places).Draw(t, "where")}
	})
}

// machine runs a plan. Its fields belong to the loop, except the fields of its connections.
type machine struct {
	t    testing.TB
	l    *evnet.Loop
	s    *evnet.Socket
	plan *plan

	conns    []*connection
	opener   func() // opens the next connection
	cleanup  []func()
	cancel   context.CancelFunc // cancels the options' context
	wait     int                // how many turns the next operation has waited for a callback
	busy     bool               // an operation is under way on another goroutine
	again    bool               // the socket must connect again
	settling bool
	reading  bool // ReadFrom is under way
	ranging  bool // Chunks is the consumer
	consumer evnet.Listener
	consumed bool
	piped    bool // the consumer is a Pipe, which ends with the connection
}

// connection is what happened between one Connect and its Close.
type connection struct {
	events   string
	local    string // address of this side
	hadError bool
	called   []bool // whether each write's callback has run
	next     int    // the first write whose callback may run in order

	mu             sync.Mutex
	got            []byte          // delivered data
	dropped        bool            // something was discarded because there was no consumer
	closeRequested bool            // an operation requested a close that does not wait for both ends
	noted          map[string]bool // what has occurred, to be counted
	accepted       int             // bytes accepted by Write
	problem        string

	sent     int    // bytes that the peer sent
	received []byte // data that the peer received
	peerRead bool   // the peer has read to the end
	cut      bool   // the peer has reset or closed the connection before the end
}

// note records that something occurred that a test must cover. c's lock is held.
func (c *connection) note(what string) {
	if c.noted == nil {
		c.noted = map[string]bool{}
	}
	c.noted[what] = true
}

func (m *machine) conn() *connection { return m.conns[len(m.conns)-1] }

// turn does at most one operation in each turn of the loop.
func (m *machine) turn() {
	if m.busy || len(m.plan.ops) > 0 && m.s.Closed() && !m.again {
		m.plan.ops = nil
	}
	if len(m.plan.ops) == 0 {
		if !m.settling && !m.busy {
			m.settling = true
			m.settle()
		}
		return
	}
	switch op := m.plan.ops[0]; {
	case op.where == "goroutine":
		m.plan.ops = m.plan.ops[1:]
		m.busy = true
		aside(m.l, func() {
			m.do(op)
			m.l.Post(func() { m.busy = false; m.l.AfterFunc(0, m.turn) })
		})
		return
	case op.where == "turn" || m.wait > 10:
		m.next()
	default:
		m.wait++
	}
	m.l.AfterFunc(0, m.turn)
}

func (m *machine) next() {
	op := m.plan.ops[0]
	m.plan.ops, m.wait = m.plan.ops[1:], 0
	m.do(op)
}

// inCallback is called in each callback.
func (m *machine) inCallback() {
	if !m.busy && len(m.plan.ops) > 0 && m.plan.ops[0].where == "callback" {
		m.next()
	}
}

// do does one operation, on the loop or on another goroutine. No other operation is done meanwhile.
func (m *machine) do(op operation) {
	s := m.s
	switch op.what {
	case "close", "destroy", "destroy with an error", "reset", "cancel", "detach":
		c := m.conn()
		c.mu.Lock()
		c.closeRequested = true
		c.mu.Unlock()
	}
	switch op.what {
	case "write", "write then", "write string", "read from":
		m.write(op)
	case "cork":
		s.Cork()
	case "uncork":
		s.Uncork()
	case "pause":
		if !m.isRanging() {
			s.Pause()
		}
	case "resume":
		m.resume()
	case "data", "on read", "scan", "pipe", "no consumer":
		m.consume(op)
	case "end":
		s.End()
	case "close":
		_ = s.Close()
	case "destroy":
		s.Destroy(nil)
	case "destroy with an error":
		s.Destroy(errors.New("on purpose"))
	case "reset":
		s.Reset()
	case "timeout":
		_ = s.SetTimeout(time.Duration(1 + op.n%3*100_000))
	case "no timeout":
		_ = s.SetTimeout(0)
	case "encoding":
		_ = s.SetEncoding([]evnet.Encoding{evnet.UTF8, evnet.Latin1, evnet.ASCII}[op.n%3])
	case "unref and ref":
		s.Unref()
		s.Ref()
	case "half open":
		s.SetAllowHalfOpen(op.n%2 == 0)
	case "unshift":
		m.unshift(op)
	case "chunks":
		m.chunks(op)
	case "cancel":
		m.cancel()
	case "detach":
		m.detach()
	case "no delay":
		_ = s.SetNoDelay(op.n%2 == 0)
		_ = s.SetKeepAlive(op.n%2 == 1, time.Duration(op.n)*time.Second)
	case "look":
		_, _, _, _ = s.ReadyState(), s.LocalAddr(), s.BufferedAmount(), s.Err()
		_, _, _, _ = s.NeedDrain(), s.Flowing(), s.ReadableLength(), s.ListenerCount(evnet.EventData)
	}
}

func (m *machine) write(op operation) {
	c := m.conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.reading || m.plan.echo {
		return
	}
	p := pattern(outgoing, c.accepted, op.n)
	record := func(n int, err error) {
		if err == nil && n != len(p) || err != nil && n != 0 {
			c.problem = "a write returned an inconsistent count and error"
		}
		m.mayRefuse(c, err)
		c.accepted += n
	}
	switch op.what {
	case "write":
		record(m.s.Write(p))
	case "write string":
		record(m.s.WriteString(string(p)))
	case "write then":
		refused := m.s.Destroyed() || !m.s.Writable()
		late, i := op.where == "goroutine" || m.s.Closed(), len(c.called)
		c.called = append(c.called, false)
		m.s.WriteThen(p, func(err error) { m.written(c, i, late, err) })
		if !refused && m.s.BytesWritten() == int64(c.accepted+len(p)) {
			c.accepted += len(p)
		}
	case "read from":
		if op.where != "goroutine" {
			return // it would block the loop
		}
		m.reading = true
		m.l.Ref()
		go func() {
			defer m.l.Unref()
			n, _ := m.s.ReadFrom(bytes.NewReader(p))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.accepted += int(n)
			m.reading = false
		}()
	}
}

// written is the callback of the i-th write that has one. Callbacks run in order. Only the callback of a write that
// is refused at the limit does not wait for the others.
func (m *machine) written(c *connection, i int, late bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.called[i]:
		c.problem = "a callback of a write has run twice"
	case m.mayRefuse(c, err):
		c.note("a callback of a refused write")
	case i < c.next:
		c.problem = "the callbacks of writes are out of order"
	default:
		c.next = i + 1
	}
	c.called[i] = true
	if !late && (c != m.conn() || strings.HasSuffix(c.events, "z")) {
		c.problem = "a callback of a write ran after Close"
	}
	if err == nil && strings.Contains(c.events, "f") {
		c.problem = "Finish was emitted before the callback of a write"
	}
}

// mayRefuse reports whether a write was refused because the queue has reached its limit. c's lock is held.
func (m *machine) mayRefuse(c *connection, err error) bool {
	refused := errors.Is(err, evnet.ErrWriteBufferFull)
	if refused {
		c.note("a refused write")
	}
	if refused && m.plan.options.MaxWriteBuffer == 0 { // the limit is 64 MB then
		c.problem = "a write was refused far from the limit"
	}
	return refused
}

// settle ends the socket.
func (m *machine) settle() {
	s := m.s
	if m.isRanging() || !m.plan.echo && !m.isConsumed() {
		m.takeTheRest()
	} else {
		s.Resume()
	}
	switch m.plan.finale {
	case "wait":
		for s.Corked() > 0 {
			s.Uncork()
		}
		s.SetAllowHalfOpen(false)
		if s.ReadableEnded() {
			s.End()
		}
	default:
		m.do(operation{what: m.plan.finale})
		if m.plan.finale == "detach" && !s.Destroyed() { // Detach failed
			s.Destroy(nil)
		}
	}
}

// takeTheRest becomes the consumer as soon as there is no other one.
func (m *machine) takeTheRest() {
	if m.isRanging() {
		m.l.AfterFunc(time.Millisecond, m.takeTheRest)
		return
	}
	m.consume(operation{what: "data"})
	m.s.Resume()
}

// closed is called in Close.
func (m *machine) closed() {
	if m.plan.connects--; m.plan.connects > 0 {
		m.again = true
		m.reconnect()
	}
}

func (m *machine) reconnect() {
	if m.busy || m.again && m.underWay() {
		m.l.AfterFunc(time.Millisecond, m.reconnect)
		return
	}
	m.again = false
	if m.piped {
		m.consumed, m.piped = false, false
	}
	was := m.conn()
	was.mu.Lock()
	m.conns = append(m.conns, &connection{dropped: was.dropped})
	was.mu.Unlock()
	m.opener()
	if m.settling {
		m.settling = false
		m.l.AfterFunc(0, m.turn)
	}
}

func (m *machine) underWay() bool {
	c := m.conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.reading || m.ranging
}

// stop closes what the test itself has opened.
func (m *machine) stop() {
	for _, fn := range m.cleanup {
		fn()
	}
}

// tighten makes the kernel's buffers for a conn small, so that queues fill quickly.
func tighten(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}); ok {
		_, _ = c.SetReadBuffer(128<<10), c.SetWriteBuffer(4096)
	}
}
