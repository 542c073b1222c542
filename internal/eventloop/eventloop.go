// Package eventloop runs tasks one at a time on the goroutine that calls Run or Serve: posted functions, ready
// sources, events and timers, and the ends of handles, in the order of a turn.
//
// Open handles, goroutines started with Go, and calls of Ref keep Run from returning. handles.go counts them. turn.go
// decides the next step: run a task, wait, or return from Run. An idle loop waits for ready descriptors if there is
// epoll, and on a channel otherwise.
//
// Methods may be called on any goroutine, unless their comment requires the loop. The lock of the loop is taken after
// the locks of its callers. No task and no method of an interface runs while it is held.
//
// The package knows neither sockets nor their events, nor the meaning of a task. Its callers implement the interfaces
// below.
package eventloop

import (
	"net/netip"

	"evnet/internal/netpoll"
)

// Events are the events that a descriptor is watched for, or that have occurred.
type Events = netpoll.Events

// Handle is an open resource. Its type must be comparable, such as a pointer.
type Handle interface {
	// Halt closes the handle, because the loop ends. It runs on the loop, as a task. Halt or a later task removes the
	// handle.
	Halt()
}

// Source is a handle with a descriptor that the loop watches.
type Source interface {
	Handle
	// Ready runs on the loop, as a task, after the events ev of the descriptor. It may be spurious.
	Ready(ev Events)
}

// Flusher has writes that are sent together after the running task.
type Flusher interface {
	// Flush runs on the loop.
	Flush()
}

// PanicWrapper turns panics into errors. Any goroutine may call it.
type PanicWrapper interface {
	PanicError(value any, stack []byte) error
}

// Owner is the object whose callbacks a task runs.
type Owner interface {
	PanicWrapper
	// Fail ends the owner after one of its callbacks has panicked or called runtime.Goexit. The steps after the callback
	// are lost. It runs on the loop.
	Fail(err error)
}

// Host is the package that a loop belongs to.
type Host interface {
	PanicWrapper // for tasks without an owner
	// OnPanic returns the function that contains panics of tasks, or nil if panics unwind out of Run. Any goroutine may
	// call it.
	OnPanic() func(error)
	// SetRunning is called when Run or Serve begins and before it returns, on the goroutine that runs the loop.
	SetRunning(bool)
	// RoomAvailable is called after AwaitRoom, once much less is buffered than before. It runs on the loop.
	RoomAvailable()
	// Tracing reports whether there is a Tracer. Trace passes one event to it, on the loop.
	Tracing() bool
	Trace(TraceEvent)
}

// Emitter is the public form of a handle, on which users call Ref and Unref.
type Emitter interface {
	Ref()
	Unref()
}

// TraceEvent is an event emitted by an Emitter that does not belong to the host's package.
type TraceEvent struct {
	Source Emitter
	Name   string
	Chunk  []byte
	From   netip.AddrPort
	Err    error
}
