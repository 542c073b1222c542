package evnet

import (
	"maps"
	"net"
	"sync"
	"time"
)

// The limit of the memory that peers can make a loop use: bytes queued for peers that do not read, and received bytes
// that are not delivered. MaxWriteBuffer limits one socket; here is the limit of all sockets of a loop.

const (
	defaultMaxBuffered = 256 << 20

	// callbackSize is the approximate cost of a pending write callback. It counts like queued bytes, since an empty
	// write may be pending too.
	callbackSize = 64

	// crowdedTime is the time that a socket above its share of a crowded loop is held back before it is destroyed.
	crowdedTime = 30 * time.Second

	// leastRead is the size of a read where the share of a socket is less.
	leastRead = 4 << 10
)

// SetMaxBuffered sets the limit of the bytes that all sockets of the loop together may buffer: queued bytes, received
// bytes that are not delivered, and 64 bytes for each pending write callback. 0 means the default of 256 MiB, a
// negative n no limit. Datagram sockets of the loop count too. Any goroutine may call it at any time.
//
// A socket's fair share is a quarter of the limit, divided by the number of open sockets of the loop. Sockets that
// buffer less are not affected. The others are held back in steps:
//
//   - From half of the limit on, a socket above its share is neither read from nor given its buffered data, and its
//     high-water mark is its share: NeedDrain, Pipe, Relay and ReadFrom hold its sources back.
//
//   - From three quarters on, a Write to a socket above its share fails with ErrWriteBufferFull.
//
//   - A socket that stays above its share for 30 seconds while the loop buffers so much is destroyed, with an error
//     that is ErrMaxBuffered.
//
// The total thus stays below the limit and one more Write or read for each socket, and peers that never read cannot
// hold the others back forever. A socket continues by itself once it, or the loop, buffers less.
//
// Node has no such limit.
func (l *Loop) SetMaxBuffered(n int64) {
	if n == 0 {
		n = defaultMaxBuffered
	}
	l.core().SetMaxBuffered(n)
	l.core().Event(l.resumeCrowded)
}

// MaxBuffered returns the limit that SetMaxBuffered has set: 256 MiB by default, negative for none.
func (l *Loop) MaxBuffered() int64 { return l.core().MaxBuffered() }

// Buffered returns the bytes that the sockets of the loop buffer now, as SetMaxBuffered counts them. Writes of the
// running callback count once it has returned. Any goroutine may call it.
//
// Node: the sum of writableLength and readableLength of all sockets.
func (l *Loop) Buffered() int64 { return l.core().Buffered() }

// readSize returns the size of one read.
func (l *Loop) readSize() int {
	if core := l.core(); core.IsCrowded(2) {
		return min(max(core.Share(), leastRead), maxChunk)
	}
	return maxChunk
}

// crowd has the sockets of a loop that are held back because the loop buffers too much. Any goroutine may use it.
type crowd struct {
	mu      sync.Mutex            // guards the fields below; taken after that of a socket
	sockets map[*Socket]time.Time // since when
	timer   *time.Timer           // calls evictCrowded; nil unless there are sockets
}

// add enters s. evict is queued on the loop when the first socket may have been held back for too long.
func (c *crowd) add(s *Socket, evict func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sockets == nil {
		c.sockets = map[*Socket]time.Time{}
	}
	c.sockets[s] = time.Now()
	c.startTimerLocked(evict)
}

// remove forgets a socket that is not held back any more.
func (c *crowd) remove(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sockets, s)
	if len(c.sockets) == 0 && c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// all returns a copy of the sockets and times.
func (c *crowd) all() map[*Socket]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.sockets)
}

// restartTimer starts the next period after the timer has expired.
func (c *crowd) restartTimer(evict func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	c.startTimerLocked(evict)
}

func (c *crowd) startTimerLocked(evict func()) {
	if c.timer == nil && len(c.sockets) > 0 {
		c.timer = time.AfterFunc(crowdedTime, evict)
	}
}

// resumeCrowded lets the sockets that are held back continue. It runs on the loop.
func (l *Loop) resumeCrowded() {
	for s := range l.host().crowd.all() {
		s.mu.Lock()
		s.relieve()
		s.mu.Unlock()
	}
}

// evictCrowded destroys the sockets that were held back for too long, if the loop is still crowded. It runs on the
// loop.
func (l *Loop) evictCrowded() {
	if !l.isCrowded(2) {
		l.resumeCrowded()
	}
	crowd := &l.host().crowd
	for s, since := range crowd.all() {
		if time.Since(since) < crowdedTime {
			continue
		}
		s.mu.Lock()
		crowded := s.in.crowded
		err := &net.OpError{Op: "buffer", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: ErrMaxBuffered}
		s.mu.Unlock()
		if crowded {
			s.Destroy(err)
		}
	}
	crowd.restartTimer(l.crowdExpired)
}

// crowdExpired is called by the timer of the crowd.
func (l *Loop) crowdExpired() { l.core().Event(l.evictCrowded) }

// buffers returns the bytes that s buffers, as counted last. s.mu is held.
func (s *Socket) buffers() int { return s.in.counted + s.out.counted }

// countQueued updates the count of queued bytes. s.mu is held.
func (s *Socket) countQueued() {
	o := &s.out
	if o.outbox == &emptyOutbox {
		return
	}
	now := o.queued + o.waiting.Len()*callbackSize
	if more := now - o.counted; more != 0 {
		o.counted = now
		s.set.Loop.count(more)
		s.eased(more)
	}
}

// countHeld updates the count of received bytes that are not delivered. s.mu is held.
func (s *Socket) countHeld() {
	in := &s.in
	if in.holding == &holdsNothing || s.destroyed {
		return
	}
	now := in.held()
	if more := now - in.counted; more != 0 {
		in.counted = now
		s.set.Loop.count(more)
		s.eased(more)
	}
}

// eased lets s continue if it buffers little enough now. s.mu is held.
func (s *Socket) eased(more int) {
	if more < 0 && s.in.crowded && s.buffers() <= s.set.Loop.share()/2 {
		s.relieve()
	}
}

// crowd holds s back if the loop is crowded, and s buffers more than its share. s.mu is held.
func (s *Socket) crowd() {
	l := s.set.Loop
	if s.in.crowded || s.destroyed || !l.isCrowded(2) {
		return
	}
	s.countQueued()
	s.countHeld()
	if s.buffers() <= l.share() {
		return
	}
	s.in.own()
	s.in.crowded = true
	l.host().crowd.add(s, l.crowdExpired)
	l.core().AwaitRoom()
	if !l.isCrowded(2) { // room was made meanwhile, before the loop awaited it
		l.event(l.resumeCrowded)
	}
}

// relieve undoes crowd. A cause that persists holds s back again. s.mu is held.
func (s *Socket) relieve() {
	if !s.in.crowded {
		return
	}
	s.in.crowded = false
	s.set.Loop.host().crowd.remove(s)
	s.scheduleFlow()
}

// highWaterMark returns that of the options, or s's share of a crowded loop. s.mu is held.
func (s *Socket) highWaterMark() int {
	if l := s.set.Loop; l.isCrowded(2) {
		return min(s.set.HighWaterMark, l.share())
	}
	return s.set.HighWaterMark
}

// full reports whether nothing more may be queued: MaxWriteBuffer is reached, or the loop has no room. s.mu is held.
func (s *Socket) full() bool {
	o := &s.out
	queued := o.queued + o.waiting.Len()*callbackSize
	if s.set.MaxWriteBuffer >= 0 && queued >= s.set.MaxWriteBuffer {
		return true
	}
	l := s.set.Loop
	return queued > 0 && l.isCrowded(3) && queued+s.in.counted > l.share()
}

// uncount subtracts what s buffers from the total, except the callbacks that are still to run. s is destroyed. s.mu is
// held.
func (s *Socket) uncount() {
	s.countQueued()
	if s.in.holding != &holdsNothing && s.in.counted > 0 {
		s.set.Loop.count(-s.in.counted)
		s.in.counted = 0
	}
	s.relieve()
}
