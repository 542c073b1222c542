package eventloop

import (
	"container/heap"
	"time"
)

// Timer runs a function on a loop after a duration. AfterFunc makes one. It ends when it has run, by Stop, or with the
// loop.
type Timer struct {
	loop *Loop
	fn   func() // nil: it never runs

	// Guarded by loop.mu.
	member Member
	timer  *time.Timer // nil unless running
	when   time.Time
	seq    uint64 // the order in which timers were started
	index  int    // in loop.timers
	unref  bool
}

// AfterFunc runs fn on the loop after d, and keeps Run from returning until then. Timers run in the order in which they
// are due. Timers that are due at the same time run in the order in which they were started. With a nil fn, the timer
// never starts.
func (l *Loop) AfterFunc(d time.Duration, fn func()) *Timer {
	t := &Timer{loop: l, fn: fn}
	t.Reset(d)
	return t
}

// Stop prevents fn from running. It reports whether the timer was running.
func (t *Timer) Stop() bool {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	return t.stopLocked()
}

func (t *Timer) stopLocked() bool {
	if t.timer == nil {
		return false
	}
	t.timer.Stop()
	t.timer = nil
	heap.Remove(&t.loop.timers, t.index)
	t.loop.removeLocked(&t.member)
	return true
}

// Reset starts the timer again, whether it has run or not, and reports whether it was running. On a loop that is ending,
// the timer remains stopped.
func (t *Timer) Reset(d time.Duration) bool {
	l := t.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	was := t.stopLocked()
	if t.fn == nil || !l.addLocked((*timerHandle)(t), &t.member, !t.unref, 0) {
		return was
	}
	l.timerSeq++
	t.when, t.seq = time.Now().Add(max(d, 0)), l.timerSeq
	heap.Push(&l.timers, t)
	t.timer = time.AfterFunc(d, func() { l.Event(l.runTimer) })
	return was
}

// runTimer runs the first timer that is due. Each timer that expires queues it once.
func (l *Loop) runTimer() {
	l.mu.Lock()
	t := l.takeTimerLocked()
	l.mu.Unlock()
	if t != nil {
		defer t.ran() // even if fn panics
		t.fn()
	}
}

func (l *Loop) takeTimerLocked() *Timer {
	if len(l.timers) == 0 || l.timers[0].when.After(time.Now()) {
		return nil
	}
	t := heap.Pop(&l.timers).(*Timer)
	t.timer = nil
	return t
}

// ran lets Run return, unless fn has started the timer again.
func (t *Timer) ran() {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	if t.timer == nil {
		t.loop.removeLocked(&t.member)
	}
}

// SetRef changes whether the timer keeps Run from returning. A new timer does.
func (t *Timer) SetRef(isReferenced bool) {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	t.unref = !isReferenced
	t.loop.changeRefLocked(&t.member, isReferenced)
}

// timerHandle is a Timer in the form of a Handle.
type timerHandle Timer

func (h *timerHandle) Halt() { (*Timer)(h).Stop() }

// timerHeap has the timer that is due first at the front.
type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].when.Equal(h[j].when) {
		return h[i].seq < h[j].seq
	}
	return h[i].when.Before(h[j].when)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
