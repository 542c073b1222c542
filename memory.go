package evnet

import (
	"maps"
	"net"
	"sync"
	"time"
)

// Limits of the memory that peers can make a loop use: data queued for peers that do not read, and data received and not
// delivered. MaxWriteBuffer limits one socket; the limit here applies to all sockets of a loop together.

const (
	defaultMaxBuffered = 256 << 20

	// callbackSize is about the memory of a callback that is pending until its write is done. It counts like queued
	// bytes, since the callback of an empty write is pending too.
	callbackSize = 64

	// crowdedTime is how long a socket above its share of a crowded loop is held back before it is destroyed.
	crowdedTime = 30 * time.Second

	// minRead is the read size for a socket whose share is less.
	minRead = 4 << 10
)

// SetMaxBuffered sets how many bytes all sockets of the loop together may buffer: bytes queued to be
// sent, bytes received and not delivered, and 64 bytes for each pending callback of a write. 0 means
// the default of 256 MiB, a negative n no limit. Datagram sockets of the loop count too. Any goroutine
// may call it at any time.
//
// A socket's fair share is a quarter of the limit, divided by the number of open sockets of the loop.
// Sockets that buffer less are not affected. The others are held back in steps:
//
//   - From half of the limit on, a socket above its share is not read from, its buffered data is not
//     delivered, and its high-water mark is its share: NeedDrain, Pipe, Relay, ReadFrom and Produce
//     hold its sources back.
//
//   - From three quarters on, a Write to a socket above its share fails with ErrWriteBufferFull.
//
//   - A socket that stays above its share for 30 seconds, while the loop buffers that much, is
//     destroyed with an error that is ErrMaxBuffered.
//
// So the total stays below the limit plus one Write or read for each socket, and peers that never read
// cannot hold the others back permanently. A socket continues by itself once it, or the loop, buffers
// less.
//
// Node has no such limit.
func (l *Loop) SetMaxBuffered(n int64) {
	if n == 0 {
		n = defaultMaxBuffered
	}
	l.core().SetMaxBuffered(n)
	l.core().Event(l.resumeCrowded)
}

// MaxBuffered returns the limit that SetMaxBuffered has set: 256 MiB by default, negative if there is none.
func (l *Loop) MaxBuffered() int64 { return l.core().MaxBuffered() }

// Buffered returns how many bytes the sockets of the loop buffer now, as SetMaxBuffered counts them.
// Bytes that the running callback has written count once it has returned. Any goroutine may call it.
//
// Node: the sum of the writableLength and readableLength of all sockets.
func (l *Loop) Buffered() int64 { return l.core().Buffered() }

// readSize returns the maximum size of one read.
func (l *Loop) readSize() int {
	if core := l.core(); core.IsCrowded(2) {
		return min(max(core.Share(), minRead), maxChunk)
	}
	return maxChunk
}

// crowd is the set of the sockets of a loop that are held back because the loop buffers too much. Any goroutine may use
// it.
type crowd struct {
	mu      sync.Mutex            // guards the fields below; taken after the mu of a socket
	sockets map[*Socket]time.Time // when each was added
	timer   *time.Timer           // calls evictCrowded; nil unless there are sockets
}

// add adds s. The timer calls evict when the first socket may have been held back for too long.
func (c *crowd) add(s *Socket, evict func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sockets == nil {
		c.sockets = map[*Socket]time.Time{}
	}
	c.sockets[s] = time.Now()
	c.startTimerLocked(evict)
}

// remove removes a socket that is no longer held back.
func (c *crowd) remove(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sockets, s)
	if len(c.sockets) == 0 && c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// all returns a copy of the set.
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

// resumeCrowded lets the sockets continue that are held back. It runs on the loop.
func (l *Loop) resumeCrowded() {
	for s := range l.host().crowd.all() {
		s.mu.Lock()
		s.uncrowdLocked()
		s.mu.Unlock()
	}
}

// evictCrowded destroys the sockets that were held back for crowdedTime, if the loop is still crowded. It runs on the
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

// crowdExpired is called when the timer of the crowd expires, on a goroutine of its own.
func (l *Loop) crowdExpired() { l.core().Event(l.evictCrowded) }

// bufferedLocked returns how many bytes s buffers, as of the last count. s.mu is held.
func (s *Socket) bufferedLocked() int { return s.in.counted + s.out.counted }

// countQueuedLocked updates the loop's total with the bytes queued to be sent and the pending callbacks. s.mu is held.
func (s *Socket) countQueuedLocked() {
	o := &s.out
	now := s.stream.Queued() + o.callbacks.Len()*callbackSize
	more := now - o.counted
	if more == 0 {
		return
	}
	o.own()
	o.counted = now
	s.loop().Count(more)
	s.uncrowdIfLowLocked(more)
}

// countReceivedLocked updates the loop's total with the bytes received and not delivered. s.mu is held.
func (s *Socket) countReceivedLocked() {
	in := &s.in
	if in.receiveBuffer == &emptyReceiveBuffer || s.destroyed {
		return
	}
	now := in.buffered()
	if more := now - in.counted; more != 0 {
		in.counted = now
		s.loop().Count(more)
		s.uncrowdIfLowLocked(more)
	}
}

// uncrowdIfLowLocked lets s continue if the last change, more, has reduced its buffered bytes to half of its share.
// s.mu is held.
func (s *Socket) uncrowdIfLowLocked(more int) {
	if more < 0 && s.in.crowded && s.bufferedLocked() <= s.loop().Share()/2 {
		s.uncrowdLocked()
	}
}

// crowdLocked holds s back if the loop is crowded and s buffers more than its share. s.mu is held.
func (s *Socket) crowdLocked() {
	l := s.set.Loop
	if s.in.crowded || s.destroyed || !l.core().IsCrowded(2) {
		return
	}
	s.countQueuedLocked()
	s.countReceivedLocked()
	if s.bufferedLocked() <= l.core().Share() {
		return
	}
	s.in.own()
	s.in.crowded = true
	l.host().crowd.add(s, l.crowdExpired)
	l.core().AwaitRoom()
	if !l.core().IsCrowded(2) { // there was room already when the loop began to wait for it
		l.core().Event(l.resumeCrowded)
	}
}

// uncrowdLocked undoes crowdLocked. If s still buffers too much, flow holds it back again. s.mu is held.
func (s *Socket) uncrowdLocked() {
	if !s.in.crowded {
		return
	}
	s.in.crowded = false
	s.set.Loop.host().crowd.remove(s)
	s.scheduleFlowLocked()
}

// highWaterMarkLocked returns SocketOptions.HighWaterMark, or the share of s if that is less and the loop is crowded. s.mu is
// held.
func (s *Socket) highWaterMarkLocked() int {
	if l := s.set.Loop; l.core().IsCrowded(2) {
		return min(s.set.HighWaterMark, l.core().Share())
	}
	return s.set.HighWaterMark
}

// fullLocked reports whether no more may be queued: MaxWriteBuffer is reached, or the loop has no room. s.mu is held.
func (s *Socket) fullLocked() bool {
	o := &s.out
	queued := s.stream.Queued() + o.callbacks.Len()*callbackSize
	if s.set.MaxWriteBuffer >= 0 && queued >= s.set.MaxWriteBuffer {
		return true
	}
	l := s.set.Loop
	return queued > 0 && l.core().IsCrowded(3) && queued+s.in.counted > l.core().Share()
}

// uncountLocked subtracts what s, which is destroyed, buffers from the loop's total, except the callbacks that are still to
// run. s.mu is held.
func (s *Socket) uncountLocked() {
	s.countQueuedLocked()
	if s.in.receiveBuffer != &emptyReceiveBuffer && s.in.counted > 0 {
		s.loop().Count(-s.in.counted)
		s.in.counted = 0
	}
	s.uncrowdLocked()
}

// A turn of the loop is limited in bytes. The following also limits its duration, because one chunk of 64 KiB may
// contain 65,536 tokens.

const (
	// roundTime is about the time in one turn for all sockets together that have more work than their share.
	roundTime = 20 * time.Millisecond
	// maxShare is the share of the only busy socket. minShare is the share of one among many: with less, the loop would
	// spend most of its time on switching between sockets.
	maxShare = time.Millisecond
	minShare = 50 * time.Microsecond

	freeCalls    = 8  // the weight of calls before the clock is first read: so few callbacks are not worth it
	maxFreeCalls = 64 // the maximum weight of calls between two readings of the clock

	// maxCalls is the maximum weight of calls in one turn, like the limit of posted functions. Such calls take less
	// than a share of time, unless the clock is coarse or, as in a bubble of testing/synctest, does not advance.
	maxCalls = 4096

	// Weights of a callback: one that gets a token or the result of a write, and one that gets a whole chunk.
	lightCall = 1
	heavyCall = 8
)

// budget counts and times the callbacks that a socket runs in one turn of its loop. It belongs to the loop.
type budget struct {
	turn  uint32 // the turn of the loop that the other fields are of
	calls int32  // their weight
	next  int32  // the weight at which the clock is read again
	began time.Duration
}

// spend counts one callback, with its weight, and reports whether the socket has used its share of the turn.
func (b *budget) spend(l *Loop, weight int32) bool {
	if b.turn != l.core().Turn() {
		*b = budget{turn: l.core().Turn(), next: freeCalls}
	}
	switch b.calls += weight; {
	case b.calls < b.next:
		return false
	case b.calls >= maxCalls:
		return true
	}
	now := time.Since(processStart)
	if b.began == 0 {
		b.began = now
	}
	b.next = b.calls + min(b.calls+1, maxFreeCalls)
	return now-b.began > max(min(roundTime/time.Duration(1+l.core().Yielded()), maxShare), minShare)
}

// processStart allows reading the monotonic clock with a single call, time.Since.
var processStart = time.Now()

// yieldFlowLocked defers the delivery of the rest of the buffered data to the next turn. s.mu is held.
func (s *Socket) yieldFlowLocked() {
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
