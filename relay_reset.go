package evnet

import (
	"time"

	"evnet/internal/transport"
)

// A Relay resets a socket after the other one has failed. A reset discards what the peer has not received, which may be the
// answer of a server that has refused an upload.

const (
	resetCheck   = 5 * time.Millisecond
	resetStalled = 2 * time.Second // a peer that receives nothing for so long is reset
	resetLatest  = 30 * time.Second
)

// pendingReset is a reset that waits until the peer has received everything.
type pendingReset struct {
	s        *Socket
	timer    *time.Timer
	began    time.Time
	advanced time.Time // of the last progress
	seen     transport.Progress
}

// resetWhenSentLocked reports whether there are bytes that the peer has not received. The socket is then reset when it has,
// or when it receives nothing for too long. s.mu is held.
func (s *Socket) resetWhenSentLocked() bool {
	switch {
	case !s.stream.IsOpen() || s.handshake || s.stream.IsSent():
		return false
	case s.opt().resetting != nil:
		return true
	}
	now := time.Now()
	p := &pendingReset{s: s, began: now, advanced: now}
	p.seen, _ = s.stream.Progress()
	s.makeOpt().resetting = p
	p.timer = time.AfterFunc(resetCheck, func() { s.loop().Event(p.check) })
	return true
}

// check resets the socket if everything is sent. It runs on the loop.
func (p *pendingReset) check() {
	s := p.s
	s.mu.Lock()
	if s.opt().resetting != p {
		s.mu.Unlock()
		return
	}
	if s.in.mode != flowing && len(s.in.pipes) == 0 { // a peer that is still sending may not read
		s.in.mode = flowing
		s.scheduleFlowLocked()
	}
	now := time.Now()
	if seen, _ := s.stream.Progress(); seen != p.seen {
		p.seen, p.advanced = seen, now
	}
	var e *ending
	if s.stream.IsSent() || now.Sub(p.advanced) > resetStalled || now.Sub(p.began) > resetLatest {
		e = s.destroyLocked(nil, true)
	} else {
		p.timer.Reset(resetCheck)
	}
	s.mu.Unlock()
	e.run()
}
