package evnet

import "time"

// deadline is the time until which a call may block. The socket's mu guards it.
type deadline struct {
	timer      *time.Timer
	generation int  // timers of earlier generations are ignored
	expired    bool // it has passed
}

// set calls onExpire at t, with s.mu held: immediately if t is in the past, never if t is the zero time. s.mu is held.
func (d *deadline) set(s *Socket, t time.Time, onExpire func()) {
	d.stop()
	d.expired = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.expired = true
		onExpire()
		return
	}
	generation := d.generation
	d.timer = time.AfterFunc(left, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.generation == generation {
			d.expired = true
			onExpire()
		}
	})
}

// stop stops the timer. A function that it has started already does nothing.
func (d *deadline) stop() {
	d.generation++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// isExpired reports whether the deadline has passed; d may be nil.
func (d *deadline) isExpired() bool { return d != nil && d.expired }
