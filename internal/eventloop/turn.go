package eventloop

import (
	"context"
	"time"

	"evnet/internal/netpoll"
)

// What a loop does next: posted functions, ready sources, events, ends of handles, and waiting.

// maxPosted limits the posted functions that run while events wait: a function that posts itself forever must not
// starve the sources.
const maxPosted = 4096

// task is a source that is ready, or a function in the form of one.
type task struct {
	source Source
	events Events
}

func (t task) none() bool { return t.source == nil }

// taskFunc is a function as a Source. The conversion does not allocate.
type taskFunc func()

func (f taskFunc) Ready(Events) { f() }
func (taskFunc) Halt()          {}

func funcTask(fn func()) task { return task{source: taskFunc(fn)} }

// step is what the runner does next, without the lock.
type step uint8

const (
	runTask    step = iota // run round.task
	pollReady              // look for ready sources in round.set
	waitReady              // wait for ready sources in round.set, or for a wake-up
	waitWakeup             // wait for a wake-up
	backOff                // pause
	haltAll                // halt round.open
	leave                  // nothing is left to do
)

// round is the state of one call of next.
type round struct {
	serve bool // go on while nothing is open
	ended bool // the context has

	phase  phase
	polled bool // since this round began: a turn has begun

	// Of the last step.
	task  task
	set   *netpoll.Poller
	found int // events in set
	open  []Handle
}

// phase is where decideLocked continues.
type phase uint8

const (
	beginRound phase = iota // has the context ended?
	checkGrace              // has a callback that goes on forever had its time?
	takeTask                // the next one, in order of precedence
	beginTurn               // ready sources have been looked for
	checkRefs               // there is no task: is anything referenced left?
	checkEnd                // is nothing left?
	checkIdle               // wait
	wokenUp                 // the wait has ended
)

// next waits for the next task. It returns none when the loop is to be left.
func (l *Loop) next(ctx context.Context, serve bool) task {
	if !l.hasPosted.Load() {
		if t := l.poll.pop(); !t.none() {
			l.ran = 0
			return t
		}
	}
	r := round{serve: serve}
	for {
		r.ended = ctx.Err() != nil
		l.mu.Lock()
		s := l.decideLocked(&r)
		l.mu.Unlock()
		switch s {
		case runTask:
			return r.task
		case pollReady:
			r.found = r.set.PollBusy()
		case waitReady:
			r.found = r.set.Wait()
		case waitWakeup:
			<-l.wakeup
		case backOff:
			time.Sleep(backOffTime)
		case haltAll:
			l.halt(r.open)
			r.open = nil
		case leave:
			return task{}
		}
	}
}

// decideLocked decides what the runner does next.
func (l *Loop) decideLocked(r *round) step {
	for {
		switch r.phase {
		case beginRound:
			r.phase = checkGrace
			if (r.ended || l.canceled) && !l.stopping {
				l.stopping = true
				r.open = l.handles.all()
				return haltAll
			}
		case checkGrace:
			if l.graceEndsLocked() {
				return leave
			}
			r.phase, r.polled = takeTask, false
		case takeTask:
			if r.task = l.takeLocked(r.polled); !r.task.none() {
				return runTask
			}
			if r.polled && l.posted.Len() == 0 {
				r.phase = checkRefs
				continue
			}
			r.polled = true
			l.turns++
			l.closes = -1
			r.phase = beginTurn
			if r.set = l.poll.inUse(); r.set != nil {
				return pollReady
			}
		case beginTurn:
			if r.set != nil {
				l.fillLocked(r.found)
			}
			l.turn = l.events.Len()
			r.phase = takeTask
		case checkRefs:
			r.phase = checkIdle
			if l.stopping || !r.serve && l.refs+l.externalRefs == 0 {
				r.phase = checkEnd
				if l.handles.len() > 0 {
					l.leaving = true // an unreferenced handle that opens again must not hold Run back
					r.open = l.handles.all()
					return haltAll
				}
			}
		case checkEnd:
			if l.idleLocked() && l.handles.len() == 0 && l.workers == 0 {
				return leave
			}
			r.phase = checkIdle
		case checkIdle:
			r.phase = beginRound
			if l.idleLocked() && (!r.ended && !l.canceled || l.stopping) {
				r.phase = wokenUp
				if r.set = l.poll.set; r.set != nil {
					l.asleep = onPoll
					return waitReady
				}
				l.asleep = onChannel
				return waitWakeup
			}
		case wokenUp:
			l.asleep = notAsleep
			r.phase = beginRound
			if r.set != nil && l.strayLocked(r.found) {
				return backOff
			}
		}
	}
}

// graceEndsLocked reports whether the loop is to be left although tasks are queued: nothing is open, and a callback
// that goes on forever must not hold the end back.
func (l *Loop) graceEndsLocked() bool {
	ending := l.stopping || l.leaving && l.refs+l.externalRefs == 0
	if !ending || l.handles.len() > 0 || l.workers > 0 {
		return false
	}
	if l.grace == 0 {
		l.grace = maxPosted + l.posted.Len() + l.events.Len() + l.closing.Len()
	}
	l.grace--
	return l.grace == 0
}

// takeLocked takes the next task of this turn in order of precedence, if there is one. turnBegan reports whether the
// turn began in this round.
func (l *Loop) takeLocked(turnBegan bool) task {
	alone := turnBegan && !l.poll.any() && l.turn == 0 && l.closing.Len() == 0
	if l.posted.Len() > 0 && (l.ran < maxPosted || alone) {
		if alone {
			l.ran = 0 // nothing else is waiting
		}
		l.ran++
		t := l.posted.Pop()
		l.hasPosted.Store(l.posted.Len() > 0)
		return t
	}
	if t := l.poll.pop(); !t.none() {
		l.ran = 0
		return t
	}
	if l.turn > 0 {
		l.ran = 0
		l.turn--
		return l.events.Pop()
	}
	if l.closes < 0 {
		l.closes = l.closing.Len() // with those that this turn's events have queued
	}
	if l.closes > 0 {
		l.ran = 0
		l.closes--
		return funcTask(l.closing.Pop())
	}
	return task{}
}

func (l *Loop) idleLocked() bool {
	return l.posted.Len()+l.events.Len()+l.closing.Len() == 0 && !l.poll.any()
}

// halt ends open handles, each in a task: a Halt may call a function of the program's, which may panic.
func (l *Loop) halt(open []Handle) {
	for _, h := range open {
		l.call(funcTask(h.Halt))
	}
	l.flush()
}

// flush ends a task: its writes leave, several writes of one flusher together.
func (l *Loop) flush() {
	for len(l.toFlush) > 0 {
		batch := l.toFlush
		l.toFlush = l.spare[:0]
		for _, f := range batch {
			f.Flush()
		}
		clear(batch)
		l.spare = batch
	}
	l.inTask = false
}
