package evnet

import (
	"log/slog"
	"sync"
	"time"
)

// Timer runs a function on a loop after a time. Make one with Loop.AfterFunc. Every method may be
// called from any goroutine. It ends by running, by Stop, or when the loop ends. Node: Timeout.
type Timer struct {
	loop *Loop
	fn   func()

	mu    sync.Mutex // guards the fields below it
	timer *time.Timer
	round int // of Reset and Stop: an expiry of an earlier round counts no more
	unref bool
}

// AfterFunc runs fn on the loop once d has passed, and keeps Run going until then. A negative d
// counts as 0. A nil fn is logged and never runs. Node: setTimeout.
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
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop()
}

// stop is Stop with t.mu held.
func (t *Timer) stop() bool {
	t.round++
	if t.timer == nil {
		return false
	}
	t.timer.Stop()
	t.timer = nil
	t.loop.remove(t)
	return true
}

// Reset starts the timer again, whether it has run or not, and reports whether it was running. On
// a loop that is stopping it stays stopped. Node: timeout.refresh.
func (t *Timer) Reset(d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.stop()
	if t.fn == nil || !t.loop.add(t, !t.unref) {
		return was
	}
	round := t.round
	t.timer = time.AfterFunc(d, func() { t.loop.event(func() { t.expire(round) }) })
	return was
}

func (t *Timer) expire(round int) {
	t.mu.Lock()
	due := t.timer != nil && t.round == round
	if due {
		t.timer = nil
	}
	t.mu.Unlock()
	if due {
		defer t.done() // even if fn panics
		t.fn()
	}
}

// done lets Run return, unless fn has started the timer again.
func (t *Timer) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.loop.remove(t)
	}
}

// Ref makes the timer keep Run going, which it does from the start.
func (t *Timer) Ref() { t.setRef(true) }

// Unref lets Run return although the timer is still running.
func (t *Timer) Unref() { t.setRef(false) }

func (t *Timer) setRef(referenced bool) {
	t.mu.Lock()
	t.unref = !referenced
	t.mu.Unlock()
	t.loop.setRef(t, referenced)
}

func (t *Timer) halt() { t.Stop() }
