package dgram

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"evnet"
	"evnet/internal/eventloop"
	"evnet/internal/race"
)

// Socket is a socket of datagrams: it sends and receives messages, each whole or not at all. CreateSocket,
// NewSocket and Wrap make one; the zero value is not usable.
//
// Every method may be called from any goroutine and from inside any callback; none runs a callback
// before it returns, and none waits for the network, but for a Bind of a host name. A socket ends by
// Close or the end of its context; its last event is Close. From Bind until then it keeps Loop.Run going,
// unless Unref was called. It cannot be bound again after Close. Node: dgram.Socket.
type Socket struct {
	// On registers callbacks for every time, Once for the next time only, and Prepend before
	// those registered already.
	On, Once, Prepend SocketEvents

	opts    SocketOptions
	loop    *evnet.Loop
	core    *eventloop.Loop // the same, for methods that users do not see
	network string          // "udp4", "udp6", or "" for a conn that is neither

	events atomic.Pointer[[]*entry] // stored with mu held
	onRead atomic.Pointer[func([]byte, netip.AddrPort)]
	closed atomic.Bool                    // stored with mu held
	local  atomic.Pointer[netip.AddrPort] // as the system tells it, from Bind on
	remote atomic.Pointer[netip.AddrPort] // nil unless connected; stays after Close, for what still leaves

	binding sync.Mutex // one Bind at a time; taken before mu

	mu         sync.Mutex // guards everything below
	conn       net.PacketConn
	tr         transport // nil until bound
	unref      bool
	connecting *connecting
	out        outbox
	lookups    lookups
	outcomes   outcomes
	failure    error // to be told before Close
	pending    int   // of what Close waits for: a writer
	member     eventloop.Member
	onClose    []func()    // after the listeners of Close
	unwatch    func() bool // lets the context go

	// Of the loop's owner alone.
	delivering   bool // messages are: what is sent meanwhile leaves after them
	closeEmitted bool
	logged       map[string]bool // codes of errors that nobody hears
}

// NewSocket makes a socket that is not bound yet. A Network that is neither "udp4" nor "udp6" is
// ErrBadType, and the size of a buffer that is none ErrBadBufferSize. Node: dgram.createSocket(options).
func NewSocket(opts *SocketOptions) (*Socket, error) {
	o := withDefaults(opts)
	if err := o.check(); err != nil {
		return nil, err
	}
	return newSocket(o), nil
}

func newSocket(o SocketOptions) *Socket {
	s := &Socket{opts: o, loop: o.Loop, core: (*eventloop.Loop)(o.Loop), network: o.Network}
	s.On = SocketEvents{s, modeOn}
	s.Once = SocketEvents{s, modeOnce}
	s.Prepend = SocketEvents{s, modePrepend}
	if ctx := o.Context; ctx != nil {
		if ctx.Err() != nil {
			_ = s.Close(nil)
			return s
		}
		unwatch := context.AfterFunc(ctx, s.halt)
		s.mu.Lock()
		s.unwatch = unwatch
		s.mu.Unlock()
	}
	return s
}

// OnRead makes fn the one consumer of what arrives, without a copy: msg is borrowed, valid until fn
// returns; under the race detector it is overwritten then. fn runs on the loop. No Message is emitted.
// A further call replaces fn, nil undoes it. With a Message listener it returns evnet.ErrConsumed and
// changes nothing. Node has none.
func (s *Socket) OnRead(fn func(msg []byte, from netip.AddrPort)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fn == nil {
		s.onRead.Store(nil)
		return nil
	}
	if s.ListenerCount(EventMessage) > 0 {
		return s.opError("OnRead", netip.AddrPort{}, evnet.ErrConsumed)
	}
	s.onRead.Store(&fn)
	return nil
}

// scribble overwrites what a callback has borrowed, so that misuse shows.
func scribble(p []byte) {
	if race.Enabled {
		for i := range p {
			p[i] = 0xdb
		}
	}
}

// Close closes the socket, at once. What was sent to addresses before, and the system takes without
// waiting, still leaves; the callbacks of the rest get ErrNotRunning. Close is emitted, and onClose
// called once, if it is not nil, after them. A conn of Wrap's that is no *net.UDPConn is closed meanwhile, on a
// goroutine: only Run's return waits for its Close, whose panic goes to the Logger. On a socket that is closed it returns ErrNotRunning and no
// event follows. Node: socket.close.
func (s *Socket) Close(onClose func()) error {
	return s.close(nil, onClose)
}

// halt is Close for the loop.
func (s *Socket) halt() { _ = s.close(nil, nil) }

// fail closes the socket because of err, which Error tells.
func (s *Socket) fail(err error) { _ = s.close(err, nil) }

func (s *Socket) close(cause error, onClose func()) error {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return ErrNotRunning
	}
	if s.tr != nil {
		s.tr.flushLocked()
	}
	s.closed.Store(true)
	s.failure = cause
	if onClose != nil {
		s.onClose = append(s.onClose, onClose)
	}
	if c := s.connecting; c != nil {
		s.connecting = nil
		c.cancel()
		s.outcomes.addIfDone(c.done, s.refused("connect", c.address, ErrNotRunning))
	}
	if s.lookups.cancel != nil {
		s.lookups.cancel()
	}
	for l := range s.lookups.open {
		s.outcomes.addIfDone(l.done, s.refused("send", l.address, ErrNotRunning))
		s.out.leave(len(l.msg))
	}
	s.lookups.open, s.lookups.waiting = nil, nil
	tr, unwatch := s.tr, s.unwatch
	s.unwatch = nil
	if tr == nil || !tr.closingLocked() {
		s.dropQueueLocked()
	}
	s.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	if tr != nil {
		tr.close()
	}
	s.settle()
	return nil
}

// dropQueue tells those whose datagrams do not leave any more. s.mu is held.
func (s *Socket) dropQueueLocked() {
	for s.out.len() > 0 {
		d := s.out.take()
		s.outcomes.addIfDone(d.done, s.opError("send", d.to, ErrNotRunning))
		s.out.leave(d.n)
	}
	s.countLocked()
}

// settle makes the end be told, once nothing is left that it has to wait for.
func (s *Socket) settle() {
	s.mu.Lock()
	due := s.closed.Load() && s.pending == 0
	s.mu.Unlock()
	if due {
		s.loop.Post(s.finish)
	}
}

// finish tells what is left, then Error and Close. Should a callback not return, another task goes on
// after it.
func (s *Socket) finish() {
	returned := false
	defer func() {
		if !returned {
			s.loop.Post(s.finish)
		}
	}()
	s.reportOutcomes()
	s.beginCallbacks()
	s.mu.Lock()
	err := s.failure
	s.failure = nil
	s.mu.Unlock()
	if err != nil {
		s.emitError(err)
	}
	if !s.closeEmitted {
		s.closeEmitted = true
		s.emit(EventClose)
	}
	s.mu.Lock()
	after := s.onClose
	s.onClose = nil
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
	s.endCallbacks()
	s.core.Remove(&s.member)
	returned = true
}

// beginCallbacks precedes callbacks of the socket in a task: a panic in one closes the socket.
func (s *Socket) beginCallbacks() { s.core.SetOwner((*handle)(s)) }

// endCallbacks follows them.
func (s *Socket) endCallbacks() { s.core.SetOwner(nil) }

// handle is the socket as its loop sees it.
type handle Socket

func (h *handle) Halt()          { (*Socket)(h).halt() }
func (h *handle) Fail(err error) { (*Socket)(h).fail(err) }

func (h *handle) PanicError(value any, stack []byte) error {
	return &evnet.PanicError{Value: value, Stack: stack}
}

func (h *handle) Ready(ev eventloop.Events) {
	h.mu.Lock()
	tr := h.tr
	h.mu.Unlock()
	if tr != nil {
		tr.ready(ev)
	}
}

// Ref makes the socket keep Loop.Run going, which it does from the start. Node: socket.ref.
func (s *Socket) Ref() { s.setRef(true) }

// Unref lets Loop.Run return although the socket is bound; it is closed then. Node: socket.unref.
func (s *Socket) Unref() { s.setRef(false) }

func (s *Socket) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref = !referenced
	s.core.SetRef(&s.member, referenced)
}

// Loop is the loop that runs the socket's callbacks.
func (s *Socket) Loop() *evnet.Loop { return s.loop }

// Conn is what the socket is bound by, nil before: for options that Socket does not have. To read from
// it or to close it is the socket's business. Node has none.
func (s *Socket) Conn() net.PacketConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Address is where the socket receives, the zero AddrPort before it is bound; it stays readable after
// Close. Node, where it throws EBADF or ERR_SOCKET_DGRAM_NOT_RUNNING instead: socket.address.
func (s *Socket) Address() netip.AddrPort {
	if local := s.local.Load(); local != nil {
		return *local
	}
	return netip.AddrPort{}
}

// RemoteAddress is the peer of a connected socket. Otherwise it returns ErrNotConnected, and after Close
// ErrNotRunning. Node: socket.remoteAddress.
func (s *Socket) RemoteAddress() (netip.AddrPort, error) {
	remote := s.remote.Load()
	switch {
	case s.closed.Load():
		return netip.AddrPort{}, ErrNotRunning
	case remote == nil:
		return netip.AddrPort{}, ErrNotConnected
	}
	return *remote, nil
}

// SendQueueSize is how many bytes of messages wait to be sent, for the system to take them or for a host
// name to be found. Node: socket.getSendQueueSize.
func (s *Socket) SendQueueSize() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.bytes
}

// SendQueueCount is how many messages wait. Node: socket.getSendQueueCount.
func (s *Socket) SendQueueCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.count
}

// receiveFailed tells of a receive that has failed. It runs on the loop. A conn that is gone, though nobody has
// closed the socket, is its end.
func (s *Socket) receiveFailed(err error) {
	if s.closed.Load() {
		return
	}
	err = s.opError("receive", netip.AddrPort{}, err)
	if errors.Is(err, net.ErrClosed) {
		s.fail(err)
		return
	}
	s.beginCallbacks()
	s.emitError(err)
	s.endCallbacks()
}
