package evnet

import (
	"context"
	"runtime/debug"

	"evnet/internal/netpoll"
)

// What a loop does next: ticks, sockets that are ready, events, Close events, and sleep.

// maxTicks bounds how many posted tasks run before waiting I/O events get their turn: a callback
// that posts itself for ever must not starve the sockets, as process.nextTick does in Node.
const maxTicks = 4096

// task is what a loop does next: a function, or a kernel socket that is ready.
type task struct {
	fn   func()
	sock *Socket
	what netpoll.Events
}

func (t task) none() bool { return t.fn == nil && t.sock == nil }

// call runs one task. Emitters note whose callback they run in l.current: a socket whose callback
// panics is destroyed, for what was to follow the callback is lost.
func (l *Loop) call(t task) {
	l.current, l.inTask = nil, true
	returned := false
	defer func() {
		if returned {
			return
		}
		perr := &PanicError{Value: errUnwound, Socket: l.current}
		hook := l.onPanic.Load()
		var v any
		if hook != nil {
			v = recover() // nil when it is runtime.Goexit
		}
		if v != nil {
			perr.Value, perr.Stack = v, debug.Stack()
		}
		if perr.Socket != nil {
			perr.Socket.Destroy(perr)
			perr.Socket.owesCallbacks()
		}
		if g := l.guest; g != nil {
			l.guest = nil
			g.Panicked(perr)
		}
		if v != nil {
			(*hook)(perr)
		}
	}()
	if t.fn != nil {
		t.fn()
	} else {
		t.sock.ready(t.what)
	}
	returned = true
}

// next waits for the next task. It returns none when the loop is to be left.
func (l *Loop) next(ctx context.Context, serve bool) task {
	if !l.ticking.Load() {
		if t := l.ready.pop(); !t.none() {
			l.ran = 0
			return t
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if ctx.Err() != nil && !l.stopping {
			l.stopping = true
			l.haltAll()
		}
		if (l.stopping || l.leaving && l.refs+l.held == 0) && l.opened() == 0 && l.workers == 0 {
			// A callback that goes on for ever must not hold the end back.
			if l.grace == 0 {
				l.grace = maxTicks + l.ticks.Len() + l.events.Len() + l.closing.Len()
			}
			if l.grace--; l.grace == 0 {
				return task{}
			}
		}
		if t := l.pop(); !t.none() {
			return t
		}
		if l.stopping || !serve && l.refs+l.held == 0 {
			if l.opened() > 0 {
				l.leaving = true // an unreferenced socket that connects again must not hold Run back
				l.haltAll()
			}
			if l.idle() && l.opened() == 0 && l.workers == 0 {
				return task{}
			}
		}
		if l.idle() && (ctx.Err() == nil || l.stopping) { // it may have ended while l.mu was released
			l.sleep()
		}
	}
}

// pop takes the next task in order of precedence, if there is one. l.mu is held, and released while
// it looks which sockets are ready.
func (l *Loop) pop() task {
	for began := false; ; {
		alone := began && !l.ready.any() && l.turn == 0 && l.closing.Len() == 0
		if l.ticks.Len() > 0 && (l.ran < maxTicks || alone) {
			if alone {
				l.ran = 0 // the others had their turn
			}
			l.ran++
			fn := l.ticks.Pop()
			l.ticking.Store(l.ticks.Len() > 0)
			return task{fn: fn}
		}
		if t := l.ready.pop(); !t.none() {
			l.ran = 0
			return t
		}
		if l.turn > 0 {
			l.ran = 0
			l.turn--
			return task{fn: l.events.Pop()}
		}
		if l.closes < 0 {
			l.closes = l.closing.Len() // with those that this turn's events have queued
		}
		if l.closes > 0 {
			l.ran = 0
			l.closes--
			return task{fn: l.closing.Pop()}
		}
		if began && l.ticks.Len() == 0 {
			return task{}
		}
		began = true
		l.turns++
		l.closes = -1
		l.ready.look(l)
		l.turn = l.events.Len()
	}
}

func (l *Loop) idle() bool {
	return l.ticks.Len()+l.events.Len()+l.closing.Len() == 0 && !l.ready.any()
}

// sleep waits for work. l.mu is held, and released meanwhile.
func (l *Loop) sleep() {
	if l.ready.set != nil {
		l.asleep = onReadiness
		l.ready.wait(l)
	} else {
		l.asleep = onChannel
		l.mu.Unlock()
		<-l.wake
		l.mu.Lock()
	}
	l.asleep = notAsleep
}

// rouse wakes the loop. l.mu is held.
func (l *Loop) rouse() {
	switch l.asleep {
	case onChannel:
		select {
		case l.wake <- struct{}{}:
		default:
		}
	case onReadiness:
		l.ready.set.Wake()
	}
	l.asleep = notAsleep
}
