package eventloop

import (
	"context"
	"sync/atomic"

	"evnet/internal/goid"
)

// Run runs tasks on the calling goroutine until no referenced handle is open and no task is queued. Then it halts the
// open handles that are not referenced, and runs the tasks that this causes. If the loop is already running, Run does
// nothing and returns false.
//
// A panic of a task that Host.OnPanic does not contain unwinds out of Run, which may be called again.
func (l *Loop) Run() bool { return l.run(context.Background(), false) }

// Serve is like Run, but it continues until ctx ends, even if nothing is open. Then it halts all handles.
func (l *Loop) Serve(ctx context.Context) bool { return l.run(ctx, true) }

func (l *Loop) run(ctx context.Context, serve bool) bool {
	left := l.enter()
	if left == nil {
		return false
	}
	defer l.leave()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { l.cancel(left) })()
	}
	for {
		t := l.next(ctx, serve)
		if t.none() {
			return true
		}
		l.call(t)
		l.flush()
	}
}

// RunObserved is like Run, but calls observe before each call of Source.Ready. Tests use it to count these calls.
func (l *Loop) RunObserved(observe func(Source)) bool {
	if l.enter() == nil {
		return false
	}
	defer l.leave()
	for {
		t := l.next(context.Background(), false)
		if t.none() {
			return true
		}
		if _, isFunc := t.source.(taskFunc); !isFunc {
			observe(t.source)
		}
		l.call(t)
		l.flush()
	}
}

// enter makes the caller the runner of the loop. It returns the channel that leave closes, or nil if the loop already has
// a runner.
func (l *Loop) enter() chan struct{} {
	l.mu.Lock()
	left := l.enterLocked()
	l.mu.Unlock()
	if left != nil {
		l.host.SetRunning(true)
	}
	return left
}

// enterLocked waits while another goroutine has borrowed the loop.
func (l *Loop) enterLocked() chan struct{} {
	me := goid.Self()
	for l.borrowed && l.runner.Load() != me {
		l.free.Wait()
	}
	if l.running || l.borrowed {
		return nil
	}
	l.running, l.canceled, l.stopping, l.leaving, l.grace = true, false, false, false, 0
	l.runner.Store(me)
	l.left = make(chan struct{})
	return l.left
}

// cancel wakes the loop because the context of a Serve has ended. left identifies that Serve.
func (l *Loop) cancel(left chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left == left {
		l.canceled = true
		l.wakeLocked()
	}
}

// leave ends Run. It also runs when a panic of a task unwinds, so that the loop can run again.
func (l *Loop) leave() {
	l.flush()
	l.host.SetRunning(false)
	l.mu.Lock()
	l.running, l.stopping, l.leaving = false, false, false
	l.runner.Store(0)
	l.poll.releaseLocked()
	close(l.left)
	l.free.Broadcast()
	l.mu.Unlock()
}

// Do runs fn on the loop and returns when fn has returned. If the caller is on the loop, or the loop is not running, fn
// runs on the caller's goroutine.
func (l *Loop) Do(fn func()) {
	c := doCall{me: goid.Self(), fn: fn, done: make(chan struct{})}
	for {
		l.mu.Lock()
		how := l.tryDoLocked(&c)
		left := l.left
		l.mu.Unlock()
		switch how {
		case doHere:
			fn()
			return
		case doBorrowed:
			l.inTask = true
			defer l.endBorrow()
			c.run()
			return
		case doWait:
			<-c.done
			return
		case doPosted:
			select {
			case <-c.done:
				return
			case <-left: // the loop ended before it ran c: retry
			}
		}
	}
}

// doCall is one call of Do.
type doCall struct {
	me      uintptr
	fn      func()
	claimed atomic.Bool // by the loop, or by the caller if the loop has stopped before
	posted  bool
	done    chan struct{}
}

func (c *doCall) run() {
	if c.claimed.CompareAndSwap(false, true) {
		defer close(c.done)
		c.fn()
	}
}

// doStep is the next step of Do, without the lock.
type doStep uint8

const (
	doHere     doStep = iota // the caller is on the loop
	doPosted                 // wait for the loop, or for its end
	doWait                   // the loop has begun the call: wait for it
	doBorrowed               // the caller is the runner now
)

// tryDoLocked waits while another goroutine has borrowed the loop.
func (l *Loop) tryDoLocked(c *doCall) doStep {
	for l.borrowed && l.runner.Load() != c.me {
		l.free.Wait()
	}
	switch {
	case l.runner.Load() == c.me:
		return doHere
	case l.running:
		if !c.posted {
			c.posted = true
			l.postLocked(funcTask(c.run))
		}
		return doPosted
	case c.claimed.Load(): // by a loop that a panic has stopped
		return doWait
	}
	l.borrowed = true
	l.runner.Store(c.me)
	return doBorrowed
}

// endBorrow ends a task that Do has run on its caller's goroutine.
func (l *Loop) endBorrow() {
	l.flush()
	l.mu.Lock()
	l.borrowed = false
	l.runner.Store(0)
	l.free.Broadcast()
	l.mu.Unlock()
}
