package evnet

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
)

// listeners are the callbacks of one emitter, for all its events, in the order in which they run. The emitter's mu
// guards them.
type listeners []*entry // never modified in place: an emit continues with the list that it began with

type entry struct {
	fn      any // its type depends on the event
	kind    kind
	once    bool
	removed atomic.Bool
}

// kind is an event as a small integer.
type kind uint8

const (
	kindClose kind = iota
	kindConnect
	kindConnection
	kindAttempt
	kindAttemptFailed
	kindAttemptTimeout
	kindData
	kindDrain
	kindDrop
	kindEnd
	kindError
	kindFinish
	kindListening
	kindLookup
	kindReady
	kindSecureConnect
	kindTimeout
	kindTLSClientError
)

var kinds = [...]Event{
	kindClose: EventClose, kindConnect: EventConnect, kindConnection: EventConnection,
	kindAttempt: EventConnectionAttempt, kindAttemptFailed: EventConnectionAttemptFailed,
	kindAttemptTimeout: EventConnectionAttemptTimeout, kindData: EventData, kindDrain: EventDrain,
	kindDrop: EventDrop, kindEnd: EventEnd, kindError: EventError, kindFinish: EventFinish,
	kindListening: EventListening, kindLookup: EventLookup, kindReady: EventReady,
	kindSecureConnect: EventSecureConnect, kindTimeout: EventTimeout, kindTLSClientError: EventTLSClientError,
}

// mode is the field On, Once or Prepend of a SocketEvents, and its index in the modes of a socket.
type mode uint8

const (
	modeOn mode = iota
	modeOnce
	modePrepend
)

// add registers fn.
func (l *listeners) add(m mode, k kind, fn any) *entry {
	e := &entry{fn: fn, kind: k, once: m == modeOnce}
	if m == modePrepend {
		*l = append(listeners{e}, *l...)
	} else {
		*l = append(slices.Clip(*l), e)
	}
	return e
}

// removeIf removes the entries that match.
func (l *listeners) removeIf(matches func(*entry) bool) {
	*l = slices.DeleteFunc(slices.Clone(*l), func(e *entry) bool {
		if matches(e) {
			e.removed.Store(true)
			return true
		}
		return false
	})
}

// clear removes the listeners of the named events, or of all events if none is named.
func (l *listeners) clear(names []Event) {
	l.removeIf(func(e *entry) bool { return len(names) == 0 || slices.Contains(names, kinds[e.kind]) })
}

func (l listeners) count(k kind) int {
	n := 0
	for _, e := range l {
		if e.kind == k {
			n++
		}
	}
	return n
}

func (l listeners) countOf(name Event) int {
	k := slices.Index(kinds[:], name)
	if k < 0 {
		return 0
	}
	return l.count(kind(k))
}

// emitter is a socket or a server.
type emitter interface {
	// forget deletes a removed listener.
	forget(*entry)
}

// off removes e and reports whether it was registered.
func (e *entry) off(of emitter) bool {
	if !e.removed.CompareAndSwap(false, true) {
		return false
	}
	of.forget(e)
	return true
}

// begin reports whether the callback is to be called, that is, whether it is still registered. It removes a one-time
// listener.
func (e *entry) begin(of emitter) bool {
	if e.once {
		return e.off(of)
	}
	return !e.removed.Load()
}

func (s *Socket) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events.removeIf(func(x *entry) bool { return x == e })
	if e.kind == kindData {
		s.consumerRemovedLocked()
	}
}

func (s *Server) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events.removeIf(func(x *entry) bool { return x == e })
}

// callback returns the function of e if e is still registered for the event. An emit iterates over the list as it was at
// the beginning. No lock is held while the callbacks run.
func callback[F any](e *entry, of emitter, k kind) (fn F, ok bool) {
	if e.kind != k || !e.begin(of) {
		return fn, false
	}
	return e.fn.(F), true
}

func (v SocketEvents) register(k kind, isNil bool, fn any) Listener {
	if isNil {
		return Listener{err: ErrNilArgument}
	}
	s := v.socket()
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.opt().early; w != nil && (k == kindClose || k == kindError) {
		w.Keep(s)
	}
	return Listener{entry: s.events.add(*v.mode, k, fn), of: s}
}

func (v ServerEvents) register(k kind, isNil bool, fn any) Listener {
	if isNil {
		return Listener{err: ErrNilArgument}
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return Listener{entry: v.s.events.add(v.mode, k, fn), of: v.s}
}

// ListenerCount returns the number of callbacks registered for the event, 0 if name is not an event of sockets. Any
// goroutine may call it.
//
// Node: listenerCount.
func (s *Socket) ListenerCount(name Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events.countOf(name)
}

// RemoveAllListeners removes every callback of the named events, or of all events if none is named, also during an
// emit. A name that is not an event of sockets is ignored. The socket's own behavior does not depend on its listeners.
// Any goroutine may call it.
//
// Node: removeAllListeners.
func (s *Socket) RemoveAllListeners(names ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := s.events.count(kindData) > 0
	s.events.clear(names)
	if had {
		s.consumerRemovedLocked()
	}
}

// ListenerCount returns the number of callbacks registered for the event, 0 if name is not an event of servers. Any
// goroutine may call it.
func (s *Server) ListenerCount(name Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events.countOf(name)
}

// RemoveAllListeners removes every callback of the named events, or of all events if none is named, as
// Socket.RemoveAllListeners does. Any goroutine may call it.
func (s *Server) RemoveAllListeners(names ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events.clear(names)
}

// emitting begins the emit of a socket's event: it sets the owner of the callbacks and returns the listeners of all
// events.
func (s *Socket) emitting() listeners {
	s.loop().SetOwner((*handle)(s))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// emit emits an event of the socket that has no arguments.
func (s *Socket) emit(k kind) {
	s.trace(TraceEvent{Name: kinds[k]})
	for _, e := range s.emitting() {
		if fn, ok := callback[func()](e, s, k); ok {
			fn()
		}
	}
}

func (s *Socket) emitConnect() {
	s.emit(kindConnect)
}

func (s *Socket) emitReady() {
	s.emit(kindReady)
}

func (s *Socket) emitSecureConnect() {
	s.emit(kindSecureConnect)
}

func (s *Socket) emitDrain() {
	s.emit(kindDrain)
}

func (s *Socket) emitEnd() { s.emit(kindEnd) }

func (s *Socket) emitFinish() {
	s.emit(kindFinish)
}

func (s *Socket) emitTimeout() {
	s.emit(kindTimeout)
}

func (s *Socket) emitClose(hadError bool) {
	s.trace(TraceEvent{Name: EventClose, HadError: hadError})
	for _, e := range s.emitting() {
		if fn, ok := callback[func(bool)](e, s, kindClose); ok {
			fn(hadError)
		}
	}
}

func (s *Socket) emitLookup(l Lookup) {
	s.trace(TraceEvent{Name: EventLookup, Lookup: l, Err: l.Err})
	for _, e := range s.emitting() {
		if fn, ok := callback[func(Lookup)](e, s, kindLookup); ok {
			fn(l)
		}
	}
}

func (s *Socket) emitAttempt(a Attempt) {
	s.trace(TraceEvent{Name: EventConnectionAttempt, Attempt: a})
	for _, e := range s.emitting() {
		if fn, ok := callback[func(Attempt)](e, s, kindAttempt); ok {
			fn(a)
		}
	}
}

func (s *Socket) emitAttemptFailed(a Attempt, err error) {
	s.trace(TraceEvent{Name: EventConnectionAttemptFailed, Attempt: a, Err: err})
	for _, e := range s.emitting() {
		if fn, ok := callback[func(Attempt, error)](e, s, kindAttemptFailed); ok {
			fn(a, err)
		}
	}
}

func (s *Socket) emitAttemptTimeout(a Attempt) {
	s.trace(TraceEvent{Name: EventConnectionAttemptTimeout, Attempt: a})
	for _, e := range s.emitting() {
		if fn, ok := callback[func(Attempt)](e, s, kindAttemptTimeout); ok {
			fn(a)
		}
	}
}

// emitFailure reports the error of a socket: to the server's TLSClientError if Connection has not been emitted,
// otherwise to the socket's Error.
func (s *Socket) emitFailure(err error) {
	s.mu.Lock()
	accepting := s.opt().accepting
	s.mu.Unlock()
	if accepting {
		s.set.server.emitTLSClientError(err, s)
	} else {
		s.emitError(err)
	}
}

// emitError emits the error. Without a listener it logs it, because the error must not be lost and a peer must not be
// able to end the process.
func (s *Socket) emitError(err error) {
	s.trace(TraceEvent{Name: EventError, Err: err})
	s.mu.Lock()
	handled := s.opt().blocking != nil || s.opt().relay != nil && s.opt().relay.done != nil
	s.mu.Unlock()
	for _, e := range s.emitting() {
		if fn, ok := callback[func(error)](e, s, kindError); ok {
			handled = true
			fn(err)
		}
	}
	if handled {
		return
	}
	s.logUnhandled("evnet: socket error without a listener", err)
}

// logUnhandled writes the one record of an error that no listener handles, at a limited rate. A reset, which any peer
// can cause at any time, is logged at debug level, and so are the errors in light.
func (s *Socket) logUnhandled(text string, err error, light ...error) {
	level := slog.LevelWarn
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		level = slog.LevelDebug
	}
	for _, l := range light {
		if errors.Is(err, l) {
			level = slog.LevelDebug
		}
	}
	if r, ok := s.set.record(level); ok {
		r.Write(text, "err", err, "local", s.LocalAddr(), "remote", s.RemoteAddr())
	}
}
