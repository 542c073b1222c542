// Package eventloop runs tasks one at a time on the goroutine that calls Run or Serve: posted functions, ready
// sources, events and timers, and the ends of handles, in the order of a turn.
//
// Handles that are open, goroutines started with Go, and calls of Ref keep Run going; handles.go counts them. turn.go
// decides what is next: a task, waiting, or the end of Run. While nothing is to be done the loop waits, for readiness of
// descriptors where there is epoll, and on a channel otherwise.
//
// Methods may be called on any goroutine, unless their comment says that they belong to the loop. The lock of the
// loop is taken after the locks of its callers, and no task and no method of an interface runs while it is held.
//
// The package knows no socket, no event of one, and no meaning of what a task does. Its callers implement the
// interfaces below.
package eventloop

import (
	"net/netip"

	"evnet/internal/netpoll"
)

// Events is what a descriptor is watched for, or what has happened to it.
type Events = netpoll.Events

// Handle is something open. It is a pointer, or comparable.
type Handle interface {
	// Halt closes the handle, because the loop ends. It runs on the loop, as a task. The handle is removed then or
	// by a later task.
	Halt()
}

// Source is a handle with a descriptor that the loop watches.
type Source interface {
	Handle
	// Ready runs on the loop, as a task, after ev has happened to the descriptor. It may be spurious.
	Ready(ev Events)
}

// Flusher has writes that leave together after the running task.
type Flusher interface {
	// Flush runs on the loop.
	Flush()
}

// PanicWrapper makes errors of panics. Any goroutine may call it.
type PanicWrapper interface {
	PanicError(value any, stack []byte) error
}

// Owner is whose callbacks a task runs.
type Owner interface {
	PanicWrapper
	// Fail ends the owner, one of whose callbacks has panicked or called runtime.Goexit: what was to follow the
	// callback is lost. It runs on the loop.
	Fail(err error)
}

// Host is the package that a loop belongs to.
type Host interface {
	PanicWrapper // for tasks without an owner
	// OnPanic returns the function that contains panics of tasks, nil if they unwind out of Run. Any goroutine may
	// call it.
	OnPanic() func(error)
	// SetRunning follows the begin of Run or Serve, and precedes its end, on the goroutine that runs the loop.
	SetRunning(bool)
	// RoomAvailable follows AwaitRoom: much less is buffered than before. It runs on the loop.
	RoomAvailable()
	// Tracing reports whether emitted events are shown to somebody. Trace shows one, on the loop.
	Tracing() bool
	Trace(TraceEvent)
}

// Emitter is something that keeps the loop running, as its users know it.
type Emitter interface {
	Ref()
	Unref()
}

// TraceEvent is an emitted event of an Emitter that another package than the host has made.
type TraceEvent struct {
	Source Emitter
	Name   string
	Chunk  []byte
	From   netip.AddrPort
	Err    error
}
