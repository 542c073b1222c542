package transport

import (
	"io"
	"net"
	"syscall"

	"evnet/internal/netpoll"
)

// epollDriver is the driver of a stream that the loop serves. It reads and writes when the descriptor is ready, and needs
// neither a goroutine nor a buffer. Its state is in the Stream.
//
// The conn keeps its descriptor. The driver uses the descriptor only through the SyscallConn, whose lock prevents the use
// of a closed descriptor. The driver serves only conns that are exactly a *net.TCPConn or a stream *net.UnixConn, because a
// type that embeds one may override its methods.
type epollDriver Stream

func (t *epollDriver) stream() *Stream { return (*Stream)(t) }

// openEpoll returns false for a conn that needs the goroutine driver.
func (s *Stream) openEpoll() bool {
	if !netpoll.Enabled {
		return false
	}
	var raw syscall.RawConn
	var err error
	switch c := s.conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if networkOf(c.LocalAddr()) != "unix" { // a message socket
			return false
		}
		raw, err = c.SyscallConn()
	}
	if raw == nil || err != nil || !s.owner.Loop().JoinPoll() {
		return false
	}
	s.raw = raw
	return true
}

// setReading stops reading lazily. The registration changes only when the kernel reports unwanted data. Usually reading
// resumes before that.
func (t *epollDriver) setReading(want bool) {
	t.wanted = want
	if want && t.stopped {
		t.drainLater()
	}
	switch {
	case want && t.watched&netpoll.Readable == 0:
		t.watch(t.watched | netpoll.Readable)
	case !want && !t.registered && t.owner.WatchesReset():
		t.watch(0)
	}
}

// watch changes the watched events. If the kernel cannot register the descriptor, the goroutine driver takes over.
func (t *epollDriver) watch(what netpoll.Events) {
	if t.registered && t.watched == what {
		return
	}
	t.watched = what
	if err := t.register(); err == nil || t.registered {
		t.registered = true
		return
	}
	wanted, writing := t.wanted, t.writing
	t.owner.Loop().LeavePoll()
	t.queue.pour()
	t.workers = newGoroutine(t.stream())
	t.workers.setReading(wanted)
	if writing {
		t.workers.awaitWritable()
	}
}

// register passes the watched events to the kernel. Conditions that are already true cause an event too.
func (t *epollDriver) register() error {
	what := t.watched
	if t.edgeTriggered {
		what |= netpoll.EdgeTriggered
	}
	return t.owner.Loop().Watch(t.raw, t.owner.Member(), t.registered, what)
}

// unregister stops watching, including the events that epoll always reports.
func (t *epollDriver) unregister() {
	if t.registered {
		t.owner.Loop().Unwatch(t.raw)
		t.registered, t.watched = false, 0
	}
}

// serve reads or writes. As in Node, reading comes before writing.
func (t *epollDriver) serve(what netpoll.Events, limit int, splice bool, r *Report) {
	switch {
	case t.stopped:
		t.draining = false
		if t.wanted {
			t.drain(limit, splice, r)
			return
		}
	case what == netpoll.Writable:
		t.flush(r)
		return
	}
	if t.writing && what != netpoll.Readable {
		t.owner.Loop().PostReady(t.owner, netpoll.Writable)
	}
	if what&(netpoll.Failed|netpoll.Hungup) == netpoll.Failed && !t.edgeTriggered && t.registered {
		// Reading and writing may not report it. For example, a time stamp stays in the error queue until the user
		// fetches it.
		t.edgeTriggered = true
		_ = t.register()
	}
	if t.wanted {
		t.read(limit, splice, r)
	} else {
		t.unwanted(what, r)
	}
}

func (t *epollDriver) read(limit int, splice bool, r *Report) {
	loop := t.owner.Loop()
	c := loop.Call()
	if splice && t.stream().Splices() && t.splice(c, r) {
		return
	}
	buf := loop.ReadBuffer()
	n, ended, err := c.Read(t.raw, buf[:min(limit, len(buf))])
	t.bulk = n >= bulk
	switch {
	case ended:
		r.Err = io.EOF
	case err != nil:
		r.Err = readError(t.conn, err)
	case t.edgeTriggered && t.registered && n > 0:
		_ = t.register() // more data may be available
	}
	r.Data = buf[:n]
}

func (t *epollDriver) unread() (bool, error) {
	if !t.wanted {
		return false, nil
	}
	n, ended, err := t.owner.Loop().Call().Peek(t.raw)
	if err != nil { // the kernel reports it only once, and the next read would return EOF
		err = readError(t.conn, err)
	}
	return n > 0 || ended || err != nil, err
}

// unwanted handles an event while the owner wants no data.
func (t *epollDriver) unwanted(what netpoll.Events, r *Report) {
	if t.watched&netpoll.Readable != 0 {
		t.watch(t.watched &^ netpoll.Readable)
	}
	if what&(netpoll.Failed|netpoll.Hungup) == 0 {
		return
	}
	if t.owner.WatchesReset() {
		if _, _, err := t.owner.Loop().Call().Peek(t.raw); err != nil {
			r.Err = readError(t.conn, err)
			return
		}
	}
	if what&netpoll.Hungup != 0 {
		t.unregister() // epoll always reports this event, and would report it forever
	}
}

func (t *epollDriver) tryWrite() (flags Flags, err error) {
	s, q := t.stream(), &t.queue
	loop := t.owner.Loop()
	c := loop.AcquireCall()
	defer loop.ReleaseCall(c)
	if s.HoldsPipe() {
		if flags, err = t.writePipe(c); err != nil || s.HoldsPipe() {
			return flags, err
		}
	}
	for left := q.sendable(); left > 0; left = q.sendable() {
		offered := 0
		for i := 0; offered < left && c.HasRoom(); i++ {
			p := q.piece(i)
			p = p[:min(len(p), left-offered)]
			c.Add(p)
			offered += len(p)
		}
		n, err := c.Write(t.raw)
		if n > 0 {
			flags |= Moved
			if q.advance(n) {
				flags |= Completed
			}
		}
		if err == syscall.EPIPE {
			// The kernel reports the reset that caused EPIPE to the first call that checks for it.
			if _, _, reset := c.Peek(t.raw); reset == syscall.ECONNRESET {
				err = reset
			}
		}
		if err != nil || n < offered {
			return flags, err
		}
	}
	return flags, nil
}

func (t *epollDriver) awaitWritable() {
	t.writing = true
	t.watch(t.watched | netpoll.Writable)
}

// flush writes as many queued bytes as the kernel accepts.
func (t *epollDriver) flush(r *Report) {
	r.Flags, r.Err = t.tryWrite()
	switch {
	case r.Err != nil:
	case t.queue.sendable() > 0:
		t.watch(t.watched | netpoll.Writable)
	default:
		t.writing = false
		t.watch(t.watched &^ netpoll.Writable)
		t.queue.settle()
		r.Err = t.stream().sendEndIfDue()
	}
	if r.Err != nil {
		r.Flags |= WriteFailed
	}
}

// stopWriting looks for unread bytes. If there are none, no more will follow, because a write fails after the connection
// has ended, with few exceptions.
func (t *epollDriver) stopWriting() (unread bool, failed error) {
	if t.writing = false; t.registered {
		t.watch(t.watched &^ netpoll.Writable)
	}
	loop := t.owner.Loop()
	c := loop.AcquireCall()
	defer loop.ReleaseCall(c)
	n, _, err := c.Peek(t.raw)
	if err != nil { // the kernel reports it only once
		err = readError(t.conn, err)
	}
	return n > 0, err
}

// drainLater posts an event for the rest of the received bytes. The kernel reports none if there are none.
func (t *epollDriver) drainLater() {
	if !t.draining {
		t.draining = true
		t.owner.Loop().Notify(t.owner, netpoll.Readable)
	}
}

// drain reads after a failed write.
func (t *epollDriver) drain(limit int, splice bool, r *Report) {
	switch t.read(limit, splice, r); {
	case r.IsEmpty():
		r.Flags |= Exhausted
	case r.Err == nil:
		t.drainLater()
	}
}

func (t *epollDriver) endBlocks() bool { return false }

func (t *epollDriver) retire() {
	t.unregister()
	t.wanted = false
}
