package dgram

import (
	"net"
	"os"
	"syscall"

	"evnet/internal/netpoll"
	"evnet/internal/seam"
)

// batchTransport serves a *net.UDPConn where there is epoll: the loop itself receives and sends, many
// messages at a time. An idle socket has no goroutine and no buffer.
//
// The conn stays what it is: its descriptor is only used through its SyscallConn, so that Go's own lock
// keeps a closed one from being touched. A type that embeds a *net.UDPConn may have methods of its own,
// and is served otherwise.
type batchTransport struct {
	s   *Socket
	raw syscall.RawConn

	// Guarded by s.mu.
	watch   seam.Watch // nil until started
	blocked bool       // there was no room: the queue waits for it
	once    bool       // there is an error that does not go away

	// Of the loop's owner alone.
	in     *batch // received, and not delivered yet
	queued bool   // goOn is among the loop's events
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

func (t *batchTransport) start() bool {
	t.watch = t.s.host.Watch(t.raw, t.ready)
	if t.watch == nil {
		t.blocked = false
		return false
	}
	t.arm()
	return true
}

// arm tells the kernel what to watch for besides what there is to read. s.mu is held.
func (t *batchTransport) arm() {
	if t.watch != nil && (t.blocked || t.once) {
		t.watch.Arm(t.blocked, t.once)
	}
}

// ready is a task of the loop: the descriptor is. As in Node, reading comes before writing.
func (t *batchTransport) ready(failed bool) {
	if t.s.closed.Load() {
		return
	}
	t.receive(failed)
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.blocked && !t.s.closed.Load() {
		t.blocked = false
		t.flush()
		if !t.blocked {
			t.watch.Arm(false, t.once)
		}
	}
}

func (t *batchTransport) receive(failed bool) {
	if t.in != nil { // first what came before
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
	if failed || t.once {
		t.rearm(nothing && err == syscall.EAGAIN)
	}
	if err != nil && err != syscall.EAGAIN {
		if errno, ok := err.(syscall.Errno); ok {
			err = os.NewSyscallError("recvmsg", errno)
		}
		t.s.receiveFailed(err)
	}
}

// rearm copes with an error that receiving does not take away, such as a time stamp in the error queue,
// which is there until the user fetches it: from the first one on, each event is told once.
func (t *batchTransport) rearm(nothing bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.closed.Load() {
		return
	}
	if !t.once && nothing {
		t.once = true
		t.arm()
	} else if t.once && !nothing {
		t.arm() // there may be more
	}
}

// deliver gives out what was received. What a callback posts goes before the next message, as in Node.
func (t *batchTransport) deliver() {
	s, b := t.s, t.in
	s.delivering = true
	s.host.Begin((*handle)(s))
	for b.at < b.n && !s.closed.Load() {
		i := b.at
		b.at++
		from := b.sender(i)
		if s.refuses(from) {
			continue
		}
		s.emitMessage(b.message(i), from)
		if b.at < b.n && s.host.Ticking() {
			if !t.queued {
				t.queued = true
				s.host.Event(t.goOn)
			}
			break
		}
	}
	s.host.End()
	s.delivering = false
	if b.at == b.n || s.closed.Load() {
		t.in = nil
		receivers.Put(b)
	}
	s.flush()
}

// goOn delivers what is left.
func (t *batchTransport) goOn() {
	t.queued = false
	if t.in != nil && !t.s.closed.Load() {
		t.deliver()
	}
}

func (t *batchTransport) flush() {
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
			t.s.sent(o.take(), nil)
		}
		switch errno, _ := err.(syscall.Errno); {
		case errno == syscall.EAGAIN:
			t.blocked = true
			o.compact()
			t.arm()
		case err != nil: // about the first
			if errno != 0 {
				err = os.NewSyscallError("sendmsg", errno)
			}
			d := o.take()
			t.s.sent(d, t.s.opError("send", d.to, err))
		}
	}
	b.release()
}

func (t *batchTransport) closing() bool { return false }

func (t *batchTransport) close() {
	t.s.mu.Lock()
	watch := t.watch
	t.s.mu.Unlock()
	if watch != nil {
		watch.Close()
	}
	_ = t.s.conn.Close()
}
