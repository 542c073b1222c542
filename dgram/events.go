package dgram

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"evnet"
	"evnet/internal/eventloop"
)

// Event names an event, for ListenerCount and RemoveAllListeners. The names are Node's.
type Event string

// The events of a socket.
const (
	EventClose     Event = "close"
	EventConnect   Event = "connect"
	EventError     Event = "error"
	EventListening Event = "listening"
	EventMessage   Event = "message"
)

// Listener is one registration of a callback. The zero value is one that was removed. It is small: copy
// it freely.
//
// Node has no such value; off(name, fn) removes by function.
type Listener struct {
	entry *entry
	of    *Socket
	err   error
}

// Off removes the callback immediately, also during an emit that has not reached it yet. Any goroutine may
// call it, and again.
func (l Listener) Off() {
	if l.entry != nil && l.entry.removed.CompareAndSwap(false, true) {
		l.of.forget(func(e *entry) bool { return e == l.entry })
	}
}

// Err returns the reason that the callback was not registered, or nil: evnet.ErrNilArgument if the callback
// was nil, evnet.ErrConsumed if On.Message was called while OnRead has a function.
func (l Listener) Err() error { return l.err }

type entry struct {
	name    Event
	fn      any // of the type that the event has
	once    bool
	removed atomic.Bool
}

// mode distinguishes the fields On, Once and Prepend.
type mode uint8

const (
	modeOn mode = iota
	modeOnce
	modePrepend
)

// SocketEvents registers callbacks for the events of a Socket. A socket has three: On registers for
// every emit, Once for the next emit only, Prepend before those already registered.
//
// Any goroutine may call the methods; the callbacks run on the socket's loop, in order of registration,
// one at a time. A callback added during an emit is not called for that emit. If a callback closes the socket,
// the others are still called. A nil callback is not registered: see Listener.Err. To miss no event, register
// before Bind, inside a callback, before Run, or in Loop.Do.
//
// Node: socket.on, once and prependListener.
type SocketEvents struct {
	s    *Socket
	mode mode
}

// Message is emitted for each received datagram. msg belongs to the receiver, which may keep and
// change it; several listeners of one socket share it. It may be empty. from is the sender; on a udp6
// socket IPv4 senders are ::ffff:1.2.3.4. Without a listener, datagrams are dropped. While OnRead has a
// function, nothing is registered and Listener.Err is evnet.ErrConsumed.
//
// Node: message.
func (v SocketEvents) Message(fn func(msg []byte, from netip.AddrPort)) Listener {
	return v.register(EventMessage, fn == nil, fn)
}

// Listening is emitted once, when the socket is bound: by Bind, by Wrap, or by the first Send, Connect or
// AddMembership. It precedes every Message.
//
// Node: listening.
func (v SocketEvents) Listening(fn func()) Listener {
	return v.register(EventListening, fn == nil, fn)
}

// Connect is emitted when Connect has associated the socket with its peer.
//
// Node: connect.
func (v SocketEvents) Connect(fn func()) Listener { return v.register(EventConnect, fn == nil, fn) }

// Close is emitted once, as the last event, when the socket is closed.
//
// Node: close.
func (v SocketEvents) Close(fn func()) Listener { return v.register(EventClose, fn == nil, fn) }

// Error is emitted when receiving has failed, or when a Send or Connect without a callback has failed. The
// socket stays open, unless a callback has panicked or the conn has failed permanently: then Close follows.
// Without a listener the error is logged.
//
// Node: error.
func (v SocketEvents) Error(fn func(err error)) Listener {
	return v.register(EventError, fn == nil, fn)
}

func (v SocketEvents) register(name Event, isNil bool, fn any) Listener {
	if isNil {
		return Listener{err: evnet.ErrNilArgument}
	}
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == EventMessage && s.onRead.Load() != nil {
		return Listener{err: evnet.ErrConsumed}
	}
	if name == EventClose && s.context != nil {
		s.context.Keep(s)
	}
	e := &entry{name: name, fn: fn, once: v.mode == modeOnce}
	var list []*entry
	if v.mode == modePrepend {
		list = append([]*entry{e}, s.listeners()...)
	} else {
		list = append(slices.Clip(s.listeners()), e)
	}
	s.events.Store(&list)
	return Listener{entry: e, of: s}
}

// listeners returns a list that is never changed in place: an emit continues with the one it began with.
func (s *Socket) listeners() []*entry {
	if list := s.events.Load(); list != nil {
		return *list
	}
	return nil
}

func (s *Socket) forget(matches func(*entry) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(s.listeners()), func(e *entry) bool {
		if matches(e) {
			e.removed.Store(true)
			return true
		}
		return false
	})
	s.events.Store(&list)
}

// ListenerCount returns the number of callbacks of the event, 0 if name is not an event. Any goroutine
// may call it.
//
// Node: listenerCount.
func (s *Socket) ListenerCount(name Event) int {
	n := 0
	for _, e := range s.listeners() {
		if e.name == name {
			n++
		}
	}
	return n
}

// RemoveAllListeners removes every callback of the events, or of all events when none is named, also
// during an emit. Any goroutine may call it.
//
// Node: removeAllListeners.
func (s *Socket) RemoveAllListeners(names ...Event) {
	s.forget(func(e *entry) bool { return len(names) == 0 || slices.Contains(names, e.name) })
}

// callback returns the function of e that an emit of the event calls, if e is still registered. It removes
// a one-time listener.
func callback[F any](s *Socket, e *entry, name Event) (fn F, ok bool) {
	if e.name != name || e.removed.Load() {
		return fn, false
	}
	if e.once {
		if !e.removed.CompareAndSwap(false, true) {
			return fn, false
		}
		s.forget(func(x *entry) bool { return x == e })
	}
	return e.fn.(F), true
}

// trace shows an event that is about to be emitted to the Tracer of the loop.
func (s *Socket) trace(e eventloop.TraceEvent) {
	if host := s.core.Host(); host.Tracing() {
		e.Source = s
		host.Trace(e)
	}
}

// emit emits an event without arguments, after beginCallbacks.
func (s *Socket) emit(name Event) {
	s.trace(eventloop.TraceEvent{Name: string(name)})
	for _, e := range s.listeners() {
		if fn, ok := callback[func()](s, e, name); ok {
			fn()
		}
	}
}

// emitMessage passes a datagram, which is borrowed, to OnRead's function or the listeners.
func (s *Socket) emitMessage(p []byte, from netip.AddrPort) {
	if fn := s.onRead.Load(); fn != nil {
		(*fn)(p, from)
		poison(p)
		return
	}
	s.trace(eventloop.TraceEvent{Name: string(EventMessage), Chunk: p, From: from})
	var own []byte
	for _, e := range s.listeners() {
		if fn, ok := callback[func([]byte, netip.AddrPort)](s, e, EventMessage); ok {
			if own == nil {
				own = make([]byte, len(p))
				copy(own, p)
			}
			fn(own, from)
		}
	}
}

// emitError emits Error, or logs the error if there is no listener. A peer can cause such errors, and must
// not be able to fill the log with them.
func (s *Socket) emitError(err error) {
	s.trace(eventloop.TraceEvent{Name: string(EventError), Err: err})
	handled := false
	for _, e := range s.listeners() {
		if fn, ok := callback[func(error)](s, e, EventError); ok {
			handled = true
			fn(err)
		}
	}
	code := evnet.Code(err)
	if handled || s.logged[code] {
		return
	}
	if s.logged == nil {
		s.logged = map[string]bool{}
	}
	if r, ok := s.record(); ok { // otherwise the next error with this code is logged
		s.logged[code] = true
		r.Write("dgram: socket error without a listener", "err", err, "local", s.Address())
	}
}
