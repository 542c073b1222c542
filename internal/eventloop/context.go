package eventloop

import (
	"context"
	"runtime"
	"sync"
	"weak"
)

// ContextWatch ends an object when a context ends. WatchContext makes one. The object need not be an open handle: a
// socket that was never connected keeps Run from returning neither before its context ends nor afterwards.
type ContextWatch struct {
	loop    *Loop
	ctx     context.Context
	end     func()
	once    sync.Once // for end
	kept    any       // keeps the object alive
	cleanup runtime.Cleanup

	// Guarded by loop.mu.
	slot    int32 // in loop.contexts; 0 once stopped or ended
	unwatch func() bool
}

// WatchContext calls end with the object once ctx has ended, on the loop or on a goroutine. If ctx ends before Run
// returns, Run calls end before it returns, and runs the tasks that end posts.
//
// The watch does not keep the object alive, and ends when the object is collected. Keep changes that. end must not refer
// to the object itself.
func WatchContext[T any](l *Loop, ctx context.Context, object *T, end func(*T)) *ContextWatch {
	ref := weak.Make(object)
	w := &ContextWatch{loop: l, ctx: ctx}
	w.end = func() {
		if object := ref.Value(); object != nil {
			end(object)
		}
	}
	l.mu.Lock()
	w.slot = l.contexts.put(w)
	l.mu.Unlock()
	w.cleanup = runtime.AddCleanup(object, (*ContextWatch).Stop, w)
	unwatch := context.AfterFunc(ctx, w.Halt) // without the lock, because ctx may run the user's code
	l.mu.Lock()
	w.unwatch = unwatch
	l.mu.Unlock()
	runtime.KeepAlive(object)
	return w
}

// Halt ends the object, once. It returns when the object has ended. Any goroutine may call it.
func (w *ContextWatch) Halt() {
	w.once.Do(func() {
		defer func() { w.leave() }() // after end, so that Run waits for it
		w.end()
	})
}

// leave removes the watch from the loop, and returns the function that stops watching the context.
func (w *ContextWatch) leave() (unwatch func() bool) {
	l := w.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.slot != 0 {
		l.contexts.take(int(w.slot))
		w.slot = 0
	}
	return w.unwatch
}

// Keep makes the watch keep the object alive until Stop, because the end of the object has an effect that the program
// sees. The owner calls it with its lock held, and not after Stop.
func (w *ContextWatch) Keep(object any) {
	w.cleanup.Stop() // or the argument of the cleanup would keep the object alive forever
	w.kept = object
}

// Stop ends the watch: Run no longer waits for the end of the object. It may be called again.
func (w *ContextWatch) Stop() {
	w.kept = nil
	w.cleanup.Stop()
	if unwatch := w.leave(); unwatch != nil {
		unwatch()
	}
}

// endedContexts returns the watches of all whose contexts have ended.
func endedContexts(all []Handle) []Handle {
	var ended []Handle
	for _, h := range all {
		if h.(*ContextWatch).ctx.Err() != nil {
			ended = append(ended, h)
		}
	}
	return ended
}
