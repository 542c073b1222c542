package conformance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/scenario"
)

// The time of a script. Sockets of the kernel live in real time, in which a busy machine may stand still for longer than a
// script waits. So the script's clock goes in steps that are turns of the loop, and a wait ends only when nothing is under way.

const (
	// ms is the millisecond of the scenarios, stretched.
	ms = 8 * time.Millisecond
	// unhurried is how many times longer it is where timeouts run, which the library measures in real time. The short form
	// first plays such a script without it: only a trace that differs then, as on a busy machine, is played again.
	unhurried = 4
	// step is how many of them the clock goes at once, or more on a long way: standing still for however long is one step.
	step = 5
	// patient is for how many steps nothing has to happen before bytes on their way are given up: where goroutines serve the
	// conns the scheduler may leave one of them out for half a second while the clock goes on.
	patient = 25
)

// clock runs the waits of a script, one after the other.
type clock struct {
	now      int
	waits    []wait // the first is due first
	ticking  bool
	attempts map[any]bool // sockets that are about to be connected
	before   progress
	still    int // steps without progress
	events   int
}

type wait struct {
	due int
	fn  func()
}

// progress is what a player sees of its connections.
type progress struct {
	events   int
	received int64
}

// after runs fn when so many milliseconds have passed.
func (p *player) after(n int, fn func()) {
	if p.realTime {
		// A timeout that was due before is told before, even if all timers come late.
		p.l.AfterFunc(time.Duration(n)*p.ms, func() { p.l.AfterFunc(p.ms, fn) })
		return
	}
	c := &p.clock
	due := c.now + n
	at, _ := slices.BinarySearchFunc(c.waits, due, func(w wait, due int) int { return w.due - due - 1 }) // behind its equals
	c.waits = slices.Insert(c.waits, at, wait{due, fn})
	p.tick()
}

// tick goes on by a step. When several waits are due, what the first has done comes to rest before the next.
func (p *player) tick() {
	c := &p.clock
	if c.ticking || len(c.waits) == 0 {
		return
	}
	c.ticking = true
	left := c.waits[0].due - c.now
	if left <= 0 {
		left = step // over time: it looks again and again
	}
	forward := min(left, max(step, left/4))
	p.l.AfterFunc(time.Duration(forward)*p.ms, func() {
		c.ticking = false
		c.now = min(c.now+forward, c.waits[0].due)
		if quiet := p.quiet(); p.over || quiet && c.now == c.waits[0].due {
			next := c.waits[0]
			c.waits = c.waits[1:]
			next.fn()
		}
		p.tick()
	})
}

// quiet reports whether nothing is under way: nobody is about to be connected, and what was written was read. What nobody
// reads, or is lost, stays where it is for a while.
func (p *player) quiet() bool {
	c := &p.clock
	now, written := progress{events: c.events}, int64(0)
	for o := range p.names {
		if s, ok := o.(*evnet.Socket); ok {
			now.received += s.BytesRead()
			written += s.BytesWritten()
		}
	}
	c.still++
	if now != c.before {
		c.before, c.still = now, 0
	}
	enough := 1
	if written != now.received {
		enough = patient
	}
	return c.still >= enough && len(c.attempts) == 0 && p.unaccepted == 0
}

// follow notes that a socket begins to be connected, or has ended doing so.
func (p *player) follow(emitter any, event string, args []any) {
	p.clock.events++
	switch event {
	case "connectionAttempt":
		if !strings.HasPrefix(args[0].(evnet.Attempt).Address, "127.0.0.3:") { // which never answers
			p.clock.attempts[emitter] = true
		}
	case "connectionAttemptFailed", "ready", "close":
		delete(p.clock.attempts, emitter)
	}
}

// inTwoRounds has the scripts with timeouts played after all others: one that moves megabytes can hold a process that gets
// little of a busy machine back for seconds.
func inTwoRounds(t *testing.T, scripts []*scenario.Script, play func(t *testing.T, scripts []*scenario.Script)) {
	var timed, untimed []*scenario.Script
	for _, s := range scripts {
		if s.Timed() {
			timed = append(timed, s)
		} else {
			untimed = append(untimed, s)
		}
	}
	t.Run("scenario", func(t *testing.T) { play(t, untimed) })
	t.Parallel() // what is left waits
	t.Run("timed", func(t *testing.T) { play(t, timed) })
}
