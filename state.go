package evnet

import (
	"errors"
	"net"
	"slices"
	"time"

	"evnet/internal/transport"
)

// The getters. Any goroutine may call them, at any time, also after Close.

// ReadyState returns the state of the socket.
//
// Node: socket.readyState.
func (s *Socket) ReadyState() ReadyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.destroyed:
		return StateClosed
	case s.opt().dial != nil:
		return StateOpening
	case !s.stream.IsOpen() && !s.out.ending:
		return StateNew
	case s.in.ended && s.out.ending:
		return StateClosed
	case s.out.ending:
		return StateReadOnly
	case s.in.ended:
		return StateWriteOnly
	}
	return StateOpen
}

// Connecting reports whether Connect was called and is not done.
//
// Node: socket.connecting.
func (s *Socket) Connecting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().dial != nil
}

// AttemptedAddresses returns the IP addresses with ports that the last Connect has attempted, in order. It is empty
// unless there were several addresses. The caller owns the slice.
//
// Node: socket.autoSelectFamilyAttemptedAddresses.
func (s *Socket) AttemptedAddresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.opt().attempted)
}

// Readable reports whether data may still arrive.
//
// Node: socket.readable.
func (s *Socket) Readable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.destroyed && !s.in.ended
}

// Writable reports whether Write may still be called, that is, neither End nor Destroy was called.
//
// Node: socket.writable.
func (s *Socket) Writable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.destroyed && !s.out.ending && !s.out.failed
}

// Pending reports whether there is no connection, either not yet or no longer.
//
// Node: socket.pending.
func (s *Socket) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stream.IsOpen()
}

// ReadableEnded reports whether End was emitted.
//
// Node: socket.readableEnded.
func (s *Socket) ReadableEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.ended
}

// WritableEnded reports whether End or Close was called, or this side has ended after the peer's.
//
// Node: socket.writableEnded.
func (s *Socket) WritableEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.ending
}

// WritableFinished reports whether Finish was emitted.
//
// Node: socket.writableFinished.
func (s *Socket) WritableFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.finished
}

// Destroyed reports whether the socket was destroyed, by a method or because it ended or failed.
//
// Node: socket.destroyed.
func (s *Socket) Destroyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.destroyed
}

// Closed reports whether the socket is closed. As in Node, it is true as soon as the socket is destroyed, before the
// Close event. A new Connect makes it false.
//
// Node: socket.closed.
func (s *Socket) Closed() bool { return s.Destroyed() }

// Err returns the error that the socket was destroyed with, or nil.
//
// Node: socket.errored.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().err
}

// Conn returns the underlying connection, or nil before there is one. Its options may be set. Reading, writing or
// closing it directly, or setting a deadline, is at the caller's risk. If the loop itself serves the conn, a deadline
// has no effect, and the socket detects that the conn was closed only at the next write or end. Node has no such
// method.
func (s *Socket) Conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Conn()
}

// Loop returns the loop that runs the socket's callbacks.
func (s *Socket) Loop() *Loop { return s.set.Loop }

// Server returns the server that accepted the socket, or nil for other sockets.
//
// Node: socket.server.
func (s *Socket) Server() *Server { return s.set.server }

// LocalAddr returns the address of this end, or nil until the socket is connected.
//
// Node: socket.localAddress and localPort.
func (s *Socket) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.localAddr()
}

// RemoteAddr returns the address of the peer, or nil until the socket is connected.
//
// Node: socket.remoteAddress and remotePort.
func (s *Socket) RemoteAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteAddr()
}

// BytesRead returns the number of bytes read from the conn, delivered or not. A new connection starts at 0.
//
// Node: socket.bytesRead.
func (s *Socket) BytesRead() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.bytes
}

// BytesWritten returns the number of bytes that Write has accepted, sent or not. A new connection starts at 0.
//
// Node: socket.bytesWritten.
func (s *Socket) BytesWritten() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Accepted()
}

// BufferedAmount returns the number of bytes in the write queue.
//
// Node: socket.writableLength.
func (s *Socket) BufferedAmount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Queued()
}

// HighWaterMark returns the number of bytes that may be queued before NeedDrain reports true. It is the value of the
// options, 64 KiB by default, or MaxWriteBuffer if that is less.
//
// Node: socket.writableHighWaterMark.
func (s *Socket) HighWaterMark() int { return s.set.HighWaterMark }

// Corked returns the number of calls of Cork that have not been undone.
//
// Node: socket.writableCorked.
func (s *Socket) Corked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.corks
}

// ReadableLength returns the number of bytes that are buffered for a consumer: bytes that were read or passed to
// Unshift, including an incomplete token of Scan.
//
// Node: socket.readableLength.
func (s *Socket) ReadableLength() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.buffered()
}

// Flowing reports whether data is delivered as it arrives, or discarded if there is no consumer. It is false as long as
// neither a consumer nor Resume requests data, and while Paused.
//
// Node: socket.readableFlowing being true.
func (s *Socket) Flowing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.mode == flowing && s.in.blocked == 0
}

// Paused reports whether nothing is delivered because of Pause, PauseOnConnect, the result of OnRead's callback, or a
// destination of Pipe that is full or was removed.
//
// Node: socket.isPaused.
func (s *Socket) Paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.mode == paused || s.in.mode == unpiped || s.in.blocked > 0
}

// AllowHalfOpen reports whether this side stays open when the peer ends.
//
// Node: socket.allowHalfOpen.
func (s *Socket) AllowHalfOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halfOpen
}

// SetAllowHalfOpen sets whether this side stays open when the peer ends. The value at that time applies.
//
// Node: socket.allowHalfOpen.
func (s *Socket) SetAllowHalfOpen(allow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halfOpen = allow
}

// SetNoDelay sets TCP_NODELAY, which is on by default in Go. Before the connection is made, the value is stored and
// applied later. If the conn does not support the option, the error is errors.ErrUnsupported.
//
// Node: socket.setNoDelay.
func (s *Socket) SetNoDelay(on bool) error {
	s.mu.Lock()
	s.makeOpt().noDelay = &on
	conn := s.stream.Conn()
	s.mu.Unlock()
	if conn == nil {
		return nil
	}
	return s.optionError(setNoDelay(conn, on))
}

// SetKeepAlive sets TCP keep-alive, which is on by default in Go. A positive delay is the idle time before the first
// probe and the interval between probes; 0 or less leaves both unchanged. Before the connection is made, the values are
// stored and applied later. If the conn does not support the option, the error is errors.ErrUnsupported.
//
// Node: socket.setKeepAlive.
func (s *Socket) SetKeepAlive(on bool, delay time.Duration) error {
	k := keepAlive{on, delay}
	s.mu.Lock()
	s.makeOpt().keepAlive = &k
	conn := s.stream.Conn()
	s.mu.Unlock()
	if conn == nil {
		return nil
	}
	return s.optionError(setKeepAlive(conn, k))
}

// optionError adds the addresses of the socket to errors.ErrUnsupported. It does not change other errors.
func (s *Socket) optionError(err error) error {
	if err != errors.ErrUnsupported {
		return err
	}
	return &net.OpError{Op: "set", Net: network(s.LocalAddr()), Addr: s.RemoteAddr(), Err: err}
}

func setNoDelay(conn net.Conn, on bool) error {
	c, ok := transport.Lowest(conn).(interface{ SetNoDelay(bool) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return c.SetNoDelay(on)
}

// keepAlive holds the arguments of SetKeepAlive.
type keepAlive struct {
	on    bool
	delay time.Duration
}

func setKeepAlive(conn net.Conn, k keepAlive) error {
	c, ok := transport.Lowest(conn).(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return errors.ErrUnsupported
	}
	config := net.KeepAliveConfig{Enable: k.on, Idle: -1, Interval: -1, Count: -1}
	if k.delay > 0 {
		config.Idle, config.Interval = k.delay, k.delay
	}
	return c.SetKeepAliveConfig(config)
}

func network(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.Network()
}
