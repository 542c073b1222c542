package evnet

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/transport"
)

// DefaultLoop is the loop of every socket and server whose options specify no other, and the loop that
// the function Run runs.
var DefaultLoop = NewLoop()

// Loop runs the callbacks of its sockets, servers and timers, one at a time. Each callback happens
// before the next, so that they need no locks among themselves. NewLoop makes a Loop; the zero value
// is not usable.
//
// Any goroutine and any callback may call the methods. A loop needs no closing: when Run or Serve has
// returned, it holds no goroutine, timer or descriptor, and it may be run again.
//
// Node: the event loop of the process.
type Loop eventloop.Loop

// NewLoop makes a loop. It does nothing until Run or Serve is called.
func NewLoop() *Loop {
	h := &loopHost{}
	l := (*Loop)(eventloop.New(h))
	h.loop = l
	l.core().SetMaxBuffered(defaultMaxBuffered)
	return l
}

// Run executes callbacks on the calling goroutine until nothing referenced is open and nothing is
// posted. Then it destroys everything that is open but not referenced, as happens when a Node process
// ends, and returns after the Close events.
//
// Any goroutine may call Run, but only one at a time. If the loop is running already, Run panics
// with ErrLoopRunning. Serve returns that error instead.
//
// A panic in a callback unwinds out of Run unless OnPanic is set. Run may be called again afterwards
// and continues with everything that is still open. A server of several loops cannot close before that.
func (l *Loop) Run() {
	if !l.core().Run() {
		panic(ErrLoopRunning)
	}
}

// Serve is Run for a program that a context ends: it continues until ctx ends, even if nothing is
// open. Then it destroys every socket, closes every server, stops every timer, emits the Close events
// and returns ctx.Err(). If the loop is running already it returns ErrLoopRunning. For a nil ctx it
// returns ErrNilArgument.
func (l *Loop) Serve(ctx context.Context) error {
	if ctx == nil {
		return nilArgument("Serve", "context")
	}
	if !l.core().Serve(ctx) {
		return ErrLoopRunning
	}
	return ctx.Err()
}

// Post runs fn on the loop, asynchronously: after the running callback, before the next I/O event.
// Functions run in the order of posting. A pending function keeps Run from returning. While Run or Serve is
// ending, that is limited, so that functions which post others endlessly cannot prevent it. A nil fn is logged and
// otherwise ignored.
//
// Node: process.nextTick.
func (l *Loop) Post(fn func()) {
	if fn == nil {
		slog.Warn(nilArgument("Loop.Post", "function").Error())
		return
	}
	l.core().Post(fn)
}

// Do runs fn on the loop and returns when fn has returned. Use it to set up sockets from another
// goroutine without missing an event. On the loop itself, and while the loop is not running, fn runs
// immediately on the caller's goroutine.
//
// In a callback of another loop, Do blocks that loop until fn returns. Two loops that call Do of each other
// at the same time deadlock: use Post there. A nil fn is logged and otherwise ignored.
func (l *Loop) Do(fn func()) {
	if fn == nil {
		slog.Warn(nilArgument("Loop.Do", "function").Error())
		return
	}
	l.core().Do(fn)
}

// OnPanic makes the loop contain panics of callbacks. The socket whose callback has panicked is
// destroyed with the PanicError, then fn is called on the loop. Everything else continues. A panic in
// fn unwinds out of Run. With nil, the default, panics unwind out of Run.
func (l *Loop) OnPanic(fn func(*PanicError)) {
	h := l.host()
	if fn == nil {
		h.onPanic.Store(nil)
		return
	}
	contain := func(err error) { fn(err.(*PanicError)) }
	h.onPanic.Store(&contain)
}

// Ref keeps Run going for work outside evnet, until Unref has been called as often as Ref.
func (l *Loop) Ref() { l.core().Ref() }

// Unref undoes one Ref. Without a Ref to undo it does nothing.
func (l *Loop) Unref() { l.core().Unref() }

// AfterFunc runs fn on the loop after d, and keeps Run going until then. Timers run in the
// order in which they are due, those due together in the order in which they were started. A
// negative d counts as 0. A nil fn is logged and never runs.
//
// Node: setTimeout.
func (l *Loop) AfterFunc(d time.Duration, fn func()) *Timer {
	if fn == nil {
		slog.Warn(nilArgument("Loop.AfterFunc", "function").Error())
	}
	return (*Timer)(l.core().AfterFunc(d, fn))
}

// Timer runs a function on a loop after a time. Loop.AfterFunc makes one. Every method may be
// called from any goroutine. A timer ends by running, by Stop, or when the loop ends.
//
// Node: Timeout.
type Timer eventloop.Timer

// Stop keeps the function from running and reports whether the timer was running.
//
// Node: clearTimeout.
func (t *Timer) Stop() bool { return (*eventloop.Timer)(t).Stop() }

// Reset starts the timer again, whether it has run or not, and reports whether it was running. On
// a loop that is stopping it stays stopped.
//
// Node: timeout.refresh.
func (t *Timer) Reset(d time.Duration) bool { return (*eventloop.Timer)(t).Reset(d) }

// Ref makes the timer keep Run going, as it does from the start.
//
// Node: timeout.ref.
func (t *Timer) Ref() { (*eventloop.Timer)(t).SetRef(true) }

// Unref lets Run return although the timer is still running.
//
// Node: timeout.unref.
func (t *Timer) Unref() { (*eventloop.Timer)(t).SetRef(false) }

// core returns the loop of package eventloop that l is.
func (l *Loop) core() *eventloop.Loop { return (*eventloop.Loop)(l) }

// host returns the state that package evnet keeps for the loop.
func (l *Loop) host() *loopHost { return l.core().Host().(*loopHost) }

// loopHost is the eventloop.Host of a Loop: the state that package evnet keeps for each loop.
type loopHost struct {
	loop     *Loop
	onPanic  atomic.Pointer[func(error)]
	tracer   atomic.Pointer[Tracer]
	crowd    crowd
	deferred deferredCalls // of Scan
	pipes    transport.SplicePipes
	run      runState
	linger   transport.Lingering // belongs to the loop's goroutine
}

func (h *loopHost) OnPanic() func(error) {
	if fn := h.onPanic.Load(); fn != nil {
		return *fn
	}
	return nil
}

func (h *loopHost) PanicError(value any, stack []byte) error {
	return &PanicError{Value: value, Stack: stack}
}

func (h *loopHost) SetRunning(running bool) {
	h.pipes.SetRunning(running)
	h.run.set(h.loop, running)
}

func (h *loopHost) RoomAvailable() { h.loop.resumeCrowded() }

func (h *loopHost) Tracing() bool { return h.tracer.Load() != nil }

func (h *loopHost) Trace(e eventloop.TraceEvent) {
	h.loop.trace(e.Source, TraceEvent{Name: Event(e.Name), Chunk: e.Chunk, From: e.From, Err: e.Err})
}
