package dgram

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"evnet"
	"evnet/internal/eventloop"
	"evnet/internal/race"
)

// Socket is a datagram socket: it sends and receives messages, each whole or not at all. CreateSocket,
// NewSocket and Wrap make one; the zero value is not usable.
//
// Every method may be called from any goroutine and from inside any callback. No method runs a callback
// before it returns, and none waits for the network, except Bind with a host name.
//
// A socket ends by Close or with its context; its last event is Close. From Bind until then it keeps
// Loop.Run going, unless Unref was called. It cannot be bound again after Close.
//
// Node: dgram.Socket.
type Socket struct {
	// On registers callbacks for every emit, Once for the next emit only, and Prepend before
	// those registered already.
	On, Once, Prepend SocketEvents

	opts    SocketOptions
	loop    *evnet.Loop
	core    *eventloop.Loop // the same
	network string          // "udp4", "udp6", or "" for a conn that is neither

	events atomic.Pointer[[]*entry] // stored with mu held
	onRead atomic.Pointer[func([]byte, netip.AddrPort)]
	closed atomic.Bool                    // stored with mu held
	local  atomic.Pointer[netip.AddrPort] // as the kernel reports it, from Bind on
	remote atomic.Pointer[netip.AddrPort] // nil unless connected; stays after Close, for messages that are still sent

	binding sync.Mutex // one Bind at a time; taken before mu

	mu         sync.Mutex // guards everything below
	conn       net.PacketConn
	tr         transport // nil until bound
	unref      bool
	connecting *connecting
	out        outbox
	lookups    lookups
	outcomes   outcomes
	failure    error // to be emitted before Close
	pending    int   // writers that Close waits for
	member     eventloop.Member
	onClose    []func()                // after the listeners of Close
	context    *eventloop.ContextWatch // nil without a context

	// Used only on the loop.
	delivering   bool // messages are being delivered: messages sent meanwhile are flushed at the end
	closeEmitted bool
	logged       map[string]bool // codes of errors without a listener
}

// NewSocket makes a socket that is not bound. It returns ErrBadType for a Network that is neither "udp4"
// nor "udp6", and ErrBadBufferSize for an invalid size of a buffer.
//
// Node: dgram.createSocket(options).
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
		w := eventloop.WatchContext(s.core, ctx, s, (*Socket).halt)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed.Load() {
			w.Stop()
		} else {
			s.context = w
		}
	}
	return s
}

// OnRead makes fn the only consumer of received messages, without a copy. msg is borrowed: it is valid until
// fn returns. Under the race detector it is overwritten then. fn runs on the loop. No Message is emitted.
// Another call replaces fn, and nil removes it. With a Message listener, OnRead returns evnet.ErrConsumed
// and changes nothing.
//
// Node has no counterpart.
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

// poison overwrites bytes that a callback has borrowed, so that misuse shows.
func poison(p []byte) {
	if race.Enabled {
		for i := range p {
			p[i] = 0xdb
		}
	}
}

// Close closes the socket immediately. Queued messages are still sent, as far as the kernel accepts them
// without blocking. The callbacks of the others, and of messages whose host name is being looked up, get
// ErrNotRunning. Then Close is emitted, and onClose is called once, unless it is nil. On a closed socket Close
// returns ErrNotRunning and no event follows.
//
// A conn passed to Wrap that is not a *net.UDPConn is closed on a goroutine. Only the return of Run waits for
// its Close, and a panic in it is logged.
//
// Node: socket.close.
func (s *Socket) Close(onClose func()) error {
	return s.close(nil, onClose)
}

func (s *Socket) halt() { _ = s.close(nil, nil) }

// fail closes the socket because of err, which is emitted as Error.
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
	tr, ctx := s.tr, s.context
	s.context = nil
	if tr == nil || !tr.closingLocked() {
		s.dropQueueLocked()
	}
	s.mu.Unlock()
	if tr != nil {
		tr.close()
	}
	s.settle()
	if ctx != nil {
		ctx.Stop() // last, because until then Run waits for the end of an unbound socket
	}
	return nil
}

// dropQueueLocked discards the queue, and reports ErrNotRunning to the callbacks.
func (s *Socket) dropQueueLocked() {
	for s.out.len() > 0 {
		d := s.out.take()
		s.outcomes.addIfDone(d.done, s.opError("send", d.to, ErrNotRunning))
		s.out.leave(d.n)
	}
	s.countLocked()
}

// settle posts finish if the socket is closed and no writer is pending.
func (s *Socket) settle() {
	s.mu.Lock()
	due := s.closed.Load() && s.pending == 0
	s.mu.Unlock()
	if due {
		s.loop.Post(s.finish)
	}
}

// finish reports the pending outcomes, then emits Error and Close. If a callback does not return, another task
// continues after it.
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

// beginCallbacks is called before callbacks of the socket in a task: a panic in one closes the socket.
func (s *Socket) beginCallbacks() { s.core.SetOwner((*handle)(s)) }

// endCallbacks is called after them.
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

// Ref makes the socket keep Loop.Run going, as it does from the start.
//
// Node: socket.ref.
func (s *Socket) Ref() { s.setRef(true) }

// Unref lets Loop.Run return although the socket is bound. Run closes it then.
//
// Node: socket.unref.
func (s *Socket) Unref() { s.setRef(false) }

func (s *Socket) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref = !referenced
	s.core.SetRef(&s.member, referenced)
}

// Loop returns the loop that runs the socket's callbacks.
func (s *Socket) Loop() *evnet.Loop { return s.loop }

// Conn returns the conn of a bound socket, or nil before Bind. Use it to set options that Socket does not have.
// Only the socket may read from it or close it.
//
// Node has no counterpart.
func (s *Socket) Conn() net.PacketConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// Address returns the local address, the zero AddrPort before the socket is bound. It stays readable after
// Close.
//
// Node: socket.address, which throws EBADF or ERR_SOCKET_DGRAM_NOT_RUNNING instead.
func (s *Socket) Address() netip.AddrPort {
	if local := s.local.Load(); local != nil {
		return *local
	}
	return netip.AddrPort{}
}

// RemoteAddress returns the peer of a connected socket. Otherwise it returns ErrNotConnected, and after Close
// ErrNotRunning.
//
// Node: socket.remoteAddress.
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

// SendQueueSize returns the number of bytes in pending messages. A message is pending until the kernel has
// accepted it, also while its host name is being looked up.
//
// Node: socket.getSendQueueSize.
func (s *Socket) SendQueueSize() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.bytes
}

// SendQueueCount returns the number of pending messages.
//
// Node: socket.getSendQueueCount.
func (s *Socket) SendQueueCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.count
}

// receiveFailed reports a receive that has failed. It runs on the loop. A conn that was closed, although the
// socket was not, ends the socket.
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
