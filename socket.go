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
// ReadFrom, Chunks and the conn of BlockingConn, which say so), and none runs a callback before it returns. Callbacks run on the
// socket's Loop, one at a time.
//
// What is written is copied; a chunk given to Data or Chunks belongs to the receiver, one given to
// OnRead or Scan is borrowed. A failing socket emits Error once, then Close(true), and keeps the
// cause in Err. A socket ends when both sides have ended, or by Destroy, Reset, Close or a failure;
// Close is its last event. Until then it keeps Loop.Run going, unless Unref was called. It may be
// connected again afterwards. Node: net.Socket.
type Socket struct {
	// On registers callbacks for every time, Once for the next time only, and Prepend before
	// those registered already.
	On, Once, Prepend SocketEvents

	set *settings

	mu     sync.Mutex // guards everything below; taken before the loop's lock, never after it
	events listeners

	stream transport.Stream // the connection

	in       inbound
	out      outbound
	optional *optional // use opt and makeOpt

	member     eventloop.Member // in the loop's table: see held
	epoch      int32            // connections before this one
	opened     bool             // a conn was had, or is being made: there is something to close
	registered bool             // in the loop's table: keeps Run going
	unref      bool
	handshake  bool // a TLS handshake is under way: nothing is read or written yet
	halfOpen   bool
	destroyed  bool
	closed     bool // Close was emitted, or is being
	closing    bool // Close is being emitted

	modes [3]mode // what On, Once and Prepend point to; never changed

	// Guarded by the server's mu.
	active bool          // it counts as a connection: it is not destroyed
	place  int32         // in the server's table
	from   *addressCount // that counts it; nil unless there is MaxConnectionsPerAddress
}

// NewSocket makes a socket that is not connected. Register callbacks, then call Connect. nil means
// all defaults. Node: new net.Socket.
func NewSocket(opts *SocketOptions) *Socket { return newSocket(newSettings(opts)) }

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

// loop is the loop of the socket without what is evnet's.
func (s *Socket) loop() *eventloop.Loop { return s.set.Loop.core() }

// hold enters s in the loop's table of what is open. s.mu is held.
func (s *Socket) register() bool {
	if s.registered = s.loop().AddBuffering((*handle)(s), &s.member, !s.unref); !s.registered {
		return false
	}
	if r := s.optional; r != nil && r.notify.after > 0 {
		s.loop().Remove(&r.timerMember)
		if r.notify.timer == nil { // it has ended with Run, or with the connection before
			r.notify.set = time.Now()
			s.startTimer(&r.notify, r.notify.after)
		}
	}
	if s.set.IdleTimeout > 0 {
		kill := &s.makeOpt().kill
		kill.after, kill.set = s.set.IdleTimeout, time.Now()
		s.startTimer(kill, kill.after)
	}
	if s.set.MaxLifetime > 0 {
		s.giveUpAfter(&s.makeOpt().lifeTimer, "lifetime", s.set.MaxLifetime, s.in.bytes, maxLate)
	}
	if ctx := s.set.Context; ctx != nil {
		epoch := s.epoch
		s.makeOpt().unwatch = context.AfterFunc(ctx, func() { s.contextEnded(epoch) })
	}
	return true
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

// addresses are those of a conn whose own may not outlive it, or may panic.
type addresses struct{ local, remote net.Addr }

// addressesOf is called without a lock.
func addressesOf(conn net.Conn) addresses {
	if transport.IsKernelConn(conn) {
		return addresses{}
	}
	return addresses{conn.LocalAddr(), conn.RemoteAddr()}
}

// adopt takes a connected conn, on one side of TLS if that is asked for. s.mu is held; setOptions follows.
func (s *Socket) attach(below net.Conn, at addresses, side transport.Side) {
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
	s.trackWrites()
	if _, s.handshake = conn.(transport.Handshaker); s.handshake {
		s.prepareHandshake()
	}
	s.markActive()
}

// setOptions sets those of the system that were asked for before there was a conn. That may have methods of
// the program's own: they are called without a lock, and one that panics costs its own socket.
func (s *Socket) setOptions() {
	s.mu.Lock()
	conn, noDelay, alive := s.stream.Conn(), s.opt().noDelay, s.opt().keepAlive
	s.mu.Unlock()
	if conn == nil || noDelay == nil && alive == nil {
		return
	}
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
		same := s.stream.Conn() != conn || s.opt().noDelay == noDelay && s.opt().keepAlive == alive
		s.mu.Unlock()
		if !same { // SetNoDelay or SetKeepAlive has overtaken it
			s.setOptions()
		}
	})
}

// begin starts the traffic of a connected socket: it runs on the loop.
func (s *Socket) begin() {
	s.mu.Lock()
	if s.destroyed || s.handshake || s.out.upgradePending {
		if s.handshake && !s.destroyed {
			s.startHandshake()
		}
		s.mu.Unlock()
		return
	}
	s.in.started = true
	s.mu.Unlock()
	s.flush()
	s.flow()
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
	s.loop().SetRef(&s.member, referenced)
}

// optional is what only some sockets need: without it a socket is small. The socket's mu guards it.
type optional struct {
	// Connecting.
	attempted  []string // addresses, by the last Connect
	onConnect  Listener // of the function Connect: gone with its attempt
	resetLater bool     // Reset was called while connecting
	again      func()   // Connect called between the destruction and Close

	// TLS.
	host      string               // that Connect was given
	upgrade   *upgrade             // StartTLS was called, and TLS has not begun
	handshake *handshaking         // until it is done
	agreed    *tls.ConnectionState // by it
	accepting bool                 // by a server that tells Connection after it

	err           error       // what it was destroyed with
	dial          *connecting // while connecting
	local, remote net.Addr    // of a conn whose addresses may not outlive it
	noDelay       *bool       // asked for, to be set once there is a conn
	keepAlive     *keepAlive  // likewise

	sources      []*pipe // that have this socket as their destination
	relay        *relay  // from Relay to Close
	closingRelay *relay  // the same while Close is emitted, in which the socket may be connected anew

	blocking *blockingConn // from BlockingConn to the next Connect, or to Relay

	timerMember eventloop.Member // of timerHandle

	active     time.Time   // of the last activity, if a timer is on
	notify     idleTimer   // SetTimeout
	kill       idleTimer   // SocketOptions.IdleTimeout
	first      *time.Timer // ServerOptions.FirstByteTimeout
	closeTimer *time.Timer // bounds the closing phase
	lifeTimer  *time.Timer // SocketOptions.MaxLifetime
	writes     *writeWatch // SocketOptions.WriteTimeout, once something has waited for room
	unwatch    func() bool // lets SocketOptions.Context go
}

var emptyOptional optional // never changed

// opt is for reading: the result may be shared with other sockets. s.mu is held.
func (s *Socket) opt() *optional {
	if s.optional == nil {
		return &emptyOptional
	}
	return s.optional
}

// makeOpt is to change. s.mu is held, or nobody else knows s.
func (s *Socket) makeOpt() *optional {
	if s.optional == nil {
		s.optional = &optional{}
	}
	return s.optional
}

// localAddr is LocalAddr with s.mu held: that of package net's own conns outlives them.
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
