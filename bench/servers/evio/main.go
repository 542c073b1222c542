// Command evio is the benchmark's server on evio. What a handler returns is evio's only way to
// write, and another conn is written to by waking it up, so that its own handler returns the bytes.
//
// evio has no client side, and no way to pause a conn or to end one side of it: a proxy cannot be
// written. A conn that is detached from its loop can do none of it either.
package main

import (
	"github.com/tidwall/evio"

	"evnet/bench/servers/kit"
)

func main() {
	o := kit.Parse()
	events := evio.Events{NumLoops: 1}
	switch o.Workload {
	case "line":
		answerLines(&events)
	case "broadcast":
		broadcast(&events)
	case "proxy":
		kit.Unsupported("evio has no client side")
	default:
		echo(&events)
	}
	events.Serving = func(s evio.Server) evio.Action {
		kit.Ready(s.Addrs[0])
		return evio.None
	}
	if err := evio.Serve(events, "tcp://127.0.0.1:0"); err != nil {
		kit.Fatal(err)
	}
}

// reuse spares a copy of what is read: evio copies what a handler returns.
var reuse = evio.Options{ReuseInputBuffer: true}

func echo(events *evio.Events) {
	events.Opened = func(evio.Conn) ([]byte, evio.Options, evio.Action) {
		return nil, reuse, evio.None
	}
	events.Data = func(_ evio.Conn, in []byte) ([]byte, evio.Action) {
		return in, evio.None
	}
}

// answerLines adds each line to what the handler returns. One buffer serves all conns.
func answerLines(events *evio.Events) {
	events.Opened = func(c evio.Conn) ([]byte, evio.Options, evio.Action) {
		c.SetContext(new(kit.Lines))
		return nil, reuse, evio.None
	}
	var out []byte
	events.Data = func(c evio.Conn, in []byte) ([]byte, evio.Action) {
		out = out[:0]
		lines := c.Context().(*kit.Lines)
		for line, rest := lines.Next(in); line != nil; line, rest = lines.Next(rest) {
			out = append(out, line...)
		}
		return out, evio.None
	}
}

// member is a conn that a broadcast reaches, and what waits for its handler to return it.
type member struct {
	lines kit.Lines
	out   []byte
}

// broadcast wakes a conn up for the first line that waits. What the handler returns then takes the
// place of what the system has not taken yet of an earlier return: a conn that does not keep up
// with the ticks loses lines, and evio has no way to see it.
func broadcast(events *evio.Events) {
	conns := make(map[evio.Conn]*member)
	events.Opened = func(c evio.Conn) ([]byte, evio.Options, evio.Action) {
		conns[c] = new(member)
		return nil, reuse, evio.None
	}
	events.Closed = func(c evio.Conn, _ error) evio.Action {
		delete(conns, c)
		return evio.None
	}
	events.Data = func(c evio.Conn, in []byte) ([]byte, evio.Action) {
		m := conns[c]
		for line, rest := m.lines.Next(in); line != nil; line, rest = m.lines.Next(rest) {
			for to, other := range conns {
				for range kit.BroadcastLines {
					other.write(to, line, to == c)
				}
			}
		}
		out := m.out
		m.out = m.out[:0]
		return out, evio.None
	}
}

// write needs no Wake where the handler of that conn is running.
func (m *member) write(c evio.Conn, line []byte, inHandler bool) {
	if len(m.out) == 0 && !inHandler {
		c.Wake()
	}
	m.out = append(m.out, line...)
}
