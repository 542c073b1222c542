package eventloop

import (
	"sync"
	"sync/atomic"
	"time"

	"evnet/internal/fifo"
	"evnet/internal/goid"
	"evnet/internal/ratelimit"
)

// Loop runs tasks one at a time. New makes one.
type Loop struct {
	mu sync.Mutex // guards the fields below it

	// Tasks, in order of precedence. A turn runs the tasks that were in events and closing when it began.
	posted    fifo.Queue[task]   // before the next event
	events    fifo.Queue[task]   // I/O and timers
	closing   fifo.Queue[func()] // ends of handles: at the end of the turn
	turn      int                // events left in this turn
	closes    int                // closing left in this turn; -1: its events have not run yet
	ran       int                // consecutive posted functions that have run; used by the runner only
	hasPosted atomic.Bool        // posted is not empty

	poll pollState

	timers   timerHeap
	timerSeq uint64

	// Reasons for Run not to return.
	handles      table
	contexts     table // a ContextWatch for each context of an object that need not be open
	refs         int   // open handles that are referenced
	externalRefs int   // calls of Ref
	workers      int   // goroutines that will post

	// The runner of the loop.
	running  bool          // Run or Serve runs the loop
	borrowed bool          // Do runs the loop on the caller's goroutine, without Run or Serve
	canceled bool          // the context of Serve has ended
	stopping bool          // the loop has handled canceled: no handle is added
	leaving  bool          // no referenced handle remains: no unreferenced handle is added
	grace    int           // tasks that may still run when nothing is open; 0: the limit is not set
	free     *sync.Cond    // signaled when running or borrowed becomes false
	left     chan struct{} // closed when running becomes false
	asleep   sleepState
	wakeup   chan struct{}

	host Host
	log  ratelimit.Log

	memory
	runner atomic.Uintptr // the goroutine, while running or borrowed; 0: none

	// Used by the runner only.
	owner   Owner     // its callback runs
	inTask  bool      // a task is running
	toFlush []Flusher // flushed after the running task
	spare   []Flusher // the other array of toFlush
	turns   uint32    // turns that have begun
	yielded int       // functions passed to Yield that have not run
}

// sleepState is how a loop waits.
type sleepState uint8

const (
	notAsleep sleepState = iota
	onChannel
	onPoll
)

// New makes a loop that belongs to host.
func New(host Host) *Loop {
	l := &Loop{host: host, closes: -1, wakeup: make(chan struct{}, 1), left: make(chan struct{})}
	l.free = sync.NewCond(&l.mu)
	return l
}

// Host returns the host that was passed to New.
func (l *Loop) Host() Host { return l.host }

// Log returns the rate limit of the log records that peers can cause, for all handles of the loop together.
func (l *Loop) Log() *ratelimit.Log { return &l.log }

// Post queues fn to run after the running task and all functions posted before, and before the next event.
func (l *Loop) Post(fn func()) { l.post(funcTask(fn)) }

// PostReady posts s.Ready(ev). It does not allocate.
func (l *Loop) PostReady(s Source, ev Events) { l.post(task{s, ev}) }

func (l *Loop) post(t task) {
	l.mu.Lock()
	l.postLocked(t)
	l.mu.Unlock()
}

func (l *Loop) postLocked(t task) {
	l.posted.Push(t)
	l.hasPosted.Store(true)
	l.wakeLocked()
}

// HasPosted reports whether posted functions are queued.
func (l *Loop) HasPosted() bool { return l.hasPosted.Load() }

// Event queues fn to run in order with I/O and timers.
func (l *Loop) Event(fn func()) { l.event(funcTask(fn)) }

// Notify queues s.Ready(ev) like Event. It does not allocate.
func (l *Loop) Notify(s Source, ev Events) { l.event(task{s, ev}) }

func (l *Loop) event(t task) {
	l.mu.Lock()
	l.events.Push(t)
	l.wakeLocked()
	l.mu.Unlock()
}

// AtTurnEnd queues fn to run after the events of this turn and the functions that they post.
func (l *Loop) AtTurnEnd(fn func()) {
	l.mu.Lock()
	l.closing.Push(fn)
	l.wakeLocked()
	l.mu.Unlock()
}

// Yield queues fn behind the pending events, so that it runs in the next turn. Call it on the loop only.
func (l *Loop) Yield(fn func()) {
	l.yielded++
	l.Event(func() {
		l.yielded--
		fn()
	})
}

// Yielded returns the number of functions that Yield has queued and that have not run. Call it on the loop only.
func (l *Loop) Yielded() int { return l.yielded }

// Turn returns the number of turns that have begun. Call it on the loop only.
func (l *Loop) Turn() uint32 { return l.turns }

// SetOwner sets the owner of the callbacks that the running task runs from now on, nil for none. Call it on the loop only.
func (l *Loop) SetOwner(o Owner) { l.owner = o }

// FlushLater flushes f after the running task. Call it on the loop only.
func (l *Loop) FlushLater(f Flusher) { l.toFlush = append(l.toFlush, f) }

// InTask reports whether the caller is in a task of the loop.
func (l *Loop) InTask() bool { return l.OnLoop() && l.inTask }

// OnLoop reports whether the caller is the goroutine that runs the loop.
func (l *Loop) OnLoop() bool { return l.runner.Load() == goid.Self() }

// wakeLocked wakes a waiting loop.
func (l *Loop) wakeLocked() {
	switch l.asleep {
	case onChannel:
		select {
		case l.wakeup <- struct{}{}:
		default:
		}
	case onPoll:
		l.poll.set.Wake()
	}
	l.asleep = notAsleep
}

// backOffTime is the pause of a loop after too many events without a source.
const backOffTime = time.Millisecond
