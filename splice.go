package evnet

import (
	"sync/atomic"
	"syscall"

	"evnet/internal/poll"
)

// Pipe between two kernel sockets, where nobody else listens: a stream goes through a tube in the
// kernel. What comes in small pieces is copied, which is as cheap then.

const (
	bulk     = 16 << 10 // a chunk of this size, and tubes are used from the next one on
	trickle  = 4 << 10  // a tube with less than this, and no longer
	maxTubes = 16       // that a loop keeps for later
	maxLent  = 128      // that it lends, of two descriptors each; beyond that is copied
)

// spliced is how many bytes have left without being copied, for tests.
var spliced atomic.Int64

// throughTube returns the destination of what is to come, if that may go through a tube. s.mu is held.
func (t *pollTransport) throughTube() *pipe {
	s := t.s
	in := &s.in
	if !t.bulk || t.once || len(in.pipes) != 1 || in.pipes[0].sock == nil || !in.wanted() || in.held() > 0 ||
		in.onRead != nil || in.decoder != nil || s.set.Loop.tracing() || s.events.count(kindData) > 0 {
		return nil
	}
	return in.pipes[0]
}

// splice moves what there is to read into a tube, and hands that on. It reports false, and has done
// nothing, when that cannot be. s.mu is held, and released if it reports true.
func (t *pollTransport) splice(l *pipe) bool {
	s := t.s
	r := &s.set.Loop.ready
	if !l.tubes.Load() {
		return false
	}
	tube := r.tube(s.set.Loop)
	if tube == nil {
		t.bulk = false
		return false
	}
	n, err := r.call.Fill(t.raw, tube)
	if n == 0 {
		r.keep(s.set.Loop, tube)
		switch {
		case err == syscall.EINVAL:
			t.bulk = false // not with this kind of socket
			return false
		case err == nil:
			return false // the end, or an urgent byte, which looks like it: reading tells
		}
		s.received(t, nil, readError(s.conn, err))
		return true
	}
	t.bulk = n >= trickle
	s.in.bytes += int64(n)
	spliced.Add(int64(n))
	s.touch()
	s.mu.Unlock()
	held, err := l.sock.writeTube(s.set.Loop, tube)
	if err != nil {
		l.failed(err)
		return true
	}
	if held {
		l.hold(l.sock.tubed)
	}
	l.checkRoom()
	return true
}

// writeTube is Write of what is in the tube, which belongs to the socket from then on. held says that
// some of it has stayed there. Where it cannot be sent from there, now or ever, it is copied.
func (s *Socket) writeTube(from *Loop, tube *poll.Tube) (held bool, err error) {
	s.mu.Lock()
	o := &s.out
	n := tube.Held()
	if err := s.writeError(false); err != nil { // it was read already
		s.mu.Unlock()
		from.ready.discard(from, tube)
		return false, err
	}
	if o.queued == 0 {
		s.noteSent()
	}
	t, kernel := s.tr.(*pollTransport)
	o.accepted += int64(n)
	o.own()
	if !kernel || !s.open() || o.queued > 0 || !t.mayWrite() {
		p := tube.Pour()
		from.ready.keep(from, tube)
		o.queued += len(p)
		o.add(p)
		if s.open() {
			err = s.flushLocked()
		}
	} else {
		o.queued, o.tube, o.tubeFrom, o.deferAt = n, tube, from, o.accepted
		err = s.afterWriting(s.tr.tryWrite())
	}
	if err != nil {
		s.leave(err)
		return false, nil // its events tell
	}
	held = o.tube != nil
	o.tubed = o.tubed || held
	if o.queued > 0 && o.queued >= s.highWaterMark() {
		o.needDrain = true
	}
	s.mu.Unlock()
	return held, nil
}

// room is what the source of a Pipe asks: NeedDrain, and whether tubes are taken.
func (s *Socket) room() (full, tubes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, tubes = s.tr.(*pollTransport)
	return s.needsDrain(), tubes
}

// tubed reports whether a tube is still to be emptied.
func (s *Socket) tubed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.tubed
}

// writeTube empties the queue's tube, as far as there is room. s.mu is held.
func (t *pollTransport) writeTube(c *poll.Call) (moved bool, err error) {
	o := &t.s.out
	n, err := c.Drain(t.raw, o.tube)
	if n > 0 {
		moved = true
		o.took(t.s, n)
	}
	if o.tube.Held() == 0 {
		o.tubeFrom.ready.keep(o.tubeFrom, o.tube)
		o.tube, o.tubeFrom = nil, nil
		o.completed(t.s)
	}
	return moved, err
}

// pour puts what is in the queue's tube before what is queued, for a transport that knows no tubes.
func (o *outbound) pour() {
	if o.tube == nil {
		return
	}
	p := o.tube.Pour()
	o.tubeFrom.ready.keep(o.tubeFrom, o.tube)
	o.tube, o.tubeFrom = nil, nil
	rest := o.queue
	o.queue = fifo[*[]byte]{}
	o.queue.push(&p)
	for rest.len() > 0 {
		o.queue.push(rest.pop())
	}
}

// tube lends an empty tube, nil if there is none to be had. l.mu is not held.
func (r *readiness) tube(l *Loop) *poll.Tube {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.lent == maxLent {
		return nil
	}
	r.lent++
	if n := len(r.tubes); n > 0 {
		tube := r.tubes[n-1]
		r.tubes = r.tubes[:n-1]
		return tube
	}
	tube, err := poll.NewTube()
	if err != nil {
		r.lent--
		return nil
	}
	return tube
}

// discard takes a tube back with what is in it.
func (r *readiness) discard(l *Loop, tube *poll.Tube) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.lent--
	tube.Close()
}

// keep takes an empty tube back.
func (r *readiness) keep(l *Loop, tube *poll.Tube) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.lent--
	if !l.running || len(r.tubes) == maxTubes {
		tube.Close()
		return
	}
	r.tubes = append(r.tubes, tube)
}
