package evnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/transport"
)

// ReadyState is the state of a socket. As in Node, it is derived from what may still be read and written.
type ReadyState int

// The states of a socket, with the states that may follow.
const (
	StateNew       ReadyState = iota // not connected yet: Opening, Closed, or ReadOnly after End
	StateOpening                     // Connect was called: Open, ReadOnly after End, or Closed
	StateOpen                        // both sides are open: ReadOnly, WriteOnly or Closed
	StateReadOnly                    // this side has ended: Closed
	StateWriteOnly                   // the peer has ended: Closed
	StateClosed                      // nothing may follow but Connect: Opening
)

// String returns Node's name of the state, or "new" for a socket that was never connected.
func (r ReadyState) String() string {
	names := [...]string{"new", "opening", "open", "readOnly", "writeOnly", "closed"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("ReadyState(%d)", int(r))
	}
	return names[r]
}

// Socket is one end of a connection: it wraps a net.Conn and emits events. NewSocket, Connect, Wrap and a Server create
// sockets; the zero value is not usable.
//
// A failing socket emits Error once, then Close(true), and keeps the cause in Err. A socket ends when both sides have
// ended, or by Destroy, Reset, Close or a failure. Close is its last event. Until then it keeps Loop.Run running,
// unless Unref was called. It may be connected again afterwards.
//
// Every method may be called from any goroutine and inside any callback. No method blocks, except ReadFrom, Chunks,
// the conn of BlockingConn, and Detach for a short time, which document it. No method runs a callback before it
// returns. Callbacks run on the socket's Loop, one at a time.
//
// Written data is copied. A chunk passed to Data or yielded by Chunks belongs to the receiver. A chunk passed to OnRead
// or Scan is borrowed: it is valid until the callback returns.
//
// Node: net.Socket.
type Socket struct {
	// On registers callbacks for every emit, Once for the next emit only, and Prepend before those already registered.
	On, Once, Prepend SocketEvents

	set *settings

	mu     sync.Mutex // guards everything below; taken before the loop's lock, never after it
	events listeners

	stream transport.Stream // the connection

	in       inbound
	out      outbound
	optional *optional // use opt and makeOpt

	member     eventloop.Member // in the loop's table of open handles: see registerLocked
	epoch      int32            // the number of earlier connections
	opened     bool             // there is a connection, or an attempt, to close
	registered bool             // in the loop's table of open handles: keeps Run running
	unref      bool
	handshake  bool // a TLS handshake is in progress: nothing is read or written yet
	halfOpen   bool
	destroyed  bool
	closed     bool // Close was emitted or is being emitted
	closing    bool // Close is being emitted

	modes [3]mode // On, Once and Prepend point to these; never modified

	// Guarded by the server's mu.
	active bool          // counts as a connection: not destroyed
	place  int32         // index in the server's table
	from   *addressCount // counts the socket; nil without MaxConnectionsPerAddress
}

// NewSocket returns a socket that is not connected. Register callbacks, then call Connect. nil options select the
// defaults.
//
// Node: new net.Socket.
func NewSocket(opts *SocketOptions) *Socket {
	s := newSocket(newSettings(opts))
	s.watchContext()
	return s
}

func newSocket(set *settings) *Socket {
	s := &Socket{set: set, halfOpen: set.AllowHalfOpen}
	s.in.receiveBuffer, s.out.writeState = &emptyReceiveBuffer, &emptyWriteState
	s.stream.Init((*handle)(s))
	if set.KeepAlive != 0 {
		s.makeOpt().keepAlive = &keepAlive{set.KeepAlive > 0, set.KeepAlive}
	}
	if set.NoDelay {
		s.makeOpt().noDelay = &set.NoDelay
	}
	s.modes = [...]mode{modeOn, modeOnce, modePrepend}
	s.On.mode, s.Once.mode, s.Prepend.mode = &s.modes[0], &s.modes[1], &s.modes[2]
	return s
}

// loop returns the event loop under the socket's Loop.
func (s *Socket) loop() *eventloop.Loop { return s.set.Loop.core() }

// registerLocked adds s to the open handles of the loop and starts its timers. It reports whether the loop accepted s. s.mu
// is held.
func (s *Socket) registerLocked() bool {
	if s.registered = s.loop().AddBuffering((*handle)(s), &s.member, !s.unref); !s.registered {
		return false
	}
	if r := s.optional; r != nil && r.notify.after > 0 {
		s.loop().Remove(&r.timerMember)
		if r.notify.timer == nil { // stopped when Run or the previous connection ended
			r.notify.set = time.Now()
			s.startTimerLocked(&r.notify, r.notify.after)
		}
	}
	if s.set.IdleTimeout > 0 {
		kill := &s.makeOpt().kill
		kill.after, kill.set = s.set.IdleTimeout, time.Now()
		s.startTimerLocked(kill, kill.after)
	}
	if s.set.MaxLifetime > 0 {
		s.giveUpAfterLocked(&s.makeOpt().lifeTimer, "lifetime", s.set.MaxLifetime, s.in.bytes, maxLate)
	}
	if ctx := s.set.Context; ctx != nil {
		epoch := s.epoch
		s.leaveContextLocked()
		s.makeOpt().unwatch = context.AfterFunc(ctx, func() { s.contextEnded(epoch) })
	}
	return true
}

// watchContext makes the end of SocketOptions.Context destroy the socket before it is connected. From registerLocked on,
// another watch does. The socket was just made.
func (s *Socket) watchContext() {
	if s.set.Context == nil {
		return
	}
	w := eventloop.WatchContext(s.loop(), s.set.Context, s, (*Socket).contextEndedEarly)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		w.Stop()
		return
	}
	s.makeOpt().early = w
}

// contextEndedEarly posts the destruction, so that Connect reports a context that has already ended.
func (s *Socket) contextEndedEarly() { s.loop().Post(func() { s.contextEnded(0) }) }

// leaveContextLocked stops watching SocketOptions.Context.
func (s *Socket) leaveContextLocked() {
	r := s.optional
	if r == nil {
		return
	}
	if r.early != nil {
		r.early.Stop()
		r.early = nil
	}
	if r.unwatch != nil {
		r.unwatch()
		r.unwatch = nil
	}
}

// contextEnded destroys the socket because SocketOptions.Context has ended.
func (s *Socket) contextEnded(epoch int32) {
	s.mu.Lock()
	if s.epoch != epoch || s.destroyed {
		s.mu.Unlock()
		return
	}
	err := s.set.Context.Err()
	if dial := s.opt().dial; dial != nil {
		err = dial.opError(err)
	} else {
		err = &net.OpError{Op: "context", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
	}
	e := s.destroyLocked(err, false)
	s.mu.Unlock()
	e.run()
}

// attachLocked takes over a connected conn, on one side of TLS if that is configured. The caller holds s.mu, and calls
// setOptions afterwards.
func (s *Socket) attachLocked(below net.Conn, at addresses, side transport.Side) {
	conn := transport.Secure(below, side, s.set.TLSConfig, s.opt().host, nil)
	s.opened = true
	if !transport.IsKernelConn(conn) {
		if transport.IsKernelConn(below) {
			at = addresses{below.LocalAddr(), below.RemoteAddr()}
		}
		r := s.makeOpt()
		r.local, r.remote = at.local, at.remote
	}
	s.stream.Open(conn)
	s.trackWritesLocked()
	if _, s.handshake = conn.(transport.Handshaker); s.handshake {
		s.prepareHandshakeLocked()
	}
	s.markActiveLocked()
}

// setOptions applies the socket options that were set before there was a conn. The conn's methods may be the user's
// code: they are called without a lock, and a panic destroys only this socket.
func (s *Socket) setOptions() {
	s.mu.Lock()
	conn, noDelay, alive := s.stream.Conn(), s.opt().noDelay, s.opt().keepAlive
	s.mu.Unlock()
	switch {
	case conn == nil || noDelay == nil && alive == nil:
	case transport.MayBlock(conn):
		callForeign(s.loop(), func() { s.setOptionsOf(conn, noDelay, alive) }).wait()
	default:
		s.setOptionsOf(conn, noDelay, alive)
	}
}

func (s *Socket) setOptionsOf(conn net.Conn, noDelay *bool, alive *keepAlive) {
	eventloop.Contain((*handle)(s), func() error {
		if noDelay != nil {
			_ = setNoDelay(conn, *noDelay)
		}
		if alive != nil {
			_ = setKeepAlive(conn, *alive)
		}
		return nil
	}, func(err error) {
		if err != nil {
			s.Destroy(err)
			return
		}
		s.mu.Lock()
		current := s.stream.Conn() != conn || s.opt().noDelay == noDelay && s.opt().keepAlive == alive
		s.mu.Unlock()
		if !current { // SetNoDelay or SetKeepAlive was called in the meantime
			s.setOptions()
		}
	})
}

// begin starts the traffic of a connected socket. It runs on the loop.
func (s *Socket) begin() {
	s.mu.Lock()
	if s.destroyed || s.handshake || s.out.upgradePending {
		if s.handshake && !s.destroyed {
			s.startHandshakeLocked()
		}
		s.mu.Unlock()
		return
	}
	s.in.started = true
	s.mu.Unlock()
	s.flush()
	s.flow()
}

// Ref makes the socket keep Loop.Run running while it is open, which is the default.
//
// Node: socket.ref.
func (s *Socket) Ref() { s.setRef(true) }

// Unref lets Loop.Run return while the socket is open.
//
// Node: socket.unref.
func (s *Socket) Unref() { s.setRef(false) }

func (s *Socket) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref = !referenced
	s.loop().SetRef(&s.member, referenced)
}

// optional is state that only some sockets need; without it a socket is small. The socket's mu guards it.
type optional struct {
	// Connecting.
	attempted  []string // addresses of the last Connect
	onConnect  Listener // of the function Connect: removed when its attempt fails
	resetLater bool     // Reset was called while connecting
	again      func()   // a Connect that was called between the destruction and Close

	// TLS.
	host      string               // of the address passed to Connect
	upgrade   *upgrade             // StartTLS was called, and TLS has not started
	handshake *handshaking         // until the handshake is done
	agreed    *tls.ConnectionState // negotiated by the handshake
	shaken    int64                // bytes received below TLS when the handshake was done
	accepting bool                 // by a server that emits Connection after the handshake

	err           error        // the socket was destroyed with it
	linger        linger       // how its conn will be closed
	failed        *failedWrite // the last failed write after which the socket continued
	dial          *connecting  // while connecting
	local, remote net.Addr     // of a conn whose addresses may become unavailable when it closes
	noDelay       *bool        // set by the user, to be applied once there is a conn
	keepAlive     *keepAlive   // likewise

	sources      []*pipe       // pipes whose destination is this socket
	relay        *relay        // from Relay to Close
	resetting    *pendingReset // after the other member of the relay has failed
	closingRelay *relay        // the relay while Close is emitted, during which the socket may be connected again

	producer *producer // from Produce until next has returned false or the socket is destroyed

	blocking *blockingConn // from BlockingConn to the next Connect, or to Relay

	timerMember eventloop.Member // of timerHandle

	active     time.Time   // the last activity, if a timer is on
	notify     idleTimer   // SetTimeout
	kill       idleTimer   // SocketOptions.IdleTimeout
	first      *time.Timer // ServerOptions.FirstByteTimeout
	closeTimer *time.Timer // bounds the closing phase
	lifeTimer  *time.Timer // SocketOptions.MaxLifetime
	writes     *writeWatch // SocketOptions.WriteTimeout, once data was queued
	unwatch    func() bool // stops watching SocketOptions.Context

	early *eventloop.ContextWatch // of SocketOptions.Context before Connect
}

var emptyOptional optional // never modified

// opt returns the optional state for reading; sockets may share it. s.mu is held.
func (s *Socket) opt() *optional {
	if s.optional == nil {
		return &emptyOptional
	}
	return s.optional
}

// makeOpt returns the optional state for writing. s.mu is held, or no other goroutine has a reference to s.
func (s *Socket) makeOpt() *optional {
	if s.optional == nil {
		s.optional = &optional{}
	}
	return s.optional
}

// localAddr is LocalAddr with s.mu held. The addresses of package net's own conns remain available after they close.
func (s *Socket) localAddr() net.Addr {
	if a := s.opt().local; a != nil || s.stream.Conn() == nil || !transport.IsKernelConn(s.stream.Conn()) {
		return a
	}
	return s.stream.Conn().LocalAddr()
}

func (s *Socket) remoteAddr() net.Addr {
	if a := s.opt().remote; a != nil || s.stream.Conn() == nil || !transport.IsKernelConn(s.stream.Conn()) {
		return a
	}
	return s.stream.Conn().RemoteAddr()
}
