package evnet

import (
	"sync"
	"unsafe"

	"evnet/internal/fifo"
)

// outbound is the sending side of a socket, except the queue, which belongs to the stream. The socket's mu guards it.
type outbound struct {
	*writeState // shared by sockets that need none: call own before each change

	needDrain      bool // a Write has reached the high-water mark; Drain is to be emitted
	splicePending  bool // a splice pipe still has bytes, and their source is held back
	deferred       bool // the loop flushes after the running task
	scheduled      bool // runWriteCallbacks is among the loop's posted tasks
	yielded        bool // the callbacks have used their share of this turn: the rest run in the next
	dropped        bool // the socket is destroyed: queued bytes were discarded
	reporting      bool // the report of the end has begun: it runs the callbacks, until Close
	early          bool // ... before it was connected
	upgradePending bool // StartTLS was called: bytes written since wait for TLS

	ending         bool // End was called
	finished       bool // Finish was emitted
	closeAfter     bool // Close was called: do not wait for the peer's end
	callbacksFirst bool // a write failed: the callbacks run before Error is emitted
	failed         bool // a write failed, and received data is still delivered: see failedWrite
}

// writeState is the state that a socket needs for pending writes.
type writeState struct {
	budget    budget                    // of the callbacks
	user      uintptr                   // the address of the outbound that used it last, whose budget it has
	counted   int                       // bytes, and callbacks, that the loop's total includes
	callbacks fifo.Queue[writeCallback] // pending until their bytes are handed to the conn, in order
	room      chan struct{}             // closed when goroutines that wait for room must check again; nil if none waits
	corks     int
	corkedAt  int64 // bytes accepted before the first Cork
}

var (
	emptyWriteState writeState // never changed
	writeStates     = sync.Pool{New: func() any { return &writeState{} }}
)

// writeCallback is the callback of a WriteThen. Its bytes end at offset end of all accepted bytes.
type writeCallback struct {
	end  int64
	err  error // why the write was refused: reported in order
	done func(error)
}

// own gives the socket a writeState of its own, which may be changed. Its budget does not include calls of another socket:
// callbacks would run late.
func (o *outbound) own() {
	if o.writeState == &emptyWriteState {
		o.writeState = writeStates.Get().(*writeState)
		if user := uintptr(unsafe.Pointer(o)); o.user != user {
			o.user, o.budget = user, budget{}
		}
	}
}

// drop notes that the queued bytes of a destroyed socket were discarded. Pending callbacks stay.
func (o *outbound) drop() {
	o.dropped, o.needDrain = true, false
	if o.writeState != &emptyWriteState {
		o.corks = 0
	}
}

// settleLocked returns a writeState that is no longer needed to the pool. s.mu is held.
func (s *Socket) settleLocked() {
	o := &s.out
	if w := o.writeState; w != &emptyWriteState && w.callbacks.Len() == 0 && w.corks == 0 && w.room == nil {
		if s.countQueuedLocked(); w.counted == 0 {
			o.writeState = &emptyWriteState
			writeStates.Put(w)
		}
	}
}

// writeLastLocked sends what the conn accepts without waiting: in Node a write has done so already. s.mu is held.
func (s *Socket) writeLastLocked() (err error) {
	if s.destroyed || s.handshake {
		return nil
	}
	switch {
	case !s.out.deferred:
	case !s.stream.WriteBlocks():
		err = s.flushLocked()
	case !s.holdsQueueLocked():
		s.stream.ReleaseQueued()
	}
	if err == nil {
		s.stream.WriteLast()
	}
	return err
}
