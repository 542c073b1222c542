package evnet

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"

	"evnet/internal/fifo"
)

// outbound is the sending half of a socket, except the queue, which is the stream's. The socket's mu guards it.
type outbound struct {
	*writeState // shared by those that need none: own comes before each change

	needDrain      bool // a Write went over the high-water mark; Drain is owed
	splicePending  bool // bytes in a splice pipe hold their source back
	deferred       bool // the loop flushes after the running task
	scheduled      bool // runWriteCallbacks is among the loop's posted tasks
	yielded        bool // their share of this turn is used: callbacks wait for an event
	dropped        bool // the socket is destroyed, and with it what was queued
	early          bool // ... before it was connected
	upgradePending bool // StartTLS was called: what is written since waits for TLS

	ending         bool // End was called
	finished       bool // Finish was emitted
	closeAfter     bool // Close was called: do not wait for the peer
	callbacksFirst bool // writing failed, and the callbacks are called before Error
}

// writeState is what a socket needs for writes that are not done.
type writeState struct {
	budget    budget                    // of the callbacks
	counted   int                       // in what the loop buffers
	callbacks fifo.Queue[writeCallback] // waiting for bytes to be handed to the conn, in order
	room      chan struct{}             // closed when a goroutine in ReadFrom is to check again; nil if there is none
	corks     int
	corkedAt  int64 // bytes accepted before the first Cork
}

var (
	emptyWriteState writeState // never changed
	writeStates     = sync.Pool{New: func() any { return &writeState{} }}
)

// writeCallback is a WriteThen: its bytes end at offset end of all that was accepted.
type writeCallback struct {
	end  int64
	err  error // refused immediately; reported in order
	done func(error)
}

// own lets the state be changed.
func (o *outbound) own() {
	if o.writeState == &emptyWriteState {
		o.writeState = writeStates.Get().(*writeState)
	}
}

// drop forgets what was to be written by a socket that is destroyed.
func (o *outbound) drop() {
	o.dropped, o.needDrain = true, false
	if o.writeState != &emptyWriteState {
		o.corks = 0
	}
}

// settle returns a state that is not needed any more. s.mu is held.
func (s *Socket) settle() {
	o := &s.out
	if w := o.writeState; w != &emptyWriteState && w.callbacks.Len() == 0 && w.corks == 0 && w.room == nil {
		if s.countQueued(); w.counted == 0 {
			o.writeState = &emptyWriteState
			writeStates.Put(w)
		}
	}
}

// writeFailedLocked ends the socket after a failed write, whose callback is called before Error, as in Node. The
// exception is a reset that the stream's writer, a goroutine, has met: in Node the reader, if there is one, reports it.
// Without an error it does nothing. s.mu is held.
func (s *Socket) writeFailedLocked(err error, byWriter bool) *ending {
	if err == nil {
		return nil
	}
	s.out.callbacksFirst = !byWriter || s.in.mode == paused || !errors.Is(err, syscall.ECONNRESET)
	return s.destroyLocked(s.writeFailure(err), false)
}

// writeFailure is err, from writing, with the operation and the addresses. s.mu is held.
func (s *Socket) writeFailure(err error) error {
	if _, ok := err.(*net.OpError); ok {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("write", errno)
	}
	return &net.OpError{Op: "write", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// deferredFailure is the failure of a write whose cause the stream is still looking for, nil if there is none. s.mu is
// held.
func (s *Socket) deferredFailure() error {
	if err := s.stream.DeferredFailure(); err != nil {
		return s.writeFailure(err)
	}
	return nil
}
