package dgram

import (
	"net"
	"net/netip"
)

// outbox is the queue of messages to be sent. The socket's mu guards it.
type outbox struct {
	arena  []byte // the messages, one after the other
	list   []datagram
	head   int  // messages before it have been removed
	bytes  int  // of pending messages: queued here, in a lookup, or taken by a writer
	count  int  // of pending messages
	posted bool // Socket.flush is posted

	counted int // bytes that the loop counts as buffered by the socket
}

// buffered is what counts towards MaxSendQueue and the loop's limit.
func (o *outbox) buffered() int { return o.bytes + o.count*overhead }

type datagram struct {
	at, n int            // in the arena
	to    netip.AddrPort // zero: the peer that the socket is connected to now
	done  func(error)
}

// maxIdleArena is how much memory an empty outbox keeps.
const maxIdleArena = 1 << 20

func (o *outbox) len() int { return len(o.list) - o.head }

// enter and leave count a pending message.
func (o *outbox) enter(n int) { o.bytes, o.count = o.bytes+n, o.count+1 }
func (o *outbox) leave(n int) { o.bytes, o.count = o.bytes-n, o.count-1 }

func (o *outbox) put(msg []byte, parts net.Buffers, to netip.AddrPort, done func(error)) {
	at := len(o.arena)
	o.arena = append(o.arena, msg...)
	for _, p := range parts {
		o.arena = append(o.arena, p...)
	}
	o.list = append(o.list, datagram{at: at, n: len(o.arena) - at, to: to, done: done})
	o.enter(len(o.arena) - at)
}

// message returns the bytes of d.
func (o *outbox) message(d datagram) []byte { return o.arena[d.at : d.at+d.n : d.at+d.n] }

// address sets the address of the messages that have none, before the socket's peer changes.
func (o *outbox) address(to netip.AddrPort) {
	for i := range o.list[o.head:] {
		if d := &o.list[o.head+i]; !d.to.IsValid() {
			d.to = to
		}
	}
}

// take removes the first message. Its bytes are valid until the next put.
func (o *outbox) take() datagram {
	d := o.list[o.head]
	o.list[o.head] = datagram{}
	o.head++
	if o.head == len(o.list) {
		o.list, o.head, o.arena = o.list[:0], 0, o.arena[:0]
		if cap(o.arena) > maxIdleArena {
			o.list, o.arena = nil, nil
		}
	}
	return d
}

// compact reuses the room of removed messages, if that is more than half.
func (o *outbox) compact() {
	if o.head == 0 || o.head < len(o.list)/2 {
		return
	}
	from := o.list[o.head].at
	o.arena = o.arena[:copy(o.arena, o.arena[from:])]
	n := copy(o.list, o.list[o.head:])
	clear(o.list[n:])
	o.list, o.head = o.list[:n], 0
	for i := range o.list {
		o.list[i].at -= from
	}
}

// outcomes are the results of messages and connects, to be reported in order. The socket's mu guards them.
type outcomes struct {
	list   []outcome
	posted bool
}

// outcome is reported to done or, if that is nil, emitted as Error.
type outcome struct {
	done      func(error)
	err       error
	connected bool // Connect has succeeded: emit Connect too
}

// add queues an outcome, to be reported to done or emitted as Error.
func (o *outcomes) add(done func(error), err error) {
	o.list = append(o.list, outcome{done: done, err: err})
}

// addIfDone is add if done is not nil: the outcome is not emitted as Error.
func (o *outcomes) addIfDone(done func(error), err error) {
	if done != nil {
		o.add(done, err)
	}
}

// addOutcomeLocked queues an outcome and posts reportOutcomes.
func (s *Socket) addOutcomeLocked(done func(error), err error) {
	s.outcomes.add(done, err)
	s.postOutcomesLocked()
}

// sentLocked ends a message that has been sent, or has failed. Success is reported only to a callback.
func (s *Socket) sentLocked(d datagram, err error) {
	s.out.leave(d.n)
	if s.out.counted > 0 {
		s.countLocked()
	}
	if err != nil || d.done != nil {
		s.addOutcomeLocked(d.done, err)
	}
}

// countLocked updates what the loop counts as buffered.
func (s *Socket) countLocked() {
	if more := s.out.buffered() - s.out.counted; more != 0 {
		s.out.counted += more
		s.core.Count(more)
	}
}

func (s *Socket) postOutcomesLocked() {
	if len(s.outcomes.list) > 0 && !s.outcomes.posted {
		s.outcomes.posted = true
		s.loop.Post(s.reportOutcomes)
	}
}

// reportOutcomes runs on the loop. If a callback does not return, another task reports the rest.
func (s *Socket) reportOutcomes() {
	s.mu.Lock()
	list := s.outcomes.list
	s.outcomes = outcomes{}
	s.mu.Unlock()
	if len(list) == 0 {
		return
	}
	next := 0
	defer func() {
		if next < len(list) {
			s.mu.Lock()
			s.outcomes.list = append(list[next:], s.outcomes.list...)
			s.postOutcomesLocked()
			s.mu.Unlock()
		}
	}()
	s.beginCallbacks()
	for next < len(list) {
		o := list[next]
		next++
		switch {
		case o.connected:
			if s.closed.Load() {
				o.err = ErrNotRunning
			} else {
				s.emit(EventConnect)
			}
			fallthrough
		case o.done != nil:
			if o.done != nil {
				o.done(o.err)
			}
		default:
			s.emitError(o.err)
		}
	}
	s.endCallbacks()
}
