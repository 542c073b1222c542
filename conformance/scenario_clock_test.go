package conformance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/scenario"
)

// The clock of a script. Kernel sockets use real time, and a busy machine may stall for longer than a script waits. So the
// script's clock advances in steps, which are turns of the loop, and a wait ends only when nothing is pending.

const (
	// ms is the duration of a millisecond of the scenarios.
	ms = 8 * time.Millisecond
	// relaxed is the factor by which ms is longer for scripts with timeouts, which the library measures in real time. The
	// short form first plays such a script without it. Only if the trace differs, as on a busy machine, is it played again.
	relaxed = 4
	// step is the number of milliseconds by which the clock advances, or more in a long wait. A stall of any length is one
	// step.
	step = 5
	// maxIdle is the number of steps without progress after which pending bytes are ignored. With the goroutine transport,
	// the scheduler may not run a goroutine for half a second while the clock advances.
	maxIdle = 25
)

// clock runs the waits of a script one after the other.
type clock struct {
	now      int
	waits    []wait // in the order in which they are due
	ticking  bool
	attempts map[any]bool // sockets that are connecting
	before   progress
	idle     int // steps without progress
	events   int
}

type wait struct {
	due int
	fn  func()
}

// progress is the progress of a player's connections.
type progress struct {
	events   int
	received int64
}

// after runs fn after n milliseconds.
func (p *player) after(n int, fn func()) {
	if p.realTime {
		// A timeout that was due before is emitted before, even if all timers are late.
		p.l.AfterFunc(time.Duration(n)*p.ms, func() { p.l.AfterFunc(p.ms, fn) })
		return
	}
	c := &p.clock
	due := c.now + n
	at, _ := slices.BinarySearchFunc(c.waits, due, func(w wait, due int) int { return w.due - due - 1 }) // after equal ones
	c.waits = slices.Insert(c.waits, at, wait{due, fn})
	p.tick()
}

// tick advances the clock by a step. If several waits are due, the effects of the first one end before the next one runs.
func (p *player) tick() {
	c := &p.clock
	if c.ticking || len(c.waits) == 0 {
		return
	}
	c.ticking = true
	left := c.waits[0].due - c.now
	if left <= 0 {
		left = step // overdue: check repeatedly
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

// quiet reports whether nothing is pending: no socket is connecting, and all written bytes were read. Bytes that are not
// read, or are lost, are ignored after a while.
func (p *player) quiet() bool {
	c := &p.clock
	now, written := progress{events: c.events}, int64(0)
	for o := range p.names {
		if s, ok := o.(*evnet.Socket); ok {
			now.received += s.BytesRead()
			written += s.BytesWritten()
		}
	}
	c.idle++
	if now != c.before {
		c.before, c.idle = now, 0
	}
	enough := 1
	if written != now.received {
		enough = maxIdle
	}
	return c.idle >= enough && len(c.attempts) == 0 && p.unaccepted == 0
}

// follow records that a socket starts to connect, or that its attempt has ended.
func (p *player) follow(emitter any, event string, args []any) {
	p.clock.events++
	switch event {
	case "connectionAttempt":
		if !strings.HasPrefix(args[0].(evnet.Attempt).Address, "127.0.0.3:") { // this address never answers
			p.clock.attempts[emitter] = true
		}
	case "connectionAttemptFailed", "ready", "close":
		delete(p.clock.attempts, emitter)
	}
}

// inTwoRounds plays the scripts with timeouts after all others. On a busy machine, a script that transfers megabytes can
// delay the process for seconds.
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
	t.Parallel() // the remaining scripts wait
	t.Run("timed", func(t *testing.T) { play(t, timed) })
}
