package dgram

import (
	"net"
	"os"
	"syscall"

	"evnet/internal/eventloop"
	"evnet/internal/netpoll"
)

// batchTransport serves a *net.UDPConn where there is epoll: the loop itself receives and sends, many
// messages at a time. An idle socket has no goroutine and no buffer.
//
// The descriptor is only used through the conn's SyscallConn, so that Go's own lock keeps a closed one
// from being used. A type that embeds a *net.UDPConn may have methods of its own, and is served by
// plainTransport.
type batchTransport struct {
	s   *Socket
	raw syscall.RawConn

	// Guarded by s.mu.
	watching bool // the loop watches the descriptor
	blocked  bool // the kernel had no room: the queue waits for it
	once     bool // there is a persistent error: each event is reported once

	// Used only on the loop.
	in     *batch // received, not yet delivered
	queued bool   // deliverRest is among the loop's events
}

func newBatchTransport(s *Socket, conn net.PacketConn) transport {
	udp, ok := conn.(*net.UDPConn)
	if !ok || !netpoll.Enabled || !callsKnown || s.network == "" {
		return nil
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil
	}
	return &batchTransport{s: s, raw: raw}
}

func (t *batchTransport) startLocked() bool {
	core := t.s.core
	if core.JoinPoll() {
		if core.Watch(t.raw, &t.s.member, false, netpoll.Readable) == nil {
			t.watching = true
			t.armLocked()
			return true
		}
		core.LeavePoll()
	}
	t.blocked = false
	return false
}

// armLocked makes the loop watch for room to write too, if the queue waits for it.
func (t *batchTransport) armLocked() {
	if t.watching && (t.blocked || t.once) {
		t.rewatchLocked()
	}
}

func (t *batchTransport) rewatchLocked() {
	events := netpoll.Readable
	if t.blocked {
		events |= netpoll.Writable
	}
	if t.once {
		events |= netpoll.EdgeTriggered
	}
	_ = t.s.core.Watch(t.raw, &t.s.member, true, events) // the descriptor is watched, or was closed
}

// ready receives before it sends, as Node does.
func (t *batchTransport) ready(ev eventloop.Events) {
	s := t.s
	s.mu.Lock()
	watching := t.watching
	s.mu.Unlock()
	if !watching || s.closed.Load() {
		return // spurious
	}
	t.receive(ev&netpoll.Failed != 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.blocked && !s.closed.Load() {
		t.blocked = false
		t.flushLocked()
		if !t.blocked {
			t.rewatchLocked()
		}
	}
}

func (t *batchTransport) receive(failed bool) {
	if t.in != nil { // first the messages that were received before
		t.deliver()
		return
	}
	b := receivers.Get().(*batch)
	err := b.receive(t.raw)
	nothing := b.n == 0
	if !nothing {
		t.in = b
		t.deliver()
	} else {
		receivers.Put(b)
	}
	if failed || t.once { // only this goroutine changes once
		t.rearm(nothing && err == syscall.EAGAIN)
	}
	if err != nil && err != syscall.EAGAIN {
		if errno, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("recvmsg", errno)
		}
		t.s.receiveFailed(err)
	}
}

// rearm handles an error that receiving does not clear, such as a time stamp in the error queue, which
// stays until the user fetches it: from the first one on, each event is reported once.
func (t *batchTransport) rearm(nothing bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.closed.Load() {
		return
	}
	if !t.once && nothing {
		t.once = true
		t.armLocked()
	} else if t.once && !nothing {
		t.armLocked() // there may be more
	}
}

// deliver emits the received messages. A function that a callback posts runs before the next message, as
// in Node.
func (t *batchTransport) deliver() {
	s, b := t.s, t.in
	s.delivering = true
	s.beginCallbacks()
	for b.at < b.n && !s.closed.Load() {
		i := b.at
		b.at++
		from := b.sender(i)
		if s.refuses(from) {
			continue
		}
		s.emitMessage(b.message(i), from)
		if b.at < b.n && s.core.HasPosted() {
			if !t.queued {
				t.queued = true
				s.core.Event(t.deliverRest)
			}
			break
		}
	}
	s.endCallbacks()
	s.delivering = false
	if b.at == b.n || s.closed.Load() {
		t.in = nil
		receivers.Put(b)
	}
	s.flush()
}

// deliverRest delivers the remaining messages.
func (t *batchTransport) deliverRest() {
	t.queued = false
	if t.in != nil && !t.s.closed.Load() {
		t.deliver()
	}
}

func (t *batchTransport) flushLocked() {
	o := &t.s.out
	if t.blocked || o.len() == 0 {
		return
	}
	b := senders.Get().(*batch)
	for o.len() > 0 && !t.blocked {
		b.n = 0
		for _, d := range o.list[o.head:min(len(o.list), o.head+batchSize)] {
			b.add(o.message(d), d.to)
		}
		err := b.do(t.raw)
		for range b.n {
			t.s.sentLocked(o.take(), nil)
		}
		switch errno, _ := err.(syscall.Errno); {
		case errno == syscall.EAGAIN:
			t.blocked = true
			o.compact()
			t.armLocked()
		case err != nil: // of the first message
			if errno != 0 {
				err = os.NewSyscallError("sendmsg", errno)
			}
			d := o.take()
			t.s.sentLocked(d, t.s.opError("send", d.to, err))
		}
	}
	b.release()
}

func (t *batchTransport) closingLocked() bool { return false }

func (t *batchTransport) close() {
	t.s.mu.Lock()
	watching := t.watching
	t.watching = false
	t.s.mu.Unlock()
	if watching {
		t.s.core.Unwatch(t.raw)
		t.s.core.LeavePoll()
	}
	_ = t.s.conn.Close()
}
