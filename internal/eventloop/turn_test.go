package eventloop

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
	member Member
	halts  int
	closed func()
}

func (h *fakeHandle) Halt() {
	h.halts++
	h.l.AtTurnEnd(func() {
		if h.closed != nil {
			h.closed()
		}
		h.l.Remove(&h.member)
	})
}

func (h *fakeHandle) add(isReferenced bool) bool { return h.l.Add(h, &h.member, isReferenced) }

func TestTurn_PostedBeforeEventsBeforeClosing(t *testing.T) {
	l, got := newLoop(), journal{}
	l.AtTurnEnd(got.note("close"))
	l.Event(func() {
		got.note("event1")()
		l.AtTurnEnd(func() {
			got.note("close1")()
			l.Post(got.note("tick5"))
			l.AtTurnEnd(got.note("close3"))
		})
		l.Event(got.note("event3")) // in the next turn
		l.Post(func() {
			got.note("tick3")()
			l.Post(got.note("tick4"))
		})
	})
	l.Event(func() {
		got.note("event2")()
		l.AtTurnEnd(got.note("close2"))
	})
	l.Post(func() {
		got.note("tick1")()
		l.Post(got.note("tick2"))
	})
	l.Run()
	assert.Equal(t, "tick1 tick2 close event1 tick3 tick4 event2 close1 tick5 close2 event3 close3", got.String())
}

func TestTurn_EventWaitsForMaxTicksAtMost(t *testing.T) {
	l, posted, ended := newLoop(), 0, false
	var again func()
	again = func() {
		if posted++; !ended {
			l.Post(again)
		}
	}
	l.Post(again)
	var at []int
	l.Event(func() {
		at = append(at, posted)
		l.AtTurnEnd(func() { at = append(at, posted); ended = true })
	})
	l.Run()
	require.Len(t, at, 2)
	assert.Equal(t, maxPosted, at[0])
	assert.Equal(t, 2*maxPosted, at[1], "an event resets the limit")
}

func TestTurn_PostedAloneAreNotLimited(t *testing.T) {
	l, left := newLoop(), 3*maxPosted
	var again func()
	again = func() {
		if left--; left > 0 {
			l.Post(again)
		}
	}
	l.Post(again)
	l.Run()
	assert.Zero(t, left)
}

// Once nothing is open, as many tasks run as are pending, and maxPosted more.
func TestGrace_EndsServeWhileACallbackPosts(t *testing.T) {
	for _, kind := range []string{"tick", "event", "close"} {
		t.Run(kind, func(t *testing.T) {
			l, ran := newLoop(), 0
			push := map[string]func(func()){"tick": l.Post, "event": l.Event, "close": l.AtTurnEnd}[kind]
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var again func()
			again = func() { ran++; push(again) }
			push(again)
			push(again)
			assert.True(t, l.Serve(ctx))
			assert.Equal(t, maxPosted+1, ran)
		})
	}
}

// Run without a context waits for a callback that posts itself forever, unless it has halted a handle.
func TestGrace_BeginsWhenRunHasHalted(t *testing.T) {
	l, ran := newLoop(), 0
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	h.closed = func() {
		var again func()
		again = func() { ran++; l.Post(again) }
		again()
	}
	l.Run()
	assert.Equal(t, 1, h.halts)
	assert.Equal(t, maxPosted+1, ran)
}

func TestGrace_IsTakenBackByAReference(t *testing.T) {
	l, ran := newLoop(), 0
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	h.closed = func() {
		var again func()
		again = func() {
			switch ran++; ran {
			case maxPosted - 1:
				l.Ref()
				l.Unref()
				fallthrough
			default:
				l.Post(again)
			case 2*maxPosted - 10:
			}
		}
		again()
	}
	l.Run()
	assert.Equal(t, 2*maxPosted-10, ran)
}

func TestRun_HaltsWhatIsNotReferenced(t *testing.T) {
	l, got := newLoop(), journal{}
	h, late, welcome := &fakeHandle{l: l}, &fakeHandle{l: l}, &fakeHandle{l: l}
	h.closed = func() {
		got.note("closed")()
		assert.False(t, late.add(false), "the loop is leaving")
		assert.True(t, welcome.add(true), "a reference cancels that")
		assert.True(t, late.add(false))
		l.Event(func() { l.SetRef(&welcome.member, false) })
	}
	late.closed, welcome.closed = got.note("late"), got.note("welcome")
	require.True(t, h.add(false))
	l.Post(got.note("tick"))
	l.Run()
	assert.ElementsMatch(t, journal{"late", "welcome"}, got[2:])
	assert.Equal(t, journal{"tick", "closed"}, got[:2])
	assert.Equal(t, []int{1, 1, 1}, []int{h.halts, late.halts, welcome.halts})
}

func TestRun_WaitsForWhatIsReferenced(t *testing.T) {
	l, got := newLoop(), journal{}
	h := &fakeHandle{l: l}
	require.True(t, h.add(true))
	require.True(t, h.add(false), "the handle is already open")
	l.Go(func() {
		l.Event(func() {
			got.note("event")()
			l.SetRef(&h.member, false)
			l.SetRef(&h.member, true)
			h.Halt()
		})
	})
	h.closed = got.note("closed")
	l.Run()
	assert.Equal(t, "event closed", got.String())
	assert.True(t, l.Serve(ended(t)))
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestServe_TakesNothingNewOnceItsContextHasEnded(t *testing.T) {
	l := newLoop()
	h, late := &fakeHandle{l: l}, &fakeHandle{l: l}
	h.closed = func() { assert.False(t, late.add(true)) }
	require.True(t, h.add(true))
	require.True(t, l.Serve(ended(t)))
	assert.Equal(t, 1, h.halts)
	assert.True(t, late.add(true), "it has ended")
	l.RemoveIfEnding(&late.member)
	done := l.Expect()
	l.Event(func() { l.Remove(&late.member); done() })
	l.Run()
	assert.Zero(t, late.halts)
}

func TestRun_ContinuesAfterAPanicWithTheRemainingTasks(t *testing.T) {
	l, got := newLoop(), journal{}
	l.Event(func() {
		l.AtTurnEnd(got.note("close"))
		l.Post(got.note("tick"))
		panic("event1")
	})
	l.Event(got.note("event2"))
	assert.PanicsWithValue(t, "event1", func() { l.Run() })
	assert.Empty(t, got)
	l.Event(got.note("event3"))
	l.Run()
	assert.Equal(t, "tick event2 close event3", got.String())
}

func TestRun_AfterAPanicOfAHalt(t *testing.T) {
	l := newLoop()
	h := &fakeHandle{l: l}
	require.True(t, h.add(false))
	bad := &panicking{l: l}
	require.True(t, l.Add(bad, &bad.member, false))
	assert.PanicsWithValue(t, "halt", func() { l.Run() })
	l.Run()
	assert.Positive(t, h.halts)
}

// panicking is a handle that is removed by its Halt, which panics.
type panicking struct {
	l      *Loop
	member Member
}

func (p *panicking) Halt() { p.l.Remove(&p.member); panic("halt") }

func TestDo_OnALoopThatDoesNotRun(t *testing.T) {
	l, got := newLoop(), journal{}
	l.Post(got.note("tick"))
	host := l.Host().(*fakeHost)
	l.Do(func() {
		assert.False(t, host.running)
		assert.True(t, l.OnLoop())
		assert.True(t, l.InTask())
		assert.False(t, l.Serve(t.Context()))
		l.Do(got.note("inner"))
		got.note("outer")()
	})
	assert.False(t, l.OnLoop())
	assert.Equal(t, "inner outer", got.String(), "posted functions wait for Run")
	assert.PanicsWithValue(t, "do", func() { l.Do(func() { panic("do") }) })
	l.Run()
	assert.Equal(t, "inner outer tick", got.String())
}

func TestOnPanic_TasksContinue(t *testing.T) {
	l, got, reported := newLoop(), journal{}, []string{}
	host := l.Host().(*fakeHost)
	host.onPanic = func(err error) { reported = append(reported, err.(*fakePanic).value.(string)) }
	cause := errors.New("not a string")
	for i := range 3 {
		l.Event(func() { got.note("event" + strconv.Itoa(i))(); panic("event" + strconv.Itoa(i)) })
	}
	l.Event(func() {
		host.onPanic = func(err error) { panic(err.(*fakePanic).value) }
		panic(cause)
	})
	assert.PanicsWithValue(t, cause, func() { l.Run() }, "a panic of the hook unwinds")
	assert.Equal(t, "event0 event1 event2", got.String())
	assert.Equal(t, []string{"event0", "event1", "event2"}, reported)
	l.Run()
}
