package eventloop

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Do runs its function exactly once, whether the loop runs it or ends first.
func TestDo_WhileTheLoopEnds(t *testing.T) {
	const callers, each = 4, 200
	l, n := newLoop(), 0
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				mine := false
				l.Do(func() { n++; mine = true })
				if !mine {
					t.Error("Do has returned before its function")
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for ended := false; !ended; {
		require.True(t, l.Run())
		select {
		case <-done:
			ended = true
		default:
		}
	}
	assert.Equal(t, callers*each, n)
}

func TestDo_WaitsForTheLoop(t *testing.T) {
	l, got := newLoop(), journal{}
	l.Ref()
	l.Event(func() {
		go func() {
			l.Do(func() {
				assert.True(t, l.InTask())
				l.Post(got.note("posted"))
				got.note("done")()
			})
			l.Unref()
		}()
	})
	l.Run()
	assert.Equal(t, "done posted", got.String())
}

func TestServe_EndsByItsContextWhileItWaits(t *testing.T) {
	l := newLoop()
	ctx, cancel := context.WithCancel(t.Context())
	h := &fakeHandle{l: l}
	require.True(t, h.add(true))
	l.Event(func() { go cancel() })
	require.True(t, l.Serve(ctx))
	assert.Equal(t, 1, h.halts)
	assert.False(t, l.Host().(*fakeHost).running)
}

// The context of a Serve that has returned does not end the next one.
func TestServe_IgnoresTheContextOfAnEarlierOne(t *testing.T) {
	l := newLoop()
	require.True(t, l.Serve(ended(t)))
	ran := false
	l.Event(func() {
		l.cancel(make(chan struct{})) // as the earlier context may, late
		l.Post(func() { ran = true })
	})
	require.True(t, l.Run())
	assert.True(t, ran)
	assert.False(t, l.canceled)
}

// A handle of several loops is removed from a loop that is ending before its task on another loop.
func TestRemoveIfEnding(t *testing.T) {
	l := newLoop()
	h := &removedHandle{l: l}
	require.True(t, l.Add(h, &h.member, true))
	l.RemoveIfEnding(&h.member)
	assert.NotZero(t, h.member.Slot(), "the loop is not ending")
	require.True(t, l.Serve(ended(t)))
	assert.Zero(t, h.member.Slot())
}

type removedHandle struct {
	l      *Loop
	member Member
}

func (h *removedHandle) Halt() { h.l.RemoveIfEnding(&h.member) }

func TestHasPosted(t *testing.T) {
	l := newLoop()
	l.Event(func() {
		assert.False(t, l.HasPosted())
		l.Post(func() { assert.False(t, l.HasPosted()) })
		assert.True(t, l.HasPosted())
	})
	l.Run()
	assert.False(t, l.HasPosted())
}
