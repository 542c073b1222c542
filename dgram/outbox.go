package dgram

import (
	"net"
	"net/netip"
)

// outbox has the messages that wait to be sent. The socket's mu guards it.
type outbox struct {
	arena  []byte // the messages, one behind the other
	list   []datagram
	head   int // messages before it are gone
	bytes  int // that wait: here, for a look-up, or in a writer
	count  int // messages that do
	posted bool

	counted int // of what buffered gives, in what the loop buffers
}

// buffered is what counts towards MaxSendQueue and the loop's limit.
func (o *outbox) buffered() int { return o.bytes + o.count*overhead }

type datagram struct {
	at, n int            // in the arena
	to    netip.AddrPort // zero: the peer that the socket is connected to now
	done  func(error)
}

// maxIdleArena is how much memory is kept for messages to come.
const maxIdleArena = 1 << 20

func (o *outbox) len() int { return len(o.list) - o.head }

// wait and left count a message.
func (o *outbox) wait(n int) { o.bytes, o.count = o.bytes+n, o.count+1 }
func (o *outbox) left(n int) { o.bytes, o.count = o.bytes-n, o.count-1 }

func (o *outbox) put(msg []byte, parts net.Buffers, to netip.AddrPort, done func(error)) {
	at := len(o.arena)
	o.arena = append(o.arena, msg...)
	for _, p := range parts {
		o.arena = append(o.arena, p...)
	}
	o.list = append(o.list, datagram{at: at, n: len(o.arena) - at, to: to, done: done})
	o.wait(len(o.arena) - at)
}

// message is the bytes of one.
func (o *outbox) message(d datagram) []byte { return o.arena[d.at : d.at+d.n : d.at+d.n] }

// address gives those without an address this one: the socket's peer is going to be another, or none.
func (o *outbox) address(to netip.AddrPort) {
	for i := range o.list[o.head:] {
		if d := &o.list[o.head+i]; !d.to.IsValid() {
			d.to = to
		}
	}
}

// take removes the first. Its bytes stay until the next put.
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

// compact gives back the room of what is gone, if that is more than half.
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

// outcomes are of messages and connects that are over, to be told in order. The socket's mu guards them.
type outcomes struct {
	list   []outcome
	posted bool
}

// outcome is for done, or an error that On.Error is told, since there is none.
type outcome struct {
	done func(error)
	err  error
	// connected is that of Connect, which is an event too.
	connected bool
}

// add keeps an outcome that somebody is to be told.
func (o *outcomes) add(done func(error), err error, anybody bool) {
	if anybody {
		o.list = append(o.list, outcome{done: done, err: err})
	}
}

// tell is add, and makes them be told soon. s.mu is held.
func (s *Socket) tell(done func(error), err error, anybody bool) {
	s.outcomes.add(done, err, anybody)
	s.postOutcomes()
}

// sent notes what has become of a message: nobody is told that it has left unless he has asked for it. s.mu
// is held.
func (s *Socket) sent(d datagram, err error) {
	s.out.left(d.n)
	if s.out.counted > 0 {
		s.count()
	}
	if err != nil || d.done != nil {
		s.tell(d.done, err, true)
	}
}

// count tells the loop what is buffered. s.mu is held.
func (s *Socket) count() {
	if more := s.out.buffered() - s.out.counted; more != 0 {
		s.out.counted += more
		s.host.Count(more)
	}
}

// postOutcomes makes what there is be told. s.mu is held.
func (s *Socket) postOutcomes() {
	if len(s.outcomes.list) > 0 && !s.outcomes.posted {
		s.outcomes.posted = true
		s.loop.Post(s.tellOutcomes)
	}
}

// tellOutcomes runs on the loop. Should a callback not return, another task tells the rest.
func (s *Socket) tellOutcomes() {
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
			s.postOutcomes()
			s.mu.Unlock()
		}
	}()
	s.host.Begin((*handle)(s))
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
	s.host.End()
}
