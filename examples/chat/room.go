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

// room holds the members. All its callbacks run on one loop, one at a time, so its state needs no lock.
type room struct {
	limits
	connections int                // including those without a name
	members     map[string]*member // those with a name, by its key
}

// member is one connection.
type member struct {
	room      *room
	c         *evnet.Socket
	name      string       // "" until the member has chosen one
	idleTimer *evnet.Timer // restarted by each line
	skipping  bool         // discarding the rest of a line that was too long
}

// accept adds a new connection to the room.
func (r *room) accept(c *evnet.Socket) {
	m := &member{room: r, c: c}
	c.On.Error(m.failed)
	if r.connections == r.maxMembers {
		disconnect(c, "the room is full: try again later")
		return
	}
	r.connections++
	if conn, ok := c.Conn().(interface{ SetWriteBuffer(int) error }); ok {
		_ = conn.SetWriteBuffer(r.queue) // otherwise the kernel buffers megabytes more for a member that does not read
	}
	m.idleTimer = c.Loop().AfterFunc(m.idleTimeout(), m.timedOut)
	c.On.End(func() { m.leave("left") })
	c.On.Close(func(bool) {
		m.leave("left")
		m.idleTimer.Stop()
		r.connections--
	})
	_ = c.Scan(m.splitLine, r.maxLine+len("\r\n"), m.receive)
	m.send("* welcome: what is your name?")
}

// receive processes one line from the member.
func (m *member) receive(line []byte) {
	if pace := m.room.pace; pace > 0 {
		m.c.Pause() // until then, further lines fill the TCP window and the sender waits
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
		disconnect(m.c, "goodbye")
	case strings.HasPrefix(text, "/"):
		m.send("* unknown command " + printable.Text(command) + ": use /nick NAME, /who or /quit")
	case m.name == "":
		m.rename(text)
	case text != "":
		m.room.broadcast(m.name+": "+printable.Text(text), m)
	}
	m.idleTimer.Reset(m.idleTimeout())
}

// rename sets the name of the member, or sends the reason why it cannot.
func (m *member) rename(name string) {
	r := m.room
	reason := checkName(name)
	if other := r.members[key(name)]; reason == "" && other != nil && other != m {
		reason = name + " is taken"
	}
	if reason != "" {
		m.send("* " + reason + ": choose another name")
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
		m.send("* hello " + name + "! Commands: /nick NAME, /who, /quit")
	}
}

// who lists all members to this one.
func (m *member) who() {
	members := slices.SortedFunc(maps.Values(m.room.members), func(a, b *member) int { return strings.Compare(a.name, b.name) })
	m.send(fmt.Sprintf("* in the room: %d", len(members)))
	for chunk := range slices.Chunk(members, 10) {
		line := "*"
		for _, other := range chunk {
			line += " " + other.name
		}
		m.send(line)
	}
}

// leave removes the member from the room and announces the reason. It does nothing if the member is not in the room.
func (m *member) leave(reason string) {
	if r := m.room; m.name != "" && r.members[key(m.name)] == m {
		delete(r.members, key(m.name))
		r.announce(m.name + " " + reason)
	}
}

// announce prints an event and sends it to all members.
func (r *room) announce(event string) {
	printable.Println(event)
	r.broadcast("* "+event, nil)
}

// broadcast sends a line to all members except one, which may be nil.
func (r *room) broadcast(line string, except *member) {
	for _, m := range r.members {
		if m != except {
			m.send(line)
		}
	}
}

// send sends a line to the member. It never blocks: what the kernel does not accept is queued, up to the limit of the
// queue.
func (m *member) send(line string) {
	if _, err := m.c.WriteString(line + "\n"); errors.Is(err, evnet.ErrWriteBufferFull) {
		m.c.Loop().Post(m.tooSlow) // after the line was sent to the other members
	}
}

// failed handles an error of the connection. Close follows, and the member leaves then. The operation "write timeout"
// means that the server reset the connection: data was queued, and the member acknowledged none of it for -slow.
func (m *member) failed(err error) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "write timeout" {
		m.leave("disconnected: too slow")
	}
}

func (m *member) tooSlow() {
	m.leave("disconnected: too slow")
	m.c.Reset() // Destroy would leave the data for the member in the kernel's send buffer
}

func (m *member) timedOut() {
	m.leave("disconnected: idle timeout")
	disconnect(m.c, "disconnected: idle timeout")
}

// idleTimeout is how long the member may send nothing: at most a minute if it has no name.
func (m *member) idleTimeout() time.Duration {
	if m.name == "" {
		return min(m.room.idle, time.Minute)
	}
	return m.room.idle
}

// close announces the end of the room and removes all members.
func (r *room) close(sockets []*evnet.Socket) {
	for _, c := range sockets {
		_, _ = c.WriteString("* the server is shutting down\n")
	}
	clear(r.members)
}

// disconnect sends a last line and ends the connection. It discards further input: closing a socket with unread data
// resets the connection, and the peer might not receive the line.
func disconnect(c *evnet.Socket, reason string) {
	_, _ = c.WriteString("* " + reason + "\n")
	c.End()
	_ = c.Scan(nil, 0, nil)
	c.Resume()
}
