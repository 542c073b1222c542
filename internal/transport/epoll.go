package transport

import (
	"io"
	"net"
	"syscall"

	"evnet/internal/netpoll"
)

// epollDriver is the driver of a stream that the loop serves itself: it reads and writes when the descriptor is ready,
// and needs no goroutine and no buffer of its own. Its state is in the Stream.
//
// The conn stays what it is. Its descriptor is only used through its SyscallConn, so that Go's own lock keeps a closed
// one from being touched. Only a conn that is exactly a *net.TCPConn or a stream *net.UnixConn is served so: a type
// that embeds one may have methods of its own.
type epollDriver Stream

func (t *epollDriver) stream() *Stream { return (*Stream)(t) }

// openEpoll returns false for a conn that is to be served by goroutines.
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
		if networkOf(c.LocalAddr()) != "unix" { // of messages, not a stream
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

// setReading stops reading lazily: the registration changes only after the kernel has reported data that was not requested. Mostly
// it is requested again before.
func (t *epollDriver) setReading(want bool) {
	t.wanted = want
	switch {
	case want && t.watched&netpoll.Readable == 0:
		t.watch(t.watched | netpoll.Readable)
	case !want && !t.registered && t.owner.WatchesReset():
		t.watch(0)
	}
}

// watch changes what the descriptor is watched for. If the kernel has no room for it, goroutines take over.
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

// register tells the kernel what to watch for. What is already so is an event too.
func (t *epollDriver) register() error {
	what := t.watched
	if t.edgeTriggered {
		what |= netpoll.EdgeTriggered
	}
	return t.owner.Loop().Watch(t.raw, t.owner.Member(), t.registered, what)
}

// unregister stops watching, also for events that cannot be left out.
func (t *epollDriver) unregister() {
	if t.registered {
		t.owner.Loop().Unwatch(t.raw)
		t.registered, t.watched = false, 0
	}
}

// serve reads or writes. As in Node, reading comes before writing.
func (t *epollDriver) serve(what netpoll.Events, limit int, splice bool, r *Report) {
	if what == netpoll.Writable {
		t.drain(r)
		return
	}
	if t.writing && what != netpoll.Readable {
		t.owner.Loop().PostReady(t.owner, netpoll.Writable)
	}
	if what&(netpoll.Failed|netpoll.Hungup) == netpoll.Failed && !t.edgeTriggered && t.registered {
		// It may be one that reading and writing do not report, such as a time stamp in the error queue, which stays
		// until the user fetches it.
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
		_ = t.register() // there may be more
	}
	r.Data = buf[:n]
}

func (t *epollDriver) unread() (bool, error) {
	if !t.wanted {
		return false, nil
	}
	n, ended, err := t.owner.Loop().Call().Peek(t.raw)
	if err != nil { // the kernel reports it only once: the next read would find an end
		err = readError(t.conn, err)
	}
	return n > 0 || ended || err != nil, err
}

// unwanted handles an event of a stream whose owner wants no data.
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
		t.unregister() // it cannot be left out, and would be reported forever
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
			// The reset that has caused it is reported to whoever asks first.
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

// drain writes what there is room for.
func (t *epollDriver) drain(r *Report) {
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

func (t *epollDriver) deferFailure(error) bool { return false }
func (t *epollDriver) endBlocks() bool         { return false }

func (t *epollDriver) retire() {
	t.unregister()
	t.wanted = false
}
