// Command evio is the server of the benchmark on evio. A handler can write only by returning the bytes. To
// write to another conn, it wakes that conn, whose handler then returns the bytes.
//
// A proxy is not possible with evio: it has no client side, and it cannot pause a conn or end one of its
// directions. A conn that is detached from its loop cannot do so either.
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

// reuse avoids a copy of received bytes. This is safe, because evio copies the bytes that a handler returns.
var reuse = evio.Options{ReuseInputBuffer: true}

func echo(events *evio.Events) {
	events.Opened = func(evio.Conn) ([]byte, evio.Options, evio.Action) {
		return nil, reuse, evio.None
	}
	events.Data = func(_ evio.Conn, in []byte) ([]byte, evio.Action) {
		return in, evio.None
	}
}

// answerLines appends each line to the bytes that the handler returns. All conns share one buffer.
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

// A member is the state of a conn that receives broadcasts. out has the bytes that its handler returns next.
type member struct {
	lines kit.Lines
	out   []byte
}

// broadcast wakes a conn for the first pending line. The bytes that its handler then returns replace
// earlier bytes that the kernel has not accepted yet. So a conn that does not keep up with the ticks
// loses lines, and evio offers no way to detect it.
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

// write does not wake a conn whose handler is running.
func (m *member) write(c evio.Conn, line []byte, inHandler bool) {
	if len(m.out) == 0 && !inHandler {
		c.Wake()
	}
	m.out = append(m.out, line...)
}
