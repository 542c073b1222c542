package evnet

import (
	"maps"
	"net"
	"sync"
	"time"
)

// The memory that peers can make a loop hold: what is queued for those that do not read, and what was received and
// not delivered. MaxWriteBuffer bounds one socket; here is the bound of all sockets of a loop.

const (
	defaultMaxBuffered = 256 << 20

	// callbackSize is about what a callback costs that waits for its write. It counts like queued bytes, since an
	// empty write waits too.
	callbackSize = 64

	// crowdedTime is how long a socket above its share of a crowded loop is held back before it is destroyed.
	crowdedTime = 30 * time.Second

	// leastRead is what is read at least where the share of a socket is less.
	leastRead = 4 << 10
)

// SetMaxBuffered sets how many bytes all sockets of the loop together may buffer: what is queued to be sent, what
// was received and not delivered, and 64 bytes for each callback that waits for its write. 0 means the default of
// 256 MiB, a negative n no limit. Datagram sockets of the loop count too. Any goroutine may call it at any time.
//
// A socket's fair share is a quarter of the limit, divided by the number of open sockets of the loop. Sockets that
// hold less are not affected by any of this. The others are held back in steps:
//
//   - From half of the limit on, a socket above its share is neither read from nor given what it holds, and its
//     high-water mark is its share: NeedDrain, Pipe, Relay and ReadFrom hold its sources back.
//
//   - From three quarters on, a Write to a socket above its share fails with ErrWriteBufferFull.
//
//   - A socket that stays above its share for 30 seconds while the loop buffers so much is destroyed, with an error
//     that is ErrMaxBuffered.
//
// So the total stays below the limit and one more Write or read for each socket, and peers that never take what is
// queued for them cannot hold the others back for ever. A socket goes on by itself once it, or the loop, holds less.
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

// Buffered returns how many bytes the sockets of the loop buffer now, as SetMaxBuffered counts them. What the running
// callback has written counts once it has returned. Any goroutine may call it. Node: the writableLength and
// readableLength of all sockets together.
func (l *Loop) Buffered() int64 { return l.core().Buffered() }

// readSize is how much one read may take.
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

// resumeCrowded lets the sockets go on that were held back. It runs on the loop.
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
	if !l.core().IsCrowded(2) {
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

// buffers is how many bytes s buffers, as they were counted last. s.mu is held.
func (s *Socket) buffers() int { return s.in.counted + s.out.counted }

// countQueued counts what is queued. s.mu is held.
func (s *Socket) countQueued() {
	o := &s.out
	now := s.stream.Queued() + o.callbacks.Len()*callbackSize
	more := now - o.counted
	if more == 0 {
		return
	}
	o.own()
	o.counted = now
	s.loop().Count(more)
	s.eased(more)
}

// countReceived counts what was received and not delivered. s.mu is held.
func (s *Socket) countReceived() {
	in := &s.in
	if in.receiveBuffer == &emptyReceiveBuffer || s.destroyed {
		return
	}
	now := in.buffered()
	if more := now - in.counted; more != 0 {
		in.counted = now
		s.loop().Count(more)
		s.eased(more)
	}
}

// eased lets s go on if it holds little enough by now. s.mu is held.
func (s *Socket) eased(more int) {
	if more < 0 && s.in.crowded && s.buffers() <= s.loop().Share()/2 {
		s.relieve()
	}
}

// crowd holds s back if the loop is crowded, and s holds more than its share. s.mu is held.
func (s *Socket) crowd() {
	l := s.set.Loop
	if s.in.crowded || s.destroyed || !l.core().IsCrowded(2) {
		return
	}
	s.countQueued()
	s.countReceived()
	if s.buffers() <= l.core().Share() {
		return
	}
	s.in.own()
	s.in.crowded = true
	l.host().crowd.add(s, l.crowdExpired)
	l.core().AwaitRoom()
	if !l.core().IsCrowded(2) { // room was made meanwhile, before the loop awaited it
		l.core().Event(l.resumeCrowded)
	}
}

// relieve undoes crowd. What holds s back still does so again. s.mu is held.
func (s *Socket) relieve() {
	if !s.in.crowded {
		return
	}
	s.in.crowded = false
	s.set.Loop.host().crowd.remove(s)
	s.scheduleFlow()
}

// highWaterMark is that of the options, or s's share of a crowded loop. s.mu is held.
func (s *Socket) highWaterMark() int {
	if l := s.set.Loop; l.core().IsCrowded(2) {
		return min(s.set.HighWaterMark, l.core().Share())
	}
	return s.set.HighWaterMark
}

// full reports whether no more may be queued: MaxWriteBuffer is reached, or the loop has no room. s.mu is held.
func (s *Socket) full() bool {
	o := &s.out
	queued := s.stream.Queued() + o.callbacks.Len()*callbackSize
	if s.set.MaxWriteBuffer >= 0 && queued >= s.set.MaxWriteBuffer {
		return true
	}
	l := s.set.Loop
	return queued > 0 && l.core().IsCrowded(3) && queued+s.in.counted > l.core().Share()
}

// uncount takes what s buffers out of the total, except the callbacks that are still to run. s is destroyed. s.mu is
// held.
func (s *Socket) uncount() {
	s.countQueued()
	if s.in.receiveBuffer != &emptyReceiveBuffer && s.in.counted > 0 {
		s.loop().Count(-s.in.counted)
		s.in.counted = 0
	}
	s.relieve()
}

// A turn of the loop is bounded in bytes, and here in work: one chunk of 64 KiB may hold 65,536 tokens.

const (
	// roundTime is about what all sockets with more work than their share take together in one turn.
	roundTime = 20 * time.Millisecond
	// longestShare is for a socket that is alone, shortestShare for one among many: in less, a socket does little but
	// pass the turn on.
	longestShare  = time.Millisecond
	shortestShare = 50 * time.Microsecond

	freeCalls = 8  // so few callbacks are not worth a look at the clock
	mostCalls = 64 // without one

	// Weights of a callback: one that gets a token or the outcome of a write, and one that gets a whole chunk.
	lightCall = 1
	heavyCall = 8
)

// budget counts and times the callbacks that a socket runs in one turn of its loop. Only the loop's owner uses it.
type budget struct {
	turn  uint32 // of the loop, for which the rest counts
	calls int32
	next  int32 // the call at which the clock is looked at
	began time.Duration
}

// spend counts one callback, with its weight, and reports whether the socket has used its share of the turn.
func (b *budget) spend(l *Loop, weight int32) bool {
	if b.turn != l.core().Turn() {
		*b = budget{turn: l.core().Turn(), next: freeCalls}
	}
	if b.calls += weight; b.calls < b.next {
		return false
	}
	now := time.Since(processStart)
	if b.began == 0 {
		b.began = now
	}
	b.next = b.calls + min(b.calls+1, mostCalls)
	return now-b.began > max(min(roundTime/time.Duration(1+l.core().Yielded()), longestShare), shortestShare)
}

// processStart makes reading the monotonic clock one call.
var processStart = time.Now()

// yieldFlow leaves what is still held for the next turn. s.mu is held.
func (s *Socket) yieldFlow() {
	epoch := s.epoch
	s.in.yielded = true
	s.loop().Yield(func() {
		s.mu.Lock()
		if s.epoch == epoch {
			s.in.yielded = false
		}
		s.mu.Unlock()
		s.flow()
	})
}
