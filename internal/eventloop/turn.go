package eventloop

import (
	"context"
	"time"

	"evnet/internal/netpoll"
)

// The steps of a loop: posted functions, ready sources, events, ends of handles, and waiting.

// maxPosted limits the posted functions that run while events wait: a function that posts itself forever must not
// starve the sources.
const maxPosted = 4096

// task is a ready source, or a function in the form of a source.
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

// step is the next step of the runner, without the lock.
type step uint8

const (
	runTask     step = iota // run round.task
	pollReady               // poll round.set for ready sources
	waitReady               // wait for ready sources in round.set, or for a wake-up
	waitWakeup              // wait for a wake-up
	backOff                 // pause
	haltAll                 // halt round.open
	endContexts             // halt the watches in round.open whose contexts have ended
	leave                   // return from Run
)

// round is the state of one call of next.
type round struct {
	serve bool // continue while nothing is open
	ended bool // the context has ended

	phase  phase
	polled bool // since this round began, and so a turn has begun

	// Arguments and results of the last step.
	task  task
	set   *netpoll.Poller
	found int // events in set
	open  []Handle

	contextsChecked bool // by endContexts: none has ended
}

// phase is the point where decideLocked continues.
type phase uint8

const (
	beginRound phase = iota // has the context ended?
	checkGrace              // has a callback that posts itself forever used up its limit?
	takeTask                // take the next task, in order of precedence
	beginTurn               // the poll for ready sources is complete
	checkRefs               // there is no task: is a referenced handle open?
	checkEnd                // is everything closed?
	checkIdle               // wait
	wokenUp                 // the wait has ended
)

// next waits for the next task. It returns none when Run must return.
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
		case endContexts:
			r.open = endedContexts(r.open)
			r.contextsChecked = len(r.open) == 0
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
			r.phase, r.contextsChecked = checkGrace, false
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
					l.leaving = true // an unreferenced handle that opens again must not delay the end of Run
					r.open = l.handles.all()
					return haltAll
				}
			}
		case checkEnd:
			if l.idleLocked() && l.handles.len() == 0 && l.workers == 0 {
				if l.contexts.len() > 0 && !r.contextsChecked {
					r.open = l.contexts.all()
					return endContexts
				}
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

// graceEndsLocked reports whether Run must return although tasks are queued. Nothing is open, and a callback that posts
// itself forever must not delay the end.
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

// takeLocked takes the next task of this turn, in order of precedence, if there is one. turnBegan reports whether the turn
// began in this round.
func (l *Loop) takeLocked(turnBegan bool) task {
	alone := turnBegan && !l.poll.any() && l.turn == 0 && l.closing.Len() == 0
	if l.posted.Len() > 0 && (l.ran < maxPosted || alone) {
		if alone {
			l.ran = 0 // no other task is waiting
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
		l.closes = l.closing.Len() // includes the tasks that this turn's events have queued
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

// halt ends open handles, each in its own task, because Halt may call a user-provided function that panics.
func (l *Loop) halt(open []Handle) {
	for _, h := range open {
		l.call(funcTask(h.Halt))
	}
	l.flush()
}

// flush ends a task and sends its writes. Several writes of one flusher are sent together.
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
