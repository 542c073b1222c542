package evnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// ReadyState is where a socket stands in its life. It is computed, as in Node, from what may still
// be read and written.
type ReadyState int

// The states, with those that may follow.
const (
	StateNew       ReadyState = iota // not connected yet: Opening, Closed, or ReadOnly after End
	StateOpening                     // Connect was called: Open, ReadOnly after End, or Closed
	StateOpen                        // both sides are open: ReadOnly, WriteOnly or Closed
	StateReadOnly                    // this side has ended: Closed
	StateWriteOnly                   // the peer has ended: Closed
	StateClosed                      // nothing may follow but Connect: Opening
)

// String gives Node's word, and "new" for a socket that was never connected.
func (r ReadyState) String() string {
	names := [...]string{"new", "opening", "open", "readOnly", "writeOnly", "closed"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("ReadyState(%d)", int(r))
	}
	return names[r]
}

// Socket is one end of a connection: it wraps a net.Conn and tells what happens to it by events.
// NewSocket, Connect, Wrap and a Server make them; the zero value is not usable.
//
// Every method may be called from any goroutine and from inside any callback; none blocks (but for
// ReadFrom, which says so), and none runs a callback before it returns. Callbacks run on the
// socket's Loop, one at a time.
//
// What is written is copied; a chunk given to Data belongs to the receiver, one given to OnRead is
// borrowed. A failing socket emits Error once, then Close(true), and keeps the cause in Err. A
// socket ends when both sides have ended, or by Destroy, Reset, Close or a failure; Close is its
// last event. Until then it keeps Loop.Run going, unless Unref was called. It may be connected
// again afterwards. Node: net.Socket.
type Socket struct {
	// On registers callbacks for every time, Once for the next time only, and Prepend before
	// those registered already.
	On, Once, Prepend SocketEvents

	loop   *Loop
	set    *settings
	server *Server // that accepted it, or nil

	mu     sync.Mutex // guards everything below; taken before the loop's lock, never after it
	events *socketEvents

	// The connection.
	conn       net.Conn
	tr         *transport // nil until connected and after it is destroyed
	dial       *dialing   // while connecting
	local      net.Addr
	remote     net.Addr
	opened     bool // a conn was had, or is being made: there is something to close
	held       bool // in the loop's table: keeps Run going
	unref      bool
	handshake  bool // a TLS handshake is under way: nothing is read or written yet
	resetLater bool // Reset was called while connecting

	// The way to the end.
	destroyed bool
	closed    bool // Close was emitted
	err       error
	again     func() // Connect called between the destruction and Close

	in      inbound
	out     outbound
	sources []*pipe // that have this socket as their destination

	active time.Time // of the last activity, if a timer is on
	notify idleTimer // SetTimeout
	kill   idleTimer // SocketOptions.IdleTimeout

	closeTimer *time.Timer // bounds the closing phase
	halfOpen   bool
	noDelay    *bool         // asked for, to be set once there is a conn
	keepAlive  time.Duration // as SocketOptions.KeepAlive
}

// NewSocket makes a socket that is not connected. Register callbacks, then call Connect. nil means
// all defaults. Node: new net.Socket.
func NewSocket(opts *SocketOptions) *Socket { return newSocket(newSettings(opts)) }

func newSocket(set *settings) *Socket {
	s := &Socket{loop: set.Loop, set: set, halfOpen: set.AllowHalfOpen, keepAlive: set.KeepAlive}
	if set.NoDelay {
		s.noDelay = &set.NoDelay
	}
	s.On = SocketEvents{s, modeOn}
	s.Once = SocketEvents{s, modeOnce}
	s.Prepend = SocketEvents{s, modePrepend}
	return s
}

// Wrap makes a socket of a connected conn of any kind, which belongs to the socket from then on.
// Reading starts after the running callback, or when the loop runs. A *tls.Conn is given its
// handshake first, then SecureConnect is emitted. A nil conn gives a socket that fails with
// ErrNilArgument.
//
// A conn that has no CloseWrite method cannot be half open: End closes it whole, once everything
// is written. A *net.TCPConn or *net.UnixConn is written to without blocking, any other by a
// goroutine that lives while bytes are queued; one more goroutine reads. Node: new net.Socket with
// the fd option.
func Wrap(conn net.Conn, opts *SocketOptions) *Socket {
	s := NewSocket(opts)
	if conn == nil {
		s.Destroy(fmt.Errorf("evnet: Wrap: conn: %w", ErrNilArgument))
		return s
	}
	s.mu.Lock()
	ok := s.hold()
	s.adopt(conn)
	s.mu.Unlock()
	if !ok {
		s.Destroy(ErrLoopStopped)
		return s
	}
	s.loop.tick(s.begin)
	return s
}

// hold enters s in the loop's table of what is open. s.mu is held.
func (s *Socket) hold() bool {
	s.held = true
	if s.set.IdleTimeout > 0 {
		s.kill.after, s.active = s.set.IdleTimeout, time.Now()
		s.startTimer(&s.kill, s.kill.after)
	}
	return s.loop.add(s, !s.unref)
}

// adopt takes a connected conn. s.mu is held.
func (s *Socket) adopt(conn net.Conn) {
	s.conn, s.local, s.remote, s.opened = conn, conn.LocalAddr(), conn.RemoteAddr(), true
	s.tr = newTransport(s, conn)
	_, s.handshake = conn.(handshaker)
	if s.noDelay != nil {
		_ = setNoDelay(conn, *s.noDelay)
	}
	if s.keepAlive != 0 {
		_ = setKeepAlive(conn, s.keepAlive > 0, s.keepAlive)
	}
	s.touch()
}

// begin starts the traffic of a connected socket: it runs on the loop.
func (s *Socket) begin() {
	s.mu.Lock()
	shaking, destroyed, conn := s.handshake, s.destroyed, s.conn
	s.mu.Unlock()
	switch {
	case destroyed:
	case shaking:
		s.loop.spawn(func() {
			err := conn.(handshaker).HandshakeContext(context.Background())
			s.loop.event(func() { s.handshaken(err) })
		})
	default:
		s.mu.Lock()
		s.in.started = true
		s.mu.Unlock()
		s.flush()
		s.flow()
	}
}

// handshaker is a *tls.Conn, or a conn that behaves like one.
type handshaker interface {
	HandshakeContext(context.Context) error
}

func (s *Socket) handshaken(err error) {
	s.mu.Lock()
	s.handshake = false
	destroyed := s.destroyed
	s.mu.Unlock()
	switch {
	case destroyed:
	case err != nil:
		s.Destroy(&net.OpError{Op: "handshake", Net: network(s.remote), Source: s.local, Addr: s.remote, Err: err})
	default:
		s.emitSecureConnect()
		s.begin()
	}
}

// Destroy closes the socket at once: what is queued or undelivered is dropped. With an error, Error
// is emitted with it before Close. Further calls do nothing. Node: socket.destroy.
func (s *Socket) Destroy(err error) {
	s.mu.Lock()
	// What was written in the running callback has not left yet; in Node it would have.
	if s.out.deferred {
		if werr := s.flushLocked(); werr != nil && err == nil {
			err = werr
		}
	}
	s.destroyLocked(err, false)
}

func (s *Socket) halt() { s.Destroy(nil) }

// Reset closes the connection with a reset (RST), which the peer sees as ECONNRESET; here Close is
// emitted without an error. While connecting it waits for the connection. A socket that was never
// connected fails with ErrSocketClosed. A conn that knows no reset, such as a Unix socket, is
// destroyed. Node: socket.resetAndDestroy.
func (s *Socket) Reset() {
	s.mu.Lock()
	switch {
	case s.destroyed:
		s.mu.Unlock()
	case s.dial != nil:
		s.resetLater = true
		s.mu.Unlock()
	case s.tr == nil:
		s.destroyLocked(ErrSocketClosed, false)
	default:
		s.destroyLocked(nil, true)
	}
}

// destroyLocked ends the socket. s.mu is held, and released: closing the conn waits for whoever is
// reading or writing it, and they may want the lock.
func (s *Socket) destroyLocked(err error, reset bool) {
	if s.destroyed {
		s.mu.Unlock()
		return
	}
	s.destroyed, s.err = true, err
	s.notify.stop()
	s.kill.stop()
	if s.closeTimer != nil {
		s.closeTimer.Stop()
	}
	s.out.drop(s.dropError(err))
	tr, dial, opened := s.tr, s.dial, s.opened
	s.tr, s.dial = nil, nil
	s.mu.Unlock()

	if dial != nil {
		dial.cancel()
	}
	if tr != nil {
		tr.close(reset)
	}
	if s.server != nil {
		s.server.socketDestroyed(s)
	}
	callbacksFirst := s.out.failedHere
	s.loop.tick(func() {
		if callbacksFirst {
			s.deliverWrites(-1) // as in Node
		}
		if err != nil {
			s.emitError(err)
		}
		s.deliverWrites(-1)
		s.leavePipes()
		if !opened {
			s.finishClose(err != nil)
		}
	})
	if opened {
		s.loop.close(func() { s.finishClose(err != nil) })
	}
}

// dropError is what queued writes are told when the socket is destroyed with err. s.mu is held.
func (s *Socket) dropError(err error) error {
	switch {
	case s.tr == nil && err != nil:
		return fmt.Errorf("%w: %w", ErrClosedBeforeConnect, err)
	case s.tr == nil:
		return ErrClosedBeforeConnect
	case err != nil:
		return err
	}
	return ErrDestroyed
}

// finishClose emits Close, the last event.
func (s *Socket) finishClose(hadError bool) {
	s.mu.Lock()
	s.closed, s.held = true, false
	s.mu.Unlock()
	defer func() { // even if a listener panics
		if s.server != nil {
			s.server.socketClosed(s)
		}
		s.mu.Lock()
		again := s.again
		s.again = nil
		s.mu.Unlock()
		if again != nil {
			again()
		}
		s.release()
	}()
	s.emitClose(hadError)
}

// release takes s out of the loop's table, unless Connect has put it there anew.
func (s *Socket) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		s.loop.remove(s)
	}
}

// bothEnded closes the socket once the peer's end was delivered and its own was sent.
func (s *Socket) bothEnded() {
	s.mu.Lock()
	if s.in.ended && s.out.finished || s.out.closeAfter && s.out.finished {
		s.destroyLocked(nil, false)
		return
	}
	s.mu.Unlock()
}

// closingPhase starts the time that SocketOptions.CloseTimeout allows. s.mu is held.
func (s *Socket) closingPhase() {
	if s.set.CloseTimeout > 0 && s.closeTimer == nil && !s.destroyed {
		s.closeTimer = time.AfterFunc(s.set.CloseTimeout, func() {
			s.Destroy(timeoutError(s, "close"))
		})
	}
}

// Ref makes the socket keep Loop.Run going while it is open, which it does from the start. Node:
// socket.ref.
func (s *Socket) Ref() { s.setRef(true) }

// Unref lets Loop.Run return although the socket is open. Node: socket.unref.
func (s *Socket) Unref() { s.setRef(false) }

func (s *Socket) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref = !referenced
	s.loop.setRef(s, referenced)
}
