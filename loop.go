package evnet

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"evnet/internal/fifo"
	"evnet/internal/goid"
	"evnet/internal/ratelimit"
	"evnet/internal/seam"
)

// DefaultLoop is the loop of every socket and server that was not given another, and the one that
// the function Run runs.
var DefaultLoop = NewLoop()

// Loop runs the callbacks of its sockets, servers and timers, one at a time, each happening before
// the next, so that they need no locks among themselves.
//
// Every method may be called from any goroutine and from inside any callback. A loop needs no
// closing: when Run or Serve has returned, it holds no goroutine, timer or descriptor, and it may
// be run again. Node: the event loop of the process.
type Loop struct {
	mu sync.Mutex // guards the fields below it

	// Work, in order of precedence. A turn is what was in events and closing when it began.
	ticks   fifo.Queue[func()] // posted tasks and follow-ups: before the next event
	events  fifo.Queue[func()] // I/O and timers
	closing fifo.Queue[func()] // Close events: at the end of the turn
	turn    int                // events left in this turn
	closes  int                // closing left in this turn; -1: it is not their time yet
	ran     int                // ticks in a row; the owner's alone
	ticking atomic.Bool        // there are ticks

	ready   readiness // of kernel sockets, where there is epoll
	watches []*watch  // of guests

	timers   timerHeap
	timerSeq uint64
	deferred deferredCalls // of Scan

	// What keeps Run going.
	open    map[handle]bool // what else than sockets is open, and whether it is referenced
	sockets slots           // those that are open
	refs    int             // referenced ones of both
	held    int             // calls of Ref
	workers int             // goroutines that will still post

	// Who runs the loop.
	running  bool          // Run or Serve
	borrowed bool          // Do, on the caller's goroutine, while nobody runs the loop
	stopping bool          // Serve's context has ended: nothing new is taken
	leaving  bool          // nothing referenced is left: nothing new is taken that is not
	grace    int           // tasks that may still run when nothing is open any more; 0: not so far yet
	free     *sync.Cond    // signalled when running or borrowed becomes false
	left     chan struct{} // closed when running becomes false
	asleep   sleep
	wake     chan struct{}

	// Held back because the loop buffers too much, and since when.
	crowded    map[*Socket]time.Time
	crowdTimer *time.Timer // nil unless some are

	log ratelimit.Log // of records about sockets that no server has accepted, and those of package dgram

	// Not guarded by mu.
	buffered    atomic.Int64 // bytes, by all sockets
	maxBuffered atomic.Int64
	openSockets atomic.Int32
	anyCrowded  atomic.Bool // crowded is not empty

	owner   atomic.Uintptr // the goroutine, while running or borrowed; 0: nobody
	onPanic atomic.Pointer[func(*PanicError)]
	tracer  atomic.Pointer[Tracer]

	// Of the owner alone.
	inTask  bool        // a task is running
	dirty   []*Socket   // written to in the running task, to be flushed after it
	spare   []*Socket   // the other array of dirty
	turns   uint32      // that have begun
	yielded int         // sockets with more work than their share of a turn, which go on in the next
	current *Socket     // whose callback is running, for PanicError
	guest   seam.Handle // the same of another package
}

// sleep is how a loop waits.
type sleep uint8

const (
	notAsleep sleep = iota
	onChannel
	onReadiness
)

// NewLoop makes a loop. It does nothing until Run or Serve is called.
func NewLoop() *Loop {
	l := &Loop{open: make(map[handle]bool), closes: -1, wake: make(chan struct{}, 1), left: make(chan struct{})}
	l.free = sync.NewCond(&l.mu)
	l.maxBuffered.Store(defaultMaxBuffered)
	return l
}

// Run executes callbacks on the calling goroutine until nothing referenced is open and nothing is
// posted. What is open but not referenced is then destroyed, as it is when a Node process ends,
// with its Close events, before Run returns.
//
// Any goroutine may call it, but only one at a time: if the loop is running already, Run panics
// with ErrLoopRunning, for it has no result to return it in (Serve returns it). A panic in a
// callback unwinds out of Run unless OnPanic is set; Run may be called again afterwards, and what is
// still open closes then, also what a server of several loops waits for.
func (l *Loop) Run() {
	if err := l.run(context.Background(), false); err != nil {
		panic(err)
	}
}

// Serve is Run for a program that ends by a context: it goes on while nothing is open, until ctx
// ends; then it destroys every socket, closes every server, stops every timer, lets their Close
// events happen and returns ctx.Err(). If the loop is running already it returns ErrLoopRunning.
func (l *Loop) Serve(ctx context.Context) error {
	if ctx == nil {
		return nilArgument("Serve", "context")
	}
	if err := l.run(ctx, true); err != nil {
		return err
	}
	return ctx.Err()
}

// Post runs fn on the loop, soon: after the callback that is running, before the next I/O event.
// Functions run in the order of posting. A pending one keeps Run from returning, unless they go on
// for ever while Run or Serve is ending. A nil fn is
// logged and otherwise ignored. Node: process.nextTick.
func (l *Loop) Post(fn func()) {
	if fn == nil {
		slog.Warn(nilArgument("Loop.Post", "function").Error())
		return
	}
	l.tick(fn)
}

// Do runs fn on the loop and waits until it has returned. Use it to set sockets up from another
// goroutine without missing an event. On the loop itself, and while nobody runs the loop, fn runs
// at once on the caller's goroutine. In a callback of another loop it stops that one meanwhile, and two
// loops that call Do of each other at once wait for ever: use Post there. A nil fn is logged and otherwise
// ignored.
func (l *Loop) Do(fn func()) {
	if fn == nil {
		slog.Warn(nilArgument("Loop.Do", "function").Error())
		return
	}
	me := goid.Self()
	var claimed atomic.Bool // by the loop, or by us when it has stopped first
	done := make(chan struct{})
	task := func() {
		if claimed.CompareAndSwap(false, true) {
			defer close(done)
			fn()
		}
	}
	posted := false
	l.mu.Lock()
	for {
		switch {
		case l.owner.Load() == me:
			l.mu.Unlock()
			fn()
			return
		case l.borrowed:
			l.free.Wait()
		case l.running:
			left := l.left
			if !posted {
				posted = true
				l.pushTick(task)
			}
			l.mu.Unlock()
			select {
			case <-done:
				return
			case <-left:
			}
			l.mu.Lock()
		case claimed.Load(): // by a loop that a panic has stopped
			l.mu.Unlock()
			<-done
			return
		default:
			l.borrowed = true
			l.owner.Store(me)
			l.mu.Unlock()
			l.inTask = true
			defer l.giveBack()
			task()
			return
		}
	}
}

// giveBack ends a task that Do ran on its caller's goroutine.
func (l *Loop) giveBack() {
	l.flush()
	l.mu.Lock()
	l.borrowed = false
	l.owner.Store(0)
	l.free.Broadcast()
	l.mu.Unlock()
}

// OnPanic makes the loop contain panics of callbacks: the socket whose callback it was is
// destroyed with the PanicError, then fn is called, on the loop, and everything else goes on. A
// panic in fn unwinds out of Run. nil, the default, lets panics unwind out of Run.
func (l *Loop) OnPanic(fn func(*PanicError)) {
	if fn == nil {
		l.onPanic.Store(nil)
	} else {
		l.onPanic.Store(&fn)
	}
}

func (l *Loop) run(ctx context.Context, serve bool) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() {
			l.mu.Lock()
			l.rouse()
			l.mu.Unlock()
		})()
	}
	for {
		t := l.next(ctx, serve)
		if t.none() {
			return nil
		}
		l.call(t)
		l.flush()
	}
}

// enter makes the caller the one that runs the loop.
func (l *Loop) enter() error {
	me := goid.Self()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.borrowed && l.owner.Load() != me {
		l.free.Wait()
	}
	if l.running || l.borrowed {
		return ErrLoopRunning
	}
	l.running, l.stopping, l.leaving, l.grace = true, false, false, 0
	l.owner.Store(me)
	l.left = make(chan struct{})
	return nil
}

// leave runs also when a callback's panic unwinds: the loop must be fit to run again.
func (l *Loop) leave() {
	l.flush()
	l.mu.Lock()
	l.running, l.stopping, l.leaving = false, false, false
	l.owner.Store(0)
	l.ready.rest()
	close(l.left)
	l.free.Broadcast()
	l.mu.Unlock()
}

// flush ends a task: what it wrote to sockets leaves now, several writes together.
func (l *Loop) flush() {
	for len(l.dirty) > 0 {
		dirty := l.dirty
		l.dirty = l.spare[:0]
		for _, s := range dirty {
			s.flush()
		}
		clear(dirty)
		l.spare = dirty
	}
	l.inTask = false
}

// tick runs fn after the running task, before the next event.
func (l *Loop) tick(fn func()) {
	l.mu.Lock()
	l.pushTick(fn)
	l.mu.Unlock()
}

func (l *Loop) pushTick(fn func()) {
	l.ticks.Push(fn)
	l.ticking.Store(true)
	l.rouse()
}

// event runs fn in its turn among I/O and timers.
func (l *Loop) event(fn func()) {
	l.mu.Lock()
	l.events.Push(fn)
	l.rouse()
	l.mu.Unlock()
}

// close runs fn when the events of this turn and their ticks have run.
func (l *Loop) close(fn func()) {
	l.mu.Lock()
	l.closing.Push(fn)
	l.rouse()
	l.mu.Unlock()
}

// flushLater makes s be flushed after the running task. The caller is in it.
func (l *Loop) flushLater(s *Socket) { l.dirty = append(l.dirty, s) }

// inCallback reports whether the caller is in a task of the loop.
func (l *Loop) inCallback() bool { return l.here() && l.inTask }

// here reports whether the caller is on the loop.
func (l *Loop) here() bool { return l.owner.Load() == goid.Self() }
