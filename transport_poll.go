package evnet

import (
	"io"
	"net"
	"syscall"

	"evnet/internal/netpoll"
)

// Where more than a few sockets are ready, less is read for a decoder at a time: decoding takes several times as long
// as reading does.
const (
	fewReady     = 16
	decodedChunk = 16 << 10
)

// pollTransport is the transport of a kernel socket where there is epoll: the loop itself reads and
// writes when the descriptor is ready. It holds no goroutine and no buffer.
//
// The conn stays what it is. Its descriptor is only used through its SyscallConn, so that Go's own
// lock keeps a closed one from being touched; and only a conn that is exactly a *net.TCPConn or a
// stream *net.UnixConn is served so, for a type that embeds one may have methods of its own.
type pollTransport struct {
	s   *Socket
	raw syscall.RawConn // of the socket's conn

	// Guarded by s.mu.
	watched netpoll.Events // what the descriptor is watched for
	there   bool           // it is
	once    bool           // there are events that stay: each is to be told but once
	want    bool           // the socket wants data
	writing bool           // there was no room: the queue waits for it
	kept    bool           // Detach has given the conn away
	bulk    bool           // much comes at a time: a tube is worth its cost
}

// newPollTransport returns nil for a conn that is to be served otherwise. s.mu is held.
func newPollTransport(s *Socket, conn net.Conn) transport {
	if !netpoll.Enabled {
		return nil
	}
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if network(c.LocalAddr()) != "unix" { // of messages, not a stream
			return nil
		}
		raw, err = c.SyscallConn()
	}
	if raw == nil || err != nil || !s.set.Loop.core().JoinPoll() {
		return nil
	}
	s.polled = pollTransport{s: s, raw: raw}
	return &s.polled
}

// caller is what makes system calls, to be given back by done: the loop's own where that may be used.
func (t *pollTransport) caller() *netpoll.Call { return t.s.set.Loop.core().AcquireCall() }

func (t *pollTransport) done(c *netpoll.Call) { t.s.set.Loop.core().ReleaseCall(c) }

// setReading lets what came unasked for be noticed once before the kernel is told not to: mostly it is
// asked for again before.
func (t *pollTransport) setReading(want bool) {
	t.want = want
	switch {
	case want && t.watched&netpoll.Readable == 0:
		t.watch(t.watched | netpoll.Readable)
	case !want && !t.there && t.mayWatch():
		t.watch(0)
	}
}

// mayWatch reports whether a reset is to be told although nothing is read: nothing that came before it
// is held. While a destination of Pipe is full it is not worth its cost: the flow goes on soon.
func (t *pollTransport) mayWatch() bool {
	in := &t.s.in
	return in.mode == paused && !in.eof && in.held() == 0
}

// watch changes what the descriptor is watched for. When the system has no room for it, goroutines
// take over.
func (t *pollTransport) watch(what netpoll.Events) {
	if t.there && t.watched == what {
		return
	}
	t.watched = what
	if err := t.arm(); err == nil || t.there {
		t.there = true
		return
	}
	want, writing := t.want, t.writing
	t.s.set.Loop.core().LeavePoll()
	t.s.out.pour()
	other := newGoTransport(t.s, t.s.conn)
	t.s.tr = other
	other.setReading(want)
	if writing {
		other.startWriting()
	}
}

// arm tells the kernel what to watch for. What is there already is an event.
func (t *pollTransport) arm() error {
	what := t.watched
	if t.once {
		what |= netpoll.EdgeTriggered
	}
	return t.s.set.Loop.core().Watch(t.raw, &t.s.member, t.there, what)
}

// forget stops watching, also for what cannot be left out.
func (t *pollTransport) forget() {
	if t.there {
		t.s.set.Loop.core().Unwatch(t.raw)
		t.there, t.watched = false, 0
	}
}

// ready serves a socket whose descriptor is: it is a task of the loop. As in Node, reading comes before
// writing.
func (s *Socket) ready(what netpoll.Events) {
	s.mu.Lock()
	t, _ := s.tr.(*pollTransport)
	switch {
	case t == nil: // destroyed meanwhile, or in other hands
		s.mu.Unlock()
	case what == netpoll.Writable:
		t.drain()
	default:
		if t.writing && what != netpoll.Readable {
			s.set.Loop.tick(t.room)
		}
		if what&(netpoll.Failed|netpoll.Hungup) == netpoll.Failed && !t.once && t.there {
			// It may be one that reading and writing do not tell, such as a time stamp in the error
			// queue, which is there until the user fetches it.
			t.once = true
			_ = t.arm()
		}
		if t.want {
			t.read()
		} else {
			t.unwanted(what)
		}
	}
}

// room is told that there is room to write, or that writing fails.
func (t *pollTransport) room() {
	t.s.mu.Lock()
	if t.s.tr != t {
		t.s.mu.Unlock()
		return
	}
	t.drain()
}

// read reads one chunk and hands it over. s.mu is held, and released.
func (t *pollTransport) read() {
	s := t.s
	loop := s.set.Loop.core()
	c := t.caller()
	if l := t.throughTube(); l != nil && t.splice(l) {
		return
	}
	buf := loop.ReadBuffer()
	size := s.set.Loop.readSize()
	if s.in.decoder != nil && loop.Ready() > fewReady {
		size = min(size, decodedChunk)
	}
	n, ended, err := c.Read(t.raw, buf[:size])
	t.bulk = n >= bulk
	switch {
	case ended:
		err = io.EOF
	case err != nil:
		err = readError(s.conn, err)
	case n == 0:
		s.mu.Unlock()
		return
	}
	if t.once && n > 0 && t.there {
		_ = t.arm() // there may be more
	}
	s.received(t, buf[:n], err)
}

func (t *pollTransport) unread() bool {
	if !t.want {
		return false
	}
	n, ended, err := t.caller().Peek(t.raw)
	if err != nil { // the kernel tells it but once: the next read would find an end
		t.s.set.Loop.tick(func() {
			t.s.mu.Lock()
			t.s.received(t, nil, readError(t.s.conn, err))
		})
	}
	return n > 0 || ended || err != nil
}

// unwanted copes with an event of a socket that does not want data. s.mu is held, and released.
func (t *pollTransport) unwanted(what netpoll.Events) {
	s := t.s
	if t.watched&netpoll.Readable != 0 {
		t.watch(t.watched &^ netpoll.Readable)
	}
	if what&(netpoll.Failed|netpoll.Hungup) == 0 {
		s.mu.Unlock()
		return
	}
	if t.mayWatch() {
		if _, _, err := t.caller().Peek(t.raw); err != nil {
			s.received(t, nil, readError(s.conn, err))
			return
		}
	}
	if what&netpoll.Hungup != 0 {
		t.forget() // it cannot be left out, and would come for ever
	}
	s.mu.Unlock()
}

func (t *pollTransport) mayWrite() bool { return !t.writing }

func (t *pollTransport) tryWrite() (moved bool, err error) {
	o := &t.s.out
	c := t.caller()
	defer t.done(c)
	if o.tube != nil {
		if moved, err = t.writeTube(c); err != nil || o.tube != nil {
			return moved, err
		}
	}
	for left := o.sendable(); left > 0; left = o.sendable() {
		offered := 0
		for i := 0; offered < left && c.HasRoom(); i++ {
			p := o.piece(i)
			p = p[:min(len(p), left-offered)]
			c.Add(p)
			offered += len(p)
		}
		n, err := c.Write(t.raw)
		if n > 0 {
			moved = true
			o.advance(t.s, n)
		}
		if err == syscall.EPIPE {
			// The reset that is behind it is told to whoever asks first.
			if _, _, reset := c.Peek(t.raw); reset == syscall.ECONNRESET {
				err = reset
			}
		}
		if err != nil || n < offered {
			return moved, err
		}
	}
	return moved, nil
}

func (t *pollTransport) startWriting() {
	t.writing = true
	t.watch(t.watched | netpoll.Writable)
}

// drain writes what there is room for, and tells the socket. s.mu is held, and released.
func (t *pollTransport) drain() {
	s := t.s
	moved, err := t.tryWrite()
	switch {
	case err != nil:
	case s.out.sendable() > 0:
		t.watch(t.watched | netpoll.Writable)
	default:
		t.writing = false
		t.watch(t.watched &^ netpoll.Writable)
		err = s.flushEnd()
	}
	if err != nil {
		e := s.writeFailedLocked(err)
		s.mu.Unlock()
		e.run()
		return
	}
	waited := s.out.room != nil && !t.writing && !s.out.needDrain // for room alone
	s.mu.Unlock()
	if waited {
		s.wakeReadFrom()
	}
	if moved {
		s.progressed()
	}
}

func (t *pollTransport) blame(error) bool  { return false }
func (t *pollTransport) failure() error    { return nil }
func (t *pollTransport) endBlocks() bool   { return false }
func (t *pollTransport) endUnderway() bool { return false }
func (t *pollTransport) sendEnd() error    { return sendEnd(t.s.conn) }
func (t *pollTransport) halfCloses() bool  { return true }

func (t *pollTransport) retire() {
	t.forget()
	t.want = false
}

func (t *pollTransport) close(reset bool) {
	t.s.set.Loop.core().LeavePoll()
	if t.kept {
		return
	}
	if reset {
		resetOnClose(t.s.conn)
	}
	_ = t.s.conn.Close()
}

func (t *pollTransport) recall() (<-chan struct{}, error) { return nil, nil }
func (t *pollTransport) keep()                            {}
func (t *pollTransport) untold() error                    { return nil }

func (t *pollTransport) detach() (net.Conn, []byte) {
	t.kept = true
	return t.s.conn, nil
}
