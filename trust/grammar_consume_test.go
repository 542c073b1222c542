package trust

import (
	"io"
	"runtime"
	"strings"
)

func (m *machine) took(p []byte) {
	c := m.conn()
	if !strings.HasSuffix(c.events, "d") { // which would be long
		c.events += "d"
	}
	c.mu.Lock()
	c.got = append(c.got, p...)
	c.mu.Unlock()
	m.inside()
}

func (m *machine) Write(p []byte) (int, error) { m.took(p); return len(p), nil }

// consume makes another the consumer.
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
		m.consumer = s.On.Data(m.took)
	case "on read":
		_ = s.OnRead(func(p []byte) bool {
			m.took(p)
			if len(p)%7 == 0 {
				m.l.AfterFunc(0, m.resumeSoon)
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
		}, 5000, m.took)
	case "pipe":
		s.Pipe(m)
	}
}

// unshift puts back what was delivered last. Elsewhere it would not be known what that is.
func (m *machine) unshift(op operation) {
	c := m.conn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.where == "elsewhere" || c.dropped || m.ranging {
		return
	}
	kept := len(c.got) - min(op.n, len(c.got))
	if m.s.Unshift(c.got[kept:]) == nil {
		c.got = c.got[:kept]
		c.meet("bytes put back")
	}
}

// chunks ranges over some of what comes, on a goroutine of its own.
func (m *machine) chunks(op operation) {
	c := m.conn()
	if m.isRanging() {
		return
	}
	if m.consume(operation{what: "no consumer"}); m.s.Paused() {
		return // as after Pipe
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
			c.meet("Chunks")
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

// detach takes what was not delivered, and closes the conn.
func (m *machine) detach() {
	c := m.conn()
	conn, rest, err := m.s.Detach()
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.meet("a conn detached")
	c.got = append(c.got, rest...)
	_ = conn.Close()
}

// isConsumed reports whether somebody takes what comes: a Pipe no longer does once its socket has ended or is destroyed,
// and a Resume from then on has no consumer, on the next connection either.
func (m *machine) isConsumed() bool {
	return m.consumed && !(m.piped && (m.s.ReadableEnded() || m.s.Destroyed()))
}

// resumeSoon is resume once nothing is under way elsewhere.
func (m *machine) resumeSoon() {
	if m.busy {
		m.l.AfterFunc(0, m.resumeSoon)
		return
	}
	m.resume()
}

// resume notes that what comes is thrown away, if it is.
func (m *machine) resume() {
	if m.isRanging() {
		return // it may have left already, and Resume without a consumer throws away what comes
	}
	if c := m.conn(); !m.isConsumed() {
		c.mu.Lock()
		c.dropped = true
		c.mu.Unlock()
	}
	m.s.Resume()
}

var _ io.Writer = (*machine)(nil)
