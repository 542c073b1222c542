package evnet

import (
	"sync"
	"sync/atomic"
	"syscall"

	"evnet/internal/fifo"
	"evnet/internal/netpoll"
)

// Pipe between two kernel sockets that nobody else listens to moves a stream through a tube, a pipe of
// the kernel. Small pieces are copied, which is as cheap for them.

const (
	bulk     = 16 << 10 // a chunk of this size starts the use of tubes
	trickle  = 4 << 10  // a tube with less than this ends it
	maxStuck = 16       // tubes of a loop that may wait for their destinations
	maxTubes = maxStuck + 1
)

// spliced is how many bytes left without being copied, for tests.
var spliced atomic.Int64

// throughTube returns the destination of the next chunk if that may go through a tube. s.mu is held.
func (t *pollTransport) throughTube() *pipe {
	s := t.s
	in := &s.in
	if !t.bulk || t.once || len(in.pipes) != 1 || in.pipes[0].sock == nil || !in.wanted() || in.held() > 0 ||
		in.onRead != nil || in.decoder != nil || s.set.Loop.tracing() || s.events.count(kindData) > 0 {
		return nil
	}
	return in.pipes[0]
}

// splice moves readable bytes into a tube and passes it to the destination. It reports false, and has no
// effect, if that is impossible. s.mu is held, and released if it reports true.
func (t *pollTransport) splice(l *pipe) bool {
	s := t.s
	pipes := &s.set.Loop.host().pipes
	if !l.tubes.Load() {
		return false
	}
	tube := pipes.take()
	if tube == nil {
		t.bulk = false
		return false
	}
	n, err := t.caller().Fill(t.raw, tube)
	if n == 0 {
		pipes.keep(tube)
		switch {
		case err == syscall.EINVAL:
			t.bulk = false // this kind of socket does not support it
			return false
		case err == nil:
			return false // the end or an urgent byte: read tells them apart
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

// writeTube is Write of the bytes in the tube, which the socket owns from then on. held reports whether
// some of them stay in the tube. They are copied to the queue where they cannot be sent from the tube,
// and where too many tubes wait already: a tube takes two descriptors, and a peer that does not read
// could hold it for as long as it likes.
func (s *Socket) writeTube(from *Loop, tube *netpoll.SplicePipe) (held bool, err error) {
	s.mu.Lock()
	o := &s.out
	n := tube.Len()
	if err := s.writeError(false); err != nil { // MaxWriteBuffer does not count: the bytes were read already
		s.mu.Unlock()
		from.host().pipes.discard(tube)
		return false, err
	}
	if o.queued == 0 {
		s.noteSent()
	}
	t, kernel := s.tr.(*pollTransport)
	o.accepted += int64(n)
	o.own()
	if !kernel || !s.open() || o.queued > 0 || !t.mayWrite() {
		p := tube.ReadAll()
		from.host().pipes.keep(tube)
		o.queued += len(p)
		o.add(p)
		if s.open() {
			err = s.flushLocked()
		}
	} else {
		o.queued, o.tube, o.tubeFrom, o.deferAt = n, tube, from, o.accepted
		err = s.afterWriting(s.tr.tryWrite())
		if o.tube != nil && from.host().pipes.areShort() {
			o.pour()
		}
	}
	if err != nil {
		e := s.writeFailedLocked(err)
		s.mu.Unlock()
		e.run()
		return false, nil // its events report it
	}
	held = o.tube != nil
	o.tubed = o.tubed || held
	if o.queued > 0 && o.queued >= s.highWaterMark() {
		o.needDrain = true
	}
	s.mu.Unlock()
	return held, nil
}

// room reports to the source of a Pipe: NeedDrain, and whether the socket accepts tubes.
func (s *Socket) room() (full, tubes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, tubes = s.tr.(*pollTransport)
	return s.needsDrain(), tubes
}

// tubed reports whether a tube with bytes in it waits to be sent.
func (s *Socket) tubed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.tubed
}

// writeTube sends the bytes of the queue's tube, as far as there is room. s.mu is held.
func (t *pollTransport) writeTube(c *netpoll.Call) (moved bool, err error) {
	o := &t.s.out
	n, err := c.Drain(t.raw, o.tube)
	if n > 0 {
		moved = true
		o.took(t.s, n)
	}
	if o.tube.Len() == 0 {
		o.tubeFrom.host().pipes.keep(o.tube)
		o.tube, o.tubeFrom = nil, nil
		o.completed(t.s)
	}
	return moved, err
}

// pour moves the bytes of the queue's tube to the front of the queue, and returns the tube to its loop.
func (o *outbound) pour() {
	if o.tube == nil {
		return
	}
	p := o.tube.ReadAll()
	o.tubeFrom.host().pipes.keep(o.tube)
	o.tube, o.tubeFrom = nil, nil
	rest := o.queue
	o.queue = fifo.Queue[*[]byte]{}
	o.queue.Push(&p)
	for rest.Len() > 0 {
		o.queue.Push(rest.Pop())
	}
}

// splicePipes are the tubes of a loop. Any goroutine may call the methods.
type splicePipes struct {
	mu      sync.Mutex
	running bool                  // empty tubes are kept
	idle    []*netpoll.SplicePipe // empty ones
	used    int                   // the others
}

// setRunning follows the begin and the end of Run: a loop that nobody runs keeps no tubes.
func (p *splicePipes) setRunning(running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
	if !running {
		for _, tube := range p.idle {
			tube.Close()
		}
		p.idle = nil
	}
}

// areShort reports whether more tubes than maxStuck are in use. One of maxTubes is thus always free for
// streams whose destinations have room.
func (p *splicePipes) areShort() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used > maxStuck
}

// take returns an empty tube, nil if there is none. keep or discard follows.
func (p *splicePipes) take() *netpoll.SplicePipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == maxTubes {
		return nil
	}
	if n := len(p.idle); n > 0 {
		tube := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.used++
		return tube
	}
	tube, err := netpoll.NewSplicePipe()
	if err != nil {
		return nil
	}
	p.used++
	return tube
}

// discard closes a tube that was in use, and its bytes are lost.
func (p *splicePipes) discard(tube *netpoll.SplicePipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	tube.Close()
}

// keep takes an empty tube back for later use.
func (p *splicePipes) keep(tube *netpoll.SplicePipe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	if !p.running {
		tube.Close()
		return
	}
	p.idle = append(p.idle, tube)
}
