package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"evnet"
	"evnet/examples/printable"
)

// room is who is there. All that happens in it happens on one loop, one thing after the other: whatever
// a callback finds, nobody else is changing it, and there is no lock.
type room struct {
	rules
	seats   int                // that are taken, also by those without a name
	members map[string]*member // those with a name, by its key
}

// member is one connection.
type member struct {
	room     *room
	c        *evnet.Socket
	name     string       // "" until one was chosen
	silence  *evnet.Timer // since the last line
	skipping bool         // the rest of a line that was too long
}

// enter takes a new connection in.
func (r *room) enter(c *evnet.Socket) {
	m := &member{room: r, c: c}
	c.On.Error(m.failed)
	if r.seats == r.rules.members {
		dismiss(c, "the room is full: try again later")
		return
	}
	r.seats++
	if conn, ok := c.Conn().(interface{ SetWriteBuffer(int) error }); ok {
		_ = conn.SetWriteBuffer(r.queue) // or the system holds megabytes more for who does not read
	}
	m.silence = c.Loop().AfterFunc(m.patience(), m.tooSilent)
	c.On.End(func() { m.leave("left") })
	c.On.Close(func(bool) {
		m.leave("left")
		m.silence.Stop()
		r.seats--
	})
	_ = c.Scan(m.lines, r.line+len("\r\n"), m.hear)
	m.tell("* welcome: what is your name?")
}

// hear takes a line of the member's.
func (m *member) hear(line []byte) {
	if pace := m.room.pace; pace > 0 {
		m.c.Pause() // who says more meanwhile finds the connection full, and waits
		m.c.Loop().AfterFunc(pace, m.c.Resume).Unref()
	}
	text := strings.ReplaceAll(strings.TrimSpace(string(line)), "\t", " ") // a copy: line is borrowed
	command, argument, _ := strings.Cut(text, " ")
	switch {
	case command == "/nick":
		m.rename(strings.TrimSpace(argument))
	case command == "/who":
		m.who()
	case command == "/quit":
		m.leave("left")
		dismiss(m.c, "goodbye")
	case strings.HasPrefix(text, "/"):
		m.tell("* there is /nick NAME, /who and /quit, but no " + printable.Text(command))
	case m.name == "":
		m.rename(text)
	case text != "":
		m.room.tell(m.name+": "+printable.Text(text), m)
	}
	m.silence.Reset(m.patience())
}

// rename gives the member a name, its first or another one, or says why not.
func (m *member) rename(name string) {
	r := m.room
	why := fault(name)
	if other := r.members[key(name)]; why == "" && other != nil && other != m {
		why = name + " is taken"
	}
	if why != "" {
		m.tell("* " + why + ": choose another name")
		return
	}
	first := m.name == ""
	if first {
		r.announce(name + " joined")
	} else {
		r.announce(m.name + " is now called " + name)
		delete(r.members, key(m.name))
	}
	m.name, r.members[key(name)] = name, m
	if first {
		m.tell("* hello " + name + "! There is /nick NAME, /who and /quit")
	}
}

// who tells the member who is there.
func (m *member) who() {
	names := slices.SortedFunc(maps.Values(m.room.members), func(a, b *member) int { return strings.Compare(a.name, b.name) })
	m.tell(fmt.Sprintf("* in the room: %d", len(names)))
	for some := range slices.Chunk(names, 10) {
		line := "*"
		for _, other := range some {
			line += " " + other.name
		}
		m.tell(line)
	}
}

// leave takes the member out of the room, if it is in it, and tells the others why.
func (m *member) leave(how string) {
	if r := m.room; m.name != "" && r.members[key(m.name)] == m {
		delete(r.members, key(m.name))
		r.announce(m.name + " " + how)
	}
}

// announce tells everybody what has happened.
func (r *room) announce(event string) {
	printable.Println(event)
	r.tell("* "+event, nil)
}

// tell gives everybody a line, but for one member who may be nil.
func (r *room) tell(line string, except *member) {
	for _, m := range r.members {
		if m != except {
			m.tell(line)
		}
	}
}

// tell gives the member a line: the system takes it, or it waits for the member to read, up to the limit
// of the queue. Nobody else waits.
func (m *member) tell(line string) {
	if _, err := m.c.WriteString(line + "\n"); errors.Is(err, evnet.ErrWriteBufferFull) {
		m.c.Loop().Post(m.tooSlow) // when the others have been told
	}
}

// failed is called when the connection is broken, before Close: the member leaves. With "write timeout" the server has
// reset it, because the member has taken nothing for the time of the rules although something waits.
func (m *member) failed(err error) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "write timeout" {
		m.leave("was dropped: too slow")
	}
}

func (m *member) tooSlow() {
	m.leave("was dropped: too slow")
	m.c.Reset() // Destroy would leave what the system holds for the member there
}

func (m *member) tooSilent() {
	m.leave("was silent too long")
	dismiss(m.c, "you were silent too long")
}

// patience is how long the member may be silent: without a name, a minute at most.
func (m *member) patience() time.Duration {
	if m.name == "" {
		return min(m.room.rules.idle, time.Minute)
	}
	return m.room.rules.idle
}

// close tells everybody that the room closes, and is then empty.
func (r *room) close(all []*evnet.Socket) {
	for _, c := range all {
		_, _ = c.WriteString("* the server closes\n")
	}
	clear(r.members)
}

// dismiss says a last line. What still comes is thrown away: unread, it would make a reset of the end, and
// the line might be lost.
func dismiss(c *evnet.Socket, why string) {
	_, _ = c.WriteString("* " + why + "\n")
	c.End()
	_ = c.Scan(nil, 0, nil)
	c.Resume()
}
