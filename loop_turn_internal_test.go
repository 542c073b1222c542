package evnet

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// journal records what has run, in order.
type journal []string

func (j *journal) note(name string) func() { return func() { *j = append(*j, name) } }

func (j journal) String() string { return strings.Join(j, " ") }

// fakeHandle is an open handle whose Close is one task at the end of a turn.
type fakeHandle struct {
	l      *Loop
	halts  int
	closed func()
}

func (h *fakeHandle) halt() {
	h.halts++
	h.l.close(func() {
		if h.closed != nil {
			h.closed()
		}
		h.l.remove(h)
	})
}

func (h *fakeHandle) add(referenced bool) bool { return h.l.add(h, referenced) }

func TestTurn_PostedBeforeEventsBeforeClosing(t *testing.T) {
	l, got := NewLoop(), journal{}
	l.close(got.note("close"))
	l.event(func() {
		got.note("event1")()
		l.close(func() {
			got.note("close1")()
			l.tick(got.note("tick5"))
			l.close(got.note("close3"))
		})
		l.event(got.note("event3")) // in the next turn
		l.tick(func() {
			got.note("tick3")()
			l.tick(got.note("tick4"))
		})
	})
	l.event(func() {
		got.note("event2")()
		l.close(got.note("close2"))
	})
	l.tick(func() {
		got.note("tick1")()
		l.tick(got.note("tick2"))
	})
	l.Run()
	assert.Equal(t, "tick1 tick2 close event1 tick3 tick4 event2 close1 tick5 close2 event3 close3", got.String())
}

func TestTurn_EventWaitsForMaxTicksAtMost(t *testing.T) {
	l, ticks, ended := NewLoop(), 0, false
	var again func()
	again = func() {
		if ticks++; !ended {
			l.tick(again)
		}
	}
	l.tick(again)
	var at []int
	l.event(func() {
		at = append(at, ticks)
		l.close(func() { at = append(at, ticks); ended = true })
	})
	l.Run()
	require.Len(t, at, 2)
	assert.Equal(t, maxTicks, at[0])
	assert.Equal(t, 2*maxTicks, at[1], "an event lets as many run again")
}

func TestTurn_PostedAloneAreNotLimited(t *testing.T) {
	l, left := NewLoop(), 3*maxTicks
	var again func()
	again = func() {
		if left--; left > 0 {
			l.tick(again)
		}
	}
	l.tick(again)
	l.Run()
	assert.Zero(t, left)
}

// Once nothing is open, as many tasks run as are pending, and maxTicks more.
func TestGrace_EndsServeWhileACallbackPosts(t *testing.T) {
	for _, kind := range []string{"tick", "event", "close"} {
		t.Run(kind, func(t *testing.T) {
			l, ran := NewLoop(), 0
			push := map[string]func(func()){"tick": l.tick, "event": l.event, "close": l.close}[kind]
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var again func()
			again = func() { ran++; push(again) }
			push(again)
			push(again)
			assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
			assert.Equal(t, maxTicks+1, ran)
		})
	}
}

// Run without a context waits for a callback that goes on, unless it has halted something.
func TestGrace_BeginsWhenRunHasHalted(t *testing.T) {
	l, ran := NewLoop(), 0
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	h.closed = func() {
		var again func()
		again = func() { ran++; l.tick(again) }
		again()
	}
	l.Run()
	assert.Equal(t, 1, h.halts)
	assert.Equal(t, maxTicks+1, ran)
}

func TestGrace_IsTakenBackByAReference(t *testing.T) {
	l, ran := NewLoop(), 0
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	h.closed = func() {
		var again func()
		again = func() {
			switch ran++; ran {
			case maxTicks - 1:
				l.Ref()
				l.Unref()
				fallthrough
			default:
				l.tick(again)
			case 2*maxTicks - 10:
			}
		}
		again()
	}
	l.Run()
	assert.Equal(t, 2*maxTicks-10, ran)
}

func TestRun_HaltsWhatIsNotReferenced(t *testing.T) {
	l, got := NewLoop(), journal{}
	h, late, welcome := &fakeHandle{l: l}, &fakeHandle{l: l}, &fakeHandle{l: l}
	h.closed = func() {
		got.note("closed")()
		assert.False(t, late.add(false), "the loop is leaving")
		assert.True(t, welcome.add(true), "a reference takes that back")
		assert.True(t, late.add(false))
		l.event(func() { l.setRef(welcome, false) })
	}
	late.closed, welcome.closed = got.note("late"), got.note("welcome")
	require.True(t, h.add(false))
	l.tick(got.note("tick"))
	l.Run()
	assert.ElementsMatch(t, journal{"late", "welcome"}, got[2:])
	assert.Equal(t, journal{"tick", "closed"}, got[:2])
	assert.Equal(t, []int{1, 1, 1}, []int{h.halts, late.halts, welcome.halts})
}

func TestRun_WaitsForWhatIsReferenced(t *testing.T) {
	l, got := NewLoop(), journal{}
	h := &fakeHandle{l: l}
	require.True(t, h.add(true))
	require.True(t, h.add(false), "it is open already")
	l.spawn(func() {
		l.event(func() {
			got.note("event")()
			l.setRef(h, false)
			l.setRef(h, true)
			h.halt()
		})
	})
	h.closed = got.note("closed")
	l.Run()
	assert.Equal(t, "event closed", got.String())
	assert.False(t, l.Serve(ended(t)) == nil)
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestServe_TakesNothingNewOnceItsContextHasEnded(t *testing.T) {
	l := NewLoop()
	h, late := &fakeHandle{l: l}, &fakeHandle{l: l}
	h.closed = func() { assert.False(t, late.add(true)) }
	require.True(t, h.add(true))
	require.ErrorIs(t, l.Serve(ended(t)), context.Canceled)
	assert.Equal(t, 1, h.halts)
	assert.True(t, late.add(true), "it has ended")
	l.removeIfEnding(late)
	done := l.expect()
	l.event(func() { l.remove(late); done() })
	l.Run()
	assert.Zero(t, late.halts)
}

func TestRun_GoesOnAfterAPanicWithWhatWasLeft(t *testing.T) {
	l, got := NewLoop(), journal{}
	l.event(func() {
		l.close(got.note("close"))
		l.tick(got.note("tick"))
		panic("event1")
	})
	l.event(got.note("event2"))
	assert.PanicsWithValue(t, "event1", l.Run)
	assert.Empty(t, got)
	l.event(got.note("event3"))
	l.Run()
	assert.Equal(t, "tick event2 close event3", got.String())
}

func TestRun_AfterAPanicOfAHalt(t *testing.T) {
	l := NewLoop()
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	bad := panicking{l}
	require.True(t, l.add(bad, false))
	assert.PanicsWithValue(t, "halt", l.Run)
	l.Run()
	assert.Positive(t, h.halts)
}

// panicking is a handle whose halt panics. It is gone then.
type panicking struct{ l *Loop }

func (p panicking) halt() { p.l.remove(p); panic("halt") }

func TestDo_OnALoopThatNobodyRuns(t *testing.T) {
	l, got := NewLoop(), journal{}
	l.tick(got.note("tick"))
	l.Do(func() {
		assert.True(t, l.here())
		assert.True(t, l.inCallback())
		assert.ErrorIs(t, l.Serve(t.Context()), ErrLoopRunning)
		l.Do(got.note("inner"))
		got.note("outer")()
	})
	assert.False(t, l.here())
	assert.Equal(t, "inner outer", got.String(), "what was posted waits for Run")
	assert.PanicsWithValue(t, "do", func() { l.Do(func() { panic("do") }) })
	l.Run()
	assert.Equal(t, "inner outer tick", got.String())
}

func TestOnPanic_TasksGoOn(t *testing.T) {
	l, got, told := NewLoop(), journal{}, []string{}
	l.OnPanic(func(p *PanicError) { told = append(told, p.Value.(string)) })
	cause := errors.New("not a string")
	for i := range 3 {
		l.event(func() { got.note("event" + strconv.Itoa(i))(); panic("event" + strconv.Itoa(i)) })
	}
	l.event(func() {
		l.OnPanic(func(p *PanicError) { panic(p.Value) })
		panic(cause)
	})
	assert.PanicsWithValue(t, cause, l.Run, "one of the hook unwinds")
	assert.Equal(t, "event0 event1 event2", got.String())
	assert.Equal(t, []string{"event0", "event1", "event2"}, told)
	l.Run()
}
