package evnet

import (
	"log/slog"
	"net"
	"sync"

	"evnet/internal/eventloop"
	"evnet/internal/transport"
)

// handle implements the interfaces of the loop and the stream for a Socket, without exported methods on Socket.
type handle Socket

func (h *handle) Halt() { (*Socket)(h).halt() }

func (h *handle) PanicError(value any, stack []byte) error {
	return &PanicError{Value: value, Stack: stack, Socket: (*Socket)(h)}
}

func (h *handle) Fail(err error) {
	s := (*Socket)(h)
	s.Destroy(err)
	s.owesCallbacks()
}

func (h *handle) Mutex() *sync.Mutex        { return &h.mu }
func (h *handle) Loop() transport.Loop      { return (*Socket)(h).loop() }
func (h *handle) Member() *eventloop.Member { return &h.member }

func (h *handle) SplicePipes() *transport.SplicePipes { return &h.set.Loop.host().pipes }

func (h *handle) WatchesReset() bool {
	in := &h.in
	return in.mode == paused && !in.eof && in.buffered() == 0
}

func (h *handle) Progressed(completed bool) {
	s := (*Socket)(h)
	if s.out.counted > 0 {
		s.countQueuedLocked()
	}
	if completed {
		s.noteCompletedLocked()
		s.markActiveLocked()
	}
}

func (h *handle) Failed() {
	s := (*Socket)(h)
	s.mu.Lock()
	e := s.writeFailedLocked(s.stream.TakeFailure())
	s.mu.Unlock()
	e.run()
}

func (h *handle) ClosePanicked(err error) { h.set.closePanicked(err) }

// serverHandle implements the interface of the loop for a Server.
type serverHandle Server

func (h *serverHandle) Halt() { (*Server)(h).halt() }

// closePanicked logs a panic of a conn's Close.
func (set *settings) closePanicked(err error) {
	set.Loop.core().Event(func() { // so that the loop handles a panic of the Logger
		if r, ok := set.record(slog.LevelWarn); ok {
			r.Write("evnet: closing a conn has panicked", "err", err)
		}
	})
}

// closeConn closes a conn that belongs to no socket. If Close may block or panic, it runs on a goroutine of its own.
func (set *settings) closeConn(conn net.Conn) {
	if transport.IsKernelConn(conn) {
		_ = conn.Close()
		return
	}
	set.Loop.core().Go(func() {
		eventloop.Contain((*handle)(nil), conn.Close, func(err error) {
			if _, panicked := err.(*PanicError); panicked {
				set.closePanicked(err)
			}
		})
	})
}
