package evnet

import (
	"container/heap"
	"log/slog"
	"time"
)

// Timer runs a function on a loop after a time. Make one with Loop.AfterFunc. Every method may be
// called from any goroutine. It ends by running, by Stop, or when the loop ends. Node: Timeout.
type Timer struct {
	loop *Loop
	fn   func()

	// Guarded by loop.mu.
	timer *time.Timer // nil unless running
	when  time.Time
	seq   uint64 // in order of starting
	index int    // in loop.timers
	unref bool
}

// AfterFunc runs fn on the loop once d has passed, and keeps Run going until then. Timers run in the
// order in which they are due, those due together in the order in which they were started. A
// negative d counts as 0. A nil fn is logged and never runs. Node: setTimeout.
func (l *Loop) AfterFunc(d time.Duration, fn func()) *Timer {
	t := &Timer{loop: l, fn: fn}
	if fn == nil {
		slog.Warn(nilArgument("Loop.AfterFunc", "function").Error())
		return t
	}
	t.Reset(d)
	return t
}

// Stop keeps fn from running and reports whether it was still going to. Node: clearTimeout.
func (t *Timer) Stop() bool {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	return t.stop()
}

// stop is Stop with loop.mu held.
func (t *Timer) stop() bool {
	if t.timer == nil {
		return false
	}
	t.timer.Stop()
	t.timer = nil
	heap.Remove(&t.loop.timers, t.index)
	t.loop.drop(t)
	return true
}

// Reset starts the timer again, whether it has run or not, and reports whether it was running. On
// a loop that is stopping it stays stopped. Node: timeout.refresh.
func (t *Timer) Reset(d time.Duration) bool {
	l := t.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	was := t.stop()
	if t.fn == nil || !l.enroll(t, !t.unref) {
		return was
	}
	l.timerSeq++
	t.when, t.seq = time.Now().Add(max(d, 0)), l.timerSeq
	heap.Push(&l.timers, t)
	t.timer = time.AfterFunc(d, func() { l.event(l.runTimer) })
	return was
}

// runTimer runs the first timer that is due: each one that expires sees to that once.
func (l *Loop) runTimer() {
	l.mu.Lock()
	if len(l.timers) == 0 || l.timers[0].when.After(time.Now()) {
		l.mu.Unlock()
		return
	}
	t := heap.Pop(&l.timers).(*Timer)
	t.timer = nil
	l.mu.Unlock()
	defer t.done() // even if fn panics
	t.fn()
}

// done lets Run return, unless fn has started the timer again.
func (t *Timer) done() {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	if t.timer == nil {
		t.loop.drop(t)
	}
}

// Ref makes the timer keep Run going, which it does from the start. Node: timeout.ref.
func (t *Timer) Ref() { t.setRef(true) }

// Unref lets Run return although the timer is still running. Node: timeout.unref.
func (t *Timer) Unref() { t.setRef(false) }

func (t *Timer) setRef(referenced bool) {
	t.loop.mu.Lock()
	defer t.loop.mu.Unlock()
	t.unref = !referenced
	t.loop.setRefLocked(t, referenced)
}

func (t *Timer) halt() { t.Stop() }

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
