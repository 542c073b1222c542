package trust

import (
	"io"
	"runtime"
	"strings"
)

func (m *machine) deliver(p []byte) {
	c := m.conn()
	if !strings.HasSuffix(c.events, "d") { // keep the trace short
		c.events += "d"
	}
	c.mu.Lock()
	c.got = append(c.got, p...)
	c.mu.Unlock()
	m.inCallback()
}

func (m *machine) Write(p []byte) (int, error) { m.deliver(p); return len(p), nil }

// consume replaces the consumer.
func (m *machine) consume(op operation) {
	s := m.s
	if m.plan.echo || m.isRanging() {
		return
	}
	m.consumed, m.piped = op.what != "no consumer", op.what == "pipe"
	m.consumer.Off()
	_ = s.OnRead(nil)
	_ = s.Scan(nil, 0, nil)
	s.Unpipe(nil)
	switch op.what {
	case "data":
		m.consumer = s.On.Data(m.deliver)
	case "on read":
		_ = s.OnRead(func(p []byte) bool {
			m.deliver(p)
			if len(p)%7 == 0 {
				m.l.AfterFunc(0, m.resumeLater)
				return false
			}
			return true
		})
	case "scan":
		n := 20 + op.n%4000
		_ = s.Scan(func(data []byte, atEOF bool) (int, []byte, error) {
			if len(data) < n && (!atEOF || len(data) == 0) {
				return 0, nil, nil
			}
			k := min(n, len(data))
			return k, data[:k], nil
		}, 5000, m.deliver)
	case "pipe":
		s.Pipe(m)
	}
}

// unshift puts back the data that was delivered last. On another goroutine, it is not known which data that is.
func (m *machine) unshift(op operation) {
	c := m.conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.where == "goroutine" || c.dropped || m.ranging {
		return
	}
	kept := len(c.got) - min(op.n, len(c.got))
	if m.s.Unshift(c.got[kept:]) == nil {
		c.got = c.got[:kept]
		c.note("bytes put back")
	}
}

// chunks ranges over some of the received data, on another goroutine.
func (m *machine) chunks(op operation) {
	c := m.conn()
	if m.isRanging() {
		return
	}
	if m.consume(operation{what: "no consumer"}); m.s.Paused() {
		return // for example after Pipe
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.ranging = true
	aside(m.l, func() {
		left := op.n % 10
		for p, err := range m.s.Chunks() {
			if err != nil {
				break
			}
			c.mu.Lock()
			c.got = append(c.got, p...)
			c.note("Chunks")
			c.mu.Unlock()
			if left%2 == 0 {
				m.s.Pause()
				runtime.Gosched()
				m.s.Resume()
			}
			if left--; left < 0 {
				break
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		m.ranging = false
	})
}

func (m *machine) isRanging() bool {
	c := m.conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.ranging
}

// detach takes the undelivered data and closes the conn.
func (m *machine) detach() {
	c := m.conn()
	conn, rest, err := m.s.Detach()
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("a conn detached")
	c.got = append(c.got, rest...)
	_ = conn.Close()
}

// isConsumed reports whether something consumes received data. A Pipe stops doing so when its socket has ended or is
// destroyed. A later Resume then has no consumer, not even on the next connection.
func (m *machine) isConsumed() bool {
	return m.consumed && !(m.piped && (m.s.ReadableEnded() || m.s.Destroyed()))
}

// resumeLater calls resume once no operation is under way on another goroutine.
func (m *machine) resumeLater() {
	if m.busy {
		m.l.AfterFunc(0, m.resumeLater)
		return
	}
	m.resume()
}

// resume resumes the socket. It records whether received data will be discarded.
func (m *machine) resume() {
	if m.isRanging() {
		return // the range may have ended already, and Resume without a consumer discards received data
	}
	if c := m.conn(); !m.isConsumed() {
		c.mu.Lock()
		c.dropped = true
		c.mu.Unlock()
	}
	m.s.Resume()
}

var _ io.Writer = (*machine)(nil)
