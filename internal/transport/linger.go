package transport

import (
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/netpoll"
)

// A kernel socket that is closed with unread data, or that receives data afterwards, sends a reset, and the peer may lose
// what it has not read yet, such as a TLS alert. A lingering close sends this side's end first, and discards the peer's data
// for a limited time.

const (
	// lingerTime allows several round trips in which the peer reads the answer and closes.
	lingerTime = time.Second
	// maxDiscarded is more than a peer can send before the first acknowledgement with the kernel's default buffers.
	maxDiscarded = 256 << 10
	// maxLingering limits the conns of a loop. The oldest one is closed for a new one, so that a flood of refused peers
	// occupies no more descriptors.
	maxLingering = 128
)

// Lingering has the conns of one loop whose close lingers. The zero value is empty. Its methods run on the loop.
type Lingering struct {
	conns []*lingerer // the oldest first
}

// Len returns the number of conns.
func (set *Lingering) Len() int { return len(set.conns) }

// lingerer is one conn, as a handle of the loop.
type lingerer struct {
	set    *Lingering
	loop   *eventloop.Loop
	member eventloop.Member
	conn   net.Conn
	raw    syscall.RawConn // nil if a goroutine reads
	left   int             // bytes to discard at most
	timer  *time.Timer     // nil if a goroutine reads
	closed bool
}

// Linger is Close for a conn whose peer may still send. If refused is true, or if there is unread data, it keeps Run from
// returning meanwhile. It runs on the loop, which is the one of the stream, when no more is to be sent.
func (c Closer) Linger(set *Lingering, loop *eventloop.Loop, refused bool) {
	conn := c.kernelConn()
	if conn == nil {
		c.Close()
		return
	}
	if c.workers == nil {
		loop.LeavePoll()
	} else {
		_ = conn.SetDeadline(time.Unix(1, 0)) // ends the goroutines, because the stream is retired
	}
	set.add(conn, loop, refused)
}

// kernelConn returns the conn that Linger closes, nil if there is none, or if its methods may block.
func (c Closer) kernelConn() net.Conn {
	switch {
	case c.conn == nil || c.reset:
		return nil
	case c.workers == nil:
		if c.detached {
			return nil
		}
		return c.conn
	case c.workers.detached || c.workers.closed || c.workers.last.active:
		return nil
	}
	conn := c.conn
	if a := adapterOf(conn); a != nil {
		if !IsKernelConn(a.Conn) || a.closed.Swap(true) {
			return nil
		}
		conn = a.Conn
	}
	if !IsKernelConn(conn) {
		return nil
	}
	return conn
}

func (set *Lingering) add(conn net.Conn, loop *eventloop.Loop, refused bool) {
	l := &lingerer{set: set, loop: loop, conn: conn, left: maxDiscarded}
	if netpoll.Enabled && loop.JoinPoll() {
		if l.raw, _ = conn.(syscall.Conn).SyscallConn(); l.raw == nil {
			loop.LeavePoll()
		}
	}
	if !l.begin(refused) {
		l.close()
		return
	}
	if len(set.conns) == maxLingering {
		set.conns[0].Halt()
	}
	set.conns = append(set.conns, l)
}

// begin sends this side's end and starts to discard. It returns false if the conn must be closed now.
func (l *lingerer) begin(refused bool) bool {
	wait := refused
	if l.raw != nil {
		if !l.discard() {
			return false
		}
		wait = wait || l.left < maxDiscarded
	} else if raw := newRawConn(l.conn); !wait && (raw == nil || !raw.unread()) {
		return false // a goroutine would keep Run from returning
	}
	_ = closeWrite(l.conn.(halfCloser))
	if !l.loop.Add(l, &l.member, wait || l.raw == nil) {
		return false
	}
	if l.raw == nil {
		l.loop.Go(l.read)
		return true
	}
	l.timer = time.AfterFunc(lingerTime, func() { l.loop.Event(l.close) })
	return l.loop.Watch(l.raw, &l.member, false, netpoll.Readable) == nil
}

// discard reads what has been received. It returns false if the peer has ended or reset the conn, or has sent too much.
func (l *lingerer) discard() bool {
	c, buf := l.loop.Call(), l.loop.ReadBuffer()
	for l.left > 0 {
		n, ended, err := c.Read(l.raw, buf[:min(len(buf), l.left)])
		if ended || err != nil {
			return false
		}
		if n == 0 {
			return true
		}
		l.left -= n
	}
	return false
}

// Ready discards received data.
func (l *lingerer) Ready(eventloop.Events) {
	if !l.closed && !l.discard() {
		l.close()
	}
}

// read discards received data, where there is no epoll.
func (l *lingerer) read() {
	_ = l.conn.SetReadDeadline(time.Now().Add(lingerTime))
	from := io.Reader(l.conn)
	if raw := newRawConn(l.conn); raw != nil {
		from = raw
	}
	_, _ = io.CopyN(io.Discard, from, int64(l.left))
	l.loop.Event(l.close)
}

// Halt ends the lingering, because the loop ends, or for another conn.
func (l *lingerer) Halt() { l.close() }

func (l *lingerer) close() {
	if l.closed {
		return
	}
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.raw != nil {
		if l.timer != nil {
			l.loop.Unwatch(l.raw)
		}
		l.loop.LeavePoll()
	}
	l.loop.Remove(&l.member)
	if i := slices.Index(l.set.conns, l); i >= 0 {
		l.set.conns = slices.Delete(l.set.conns, i, i+1)
	}
	_ = l.conn.Close()
}
