package transport

import (
	"net"

	"evnet/internal/netpoll"
)

// Progress measures how far the bytes of a stream have advanced. It never returns to an earlier value.
type Progress struct {
	acked      int64  // bytes of the queue that the conn has accepted
	passed     int64  // bytes that the conn below TLS has accepted
	confirmed  uint64 // bytes that the peer has acknowledged, if the kernel reports that
	unconsumed int32  // bytes that the peer has not acknowledged or read, if the kernel reports that
}

// TrackProgress makes Progress also use the kernel conn below a user-provided conn. Call it before any bytes are pending.
func (s *Stream) TrackProgress() {
	if s.workers != nil {
		s.workers.findBelow = true
	}
}

// Progress returns the current progress of the peer. idle reports that the peer has consumed everything that the kernel
// has. In that case, the program is late, not the peer.
func (s *Stream) Progress() (p Progress, idle bool) {
	p.acked = s.queue.acked
	if a := adapterOf(s.conn); a != nil {
		p.passed = a.wire.sent.Load()
	}
	if c := kernelConnOf(s.conn); c != nil {
		p.confirmed, p.unconsumed = netpoll.Progress(c)
		return p, p.unconsumed == 0
	}
	if t := s.workers; t != nil && t.below != nil { // in the conns above it, bytes may wait for another reason
		p.confirmed, p.unconsumed = netpoll.Progress(t.below)
	}
	return p, false
}

// IsSent reports whether nothing is queued and the peer has received everything, as far as the kernel knows that. It is true
// after StopWriting.
func (s *Stream) IsSent() bool {
	switch {
	case s.stopped:
		return true
	case s.queue.length() > 0:
		return false
	}
	c := kernelConnOf(s.conn)
	if c == nil {
		return true
	}
	_, unconsumed := netpoll.Progress(c)
	return unconsumed <= 0
}

// lookBelow looks for a kernel conn below user-provided conns. The writer calls it, because their methods may block or
// panic.
func (t *goroutine) lookBelow() {
	t.owner.Mutex().Lock()
	wanted := t.findBelow && kernelConnOf(t.conn) == nil
	t.owner.Mutex().Unlock()
	if !wanted {
		return
	}
	var below net.Conn
	contain(t.owner, func() error {
		if c := Lowest(t.conn); IsKernelConn(c) {
			below = c
		}
		return nil
	}, func(error, bool) { // after a panic, only the bytes that the conn accepts count
		t.owner.Mutex().Lock()
		t.below = below
		t.owner.Mutex().Unlock()
	})
}
