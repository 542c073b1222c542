package evnet

import (
	"errors"
	"net"
	"slices"
	"time"

	"evnet/internal/transport"
)

// The getters. Any goroutine may call them, at any time; they stay valid after Close.

// ReadyState is where the socket stands in its life. Node: socket.readyState.
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

// Connecting reports whether Connect has begun and is not done. Node: socket.connecting.
func (s *Socket) Connecting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().dial != nil
}

// AttemptedAddresses are the IP addresses with ports that the last Connect has tried, in order; the
// slice is the caller's. Empty unless there were several to choose from. Node:
// socket.autoSelectFamilyAttemptedAddresses.
func (s *Socket) AttemptedAddresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.opt().attempted)
}

// Readable reports whether data may still come. Node: socket.readable.
func (s *Socket) Readable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.destroyed && !s.in.ended
}

// Writable reports whether Write may still be called: neither End nor Destroy was. Node:
// socket.writable.
func (s *Socket) Writable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.destroyed && !s.out.ending
}

// Pending reports whether there is no connection: not yet, or no longer. Node: socket.pending.
func (s *Socket) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.stream.IsOpen()
}

// ReadableEnded reports whether End was emitted. Node: socket.readableEnded.
func (s *Socket) ReadableEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.ended
}

// WritableEnded reports whether End or Close was called, or this side has ended after the peer's.
// Node: socket.writableEnded.
func (s *Socket) WritableEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.ending
}

// WritableFinished reports whether Finish was emitted. Node: socket.writableFinished.
func (s *Socket) WritableFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.finished
}

// Destroyed reports whether the socket was destroyed, by a method or because it ended or failed.
// Node: socket.destroyed.
func (s *Socket) Destroyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.destroyed
}

// Closed reports whether the socket is closed for good, which, as in Node, is as soon as it is
// destroyed: the Close event is still to come then. A new Connect makes it false. Node: socket.closed.
func (s *Socket) Closed() bool { return s.Destroyed() }

// Err is the error the socket was destroyed with, or nil. Node: socket.errored.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt().err
}

// Conn is the connection itself, nil before there is one. Reading, writing or closing it behind
// the socket's back, or setting a deadline, is at the caller's risk: where the loop itself serves the conn,
// a deadline has no effect, and that it was closed is noticed at the next write or end. Its options may
// be set. Node has none.
func (s *Socket) Conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Conn()
}

// Loop is where the socket's callbacks run.
func (s *Socket) Loop() *Loop { return s.set.Loop }

// Server is the server that accepted the socket, nil for others. Node: socket.server.
func (s *Socket) Server() *Server { return s.set.server }

// LocalAddr is this end's address, nil until connected. Node: socket.localAddress and localPort.
func (s *Socket) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.localAddr()
}

// RemoteAddr is the peer's address, nil until connected. Node: socket.remoteAddress and remotePort.
func (s *Socket) RemoteAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remoteAddr()
}

// BytesRead is how many bytes were read from the conn, delivered or not. A new connection starts
// at 0. Node: socket.bytesRead.
func (s *Socket) BytesRead() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.bytes
}

// BytesWritten is how many bytes Write has accepted, sent or not. A new connection starts at 0.
// Node: socket.bytesWritten.
func (s *Socket) BytesWritten() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Accepted()
}

// BufferedAmount is how many bytes wait in the write queue. Node: socket.writableLength.
func (s *Socket) BufferedAmount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Queued()
}

// HighWaterMark is how many bytes may wait in the write queue before NeedDrain reports true: that of
// the options, 64 KiB by default, or MaxWriteBuffer if that is less. Node: socket.writableHighWaterMark.
func (s *Socket) HighWaterMark() int { return s.set.HighWaterMark }

// Corked is how many calls of Cork have not been taken back. Node: socket.writableCorked.
func (s *Socket) Corked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.corks
}

// ReadableLength is how many bytes have been read, or put back by Unshift, and wait for a consumer,
// with those of a token that Scan holds unfinished. Node: socket.readableLength.
func (s *Socket) ReadableLength() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.buffered()
}

// Flowing reports whether data is delivered as it comes, or dropped where there is no consumer. It is
// false while nobody has asked for data yet, and while Paused. Node: socket.readableFlowing being
// true.
func (s *Socket) Flowing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.mode == flowing && s.in.blocked == 0
}

// Paused reports whether nothing is delivered because of Pause, PauseOnConnect, OnRead's answer, or
// a destination of Pipe that is full or gone. Node: socket.isPaused.
func (s *Socket) Paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.mode == paused || s.in.mode == unpiped || s.in.blocked > 0
}

// AllowHalfOpen reports whether this side stays open when the peer ends. Node:
// socket.allowHalfOpen.
func (s *Socket) AllowHalfOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halfOpen
}

// SetAllowHalfOpen changes it; it counts when the peer ends. Node: socket.allowHalfOpen.
func (s *Socket) SetAllowHalfOpen(allow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halfOpen = allow
}

// SetNoDelay switches TCP_NODELAY, which Go sets by default. Before the connection is made it is
// remembered. On a conn that has no such method the error is errors.ErrUnsupported. Node:
// socket.setNoDelay.
func (s *Socket) SetNoDelay(on bool) error {
	s.mu.Lock()
	s.makeOpt().noDelay = &on
	conn := s.stream.Conn()
	s.mu.Unlock()
	if conn == nil {
		return nil
	}
	return setNoDelay(conn, on)
}

// SetKeepAlive switches TCP keep-alive, which Go enables by default. A positive delay is the idle
// time before the first probe and the interval between probes; 0 or less leaves both as they are.
// Before the connection is made it is remembered. On a conn that has no such method the error is
// errors.ErrUnsupported. Node: socket.setKeepAlive.
func (s *Socket) SetKeepAlive(on bool, delay time.Duration) error {
	k := keepAlive{on, delay}
	s.mu.Lock()
	s.makeOpt().keepAlive = &k
	conn := s.stream.Conn()
	s.mu.Unlock()
	if conn == nil {
		return nil
	}
	return setKeepAlive(conn, k)
}

func setNoDelay(conn net.Conn, on bool) error {
	c, ok := transport.Lowest(conn).(interface{ SetNoDelay(bool) error })
	if !ok {
		return &net.OpError{Op: "set", Net: network(conn.LocalAddr()), Addr: conn.RemoteAddr(), Err: errors.ErrUnsupported}
	}
	return c.SetNoDelay(on)
}

// keepAlive is what SetKeepAlive was given.
type keepAlive struct {
	on    bool
	delay time.Duration
}

func setKeepAlive(conn net.Conn, k keepAlive) error {
	c, ok := transport.Lowest(conn).(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if !ok {
		return &net.OpError{Op: "set", Net: network(conn.LocalAddr()), Addr: conn.RemoteAddr(), Err: errors.ErrUnsupported}
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
