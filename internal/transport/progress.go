package transport

import (
	"net"

	"evnet/internal/netpoll"
)

// Progress is how far the bytes of a stream have got. It never returns to an earlier value.
type Progress struct {
	acked      int64  // bytes of the queue that the conn has taken
	passed     int64  // bytes of TLS that the conn under it has taken
	confirmed  uint64 // bytes that the peer has acknowledged, if the kernel reports that
	unconsumed int32  // bytes that the peer has not acknowledged or read, if the kernel reports that
}

// TrackProgress makes Progress look below conns of the program's own. It comes before bytes have waited for room.
func (s *Stream) TrackProgress() {
	if s.workers != nil {
		s.workers.findBelow = true
	}
}

// Progress returns how far the peer is now. idle reports that the peer has consumed everything that the kernel has: the
// program is late, not the peer.
func (s *Stream) Progress() (p Progress, idle bool) {
	p.acked = s.queue.acked
	if a := adapterOf(s.conn); a != nil {
		p.passed = a.passed.Load()
	}
	if c := kernelConnOf(s.conn); c != nil {
		p.confirmed, p.unconsumed = netpoll.Progress(c)
		return p, p.unconsumed == 0
	}
	if t := s.workers; t != nil && t.below != nil { // above it the bytes may wait for something else
		p.confirmed, p.unconsumed = netpoll.Progress(t.below)
	}
	return p, false
}

// lookBelow looks for a kernel conn under conns of the program's own. Their methods may block or panic: the writer
// calls it.
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
	}, func(error, bool) { // one that panics is not used: what it takes is seen
		t.owner.Mutex().Lock()
		t.below = below
		t.owner.Mutex().Unlock()
	})
}
