package eventloop

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watched is an object that is not a handle of its loop. Its end posts a function.
type watched struct {
	l     *Loop
	watch *ContextWatch
	ended atomic.Int32
	ran   int
}

func (w *watched) end() {
	w.ended.Add(1)
	w.l.Post(func() { w.ran++ })
}

func watch(l *Loop, ctx context.Context) *watched {
	w := &watched{l: l}
	w.watch = WatchContext(l, ctx, w, (*watched).end)
	return w
}

// Run returns after the objects whose contexts have ended before, and does not wait for the others.
func TestWatchContext_EndsBeforeRunReturns(t *testing.T) {
	for range 100 {
		l := newLoop()
		ctx, cancel := context.WithCancel(t.Context())
		a, b, other := watch(l, ctx), watch(l, ctx), watch(l, t.Context())
		stopped := watch(l, ctx)
		stopped.watch.Stop()
		stopped.watch.Stop()
		l.Post(cancel)
		require.True(t, l.Run())
		for _, w := range []*watched{a, b} {
			assert.EqualValues(t, 1, w.ended.Load())
			assert.Equal(t, 1, w.ran)
			w.watch.Stop()
		}
		for _, w := range []*watched{other, stopped} {
			assert.Zero(t, w.ended.Load())
			w.watch.Stop()
		}
		assert.Zero(t, l.contexts.len())
	}
}

// Run waits for an end that another goroutine has begun.
func TestWatchContext_RunWaitsForAnEndInProgress(t *testing.T) {
	l := newLoop()
	ctx, cancel := context.WithCancel(t.Context())
	begun, done := make(chan struct{}), make(chan struct{})
	object, ran := new([8]int), false
	w := WatchContext(l, ctx, object, func(*[8]int) {
		close(begun)
		<-done
		l.Post(func() { ran = true })
	})
	cancel()
	<-begun
	l.Post(func() { close(done) })
	require.True(t, l.Run())
	assert.True(t, ran)
	w.Stop()
	runtime.KeepAlive(object)
}

// A watch ends with its object, and keeps it alive only after Keep.
func TestWatchContext_KeepsNoObject(t *testing.T) {
	l := newLoop()
	ctx, cancel := context.WithCancel(t.Context())
	dropped := weak.Make(watch(l, ctx))
	kept := func() weak.Pointer[watched] {
		w := watch(l, ctx)
		w.watch.Keep(w)
		return weak.Make(w)
	}()
	deadline := time.Now().Add(time.Minute)
	collect := func(until func() bool) {
		for !until() {
			require.True(t, time.Now().Before(deadline), "the object is never collected")
			runtime.GC()
		}
	}
	collect(func() bool { return dropped.Value() == nil })
	collect(func() bool { // the cleanup runs later
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.contexts.len() == 1
	})
	w := kept.Value()
	require.NotNil(t, w)
	cancel()
	require.True(t, l.Run())
	assert.Equal(t, 1, w.ran)
	w.watch.Stop()
	w = nil
	collect(func() bool { return kept.Value() == nil })
}

// An end that the garbage collector has made obsolete does not keep Run going.
func TestWatchContext_OfACollectedObject(t *testing.T) {
	l := newLoop()
	ctx, cancel := context.WithCancel(t.Context())
	w := &ContextWatch{loop: l, ctx: ctx, end: func() {}} // the object was collected, its cleanup has not run
	w.slot = l.contexts.put(w)
	cancel()
	require.True(t, l.Run())
	assert.Zero(t, l.contexts.len())
}
