// Package seam is what the packages of this module share with package evnet, and users do not see.
package seam

import (
	"net/netip"
	"syscall"

	"evnet/internal/ratelimit"
)

// Handle is something open on a loop that another package has made. It is a pointer.
type Handle interface {
	// Halt closes it; its Close event follows on the loop. Any goroutine may call it.
	Halt()
	// Panicked is told that a callback between Begin and End has not returned.
	Panicked(err error)
}

// Loop is what an evnet.Loop does for handles. Any goroutine may call the methods, but for Begin and
// End, which are the loop's own.
type Loop interface {
	// Add makes h keep Run going, if it is referenced. It reports false when the loop takes nothing new.
	Add(h Handle, referenced bool) bool
	Remove(h Handle)
	SetRef(h Handle, referenced bool)
	// Event runs fn in its turn among I/O and timers.
	Event(fn func())
	// Spawn runs fn on a goroutine that Run outlives. What fn posts last is still run.
	Spawn(fn func())
	// Here reports whether the caller is on the loop.
	Here() bool
	// Ticking reports whether posted functions wait, which go before the next event.
	Ticking() bool
	// Begin says that callbacks of h follow, and End that they have returned.
	Begin(h Handle)
	End()
	// Tracing reports whether somebody wants to see the events. Trace shows one to them; source is what users
	// know the handle as.
	Tracing() bool
	Trace(source any, event Event)
	// Count adds what the handle buffers more than before to what the loop buffers. Full reports whether the loop
	// has no room for more of a handle that buffers so much.
	Count(more int)
	Full(buffered int) bool
	// Log is the limit of the records that peers can cause, for all handles of the loop.
	Log() *ratelimit.Log
	// Watch makes the loop run ready, as a task, while there is something to read, or an error. It
	// returns nil where there is no epoll.
	Watch(raw syscall.RawConn, ready func(failed bool)) Watch
}

// Event is one event of a handle.
type Event struct {
	Name  string
	Chunk []byte
	From  netip.AddrPort
	Err   error
}

// Watch is one watched descriptor.
type Watch interface {
	// Arm changes what else is watched for: room to write. With once, each thing that happens is told
	// once, for there is one that does not go away.
	Arm(writable, once bool)
	// Close ends it, before the conn is closed. The task may run once more.
	Close()
}

// Of is the seam of an *evnet.Loop. Package evnet sets it.
var Of func(loop any) Loop
