package evnet

import (
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// event holds the listeners of one event, in the order they are to run.
type event[F any] struct {
	list  []*entry[F] // never changed in place: an emit goes on with the one it began with
	onOff func()      // told, without the lock, when the last listener has gone
}

type entry[F any] struct {
	ev   *event[F]
	mu   *sync.Mutex // of the emitter, guards ev
	fn   F
	once bool
	gone atomic.Bool
}

// mode is which of the fields On, Once and Prepend a view is.
type mode uint8

const (
	modeOn mode = iota
	modeOnce
	modePrepend
)

// add registers fn. mu is held.
func (ev *event[F]) add(mu *sync.Mutex, m mode, fn F) Listener {
	e := &entry[F]{ev: ev, mu: mu, fn: fn, once: m == modeOnce}
	if m == modePrepend {
		ev.list = append([]*entry[F]{e}, ev.list...)
	} else {
		ev.list = append(slices.Clip(ev.list), e)
	}
	return Listener{entry: e}
}

func (e *entry[F]) off() { e.take() }

// take removes the entry and reports whether it was there.
func (e *entry[F]) take() bool {
	if !e.gone.CompareAndSwap(false, true) {
		return false
	}
	e.mu.Lock()
	e.ev.list = slices.DeleteFunc(slices.Clone(e.ev.list), func(x *entry[F]) bool { return x == e })
	last := len(e.ev.list) == 0
	e.mu.Unlock()
	if last && e.ev.onOff != nil {
		e.ev.onOff()
	}
	return true
}

// begin reports whether the callback is to be called: it has not gone. A one-time listener goes now.
func (e *entry[F]) begin() bool {
	if e.once {
		return e.take()
	}
	return !e.gone.Load()
}

// clear removes every listener. mu is held.
func (ev *event[F]) clear() {
	for _, e := range ev.list {
		e.gone.Store(true)
	}
	ev.list = nil
}

func (ev *event[F]) count() int { return len(ev.list) }

// calls gives the callbacks of one emit: those that list held when it began, less those that go
// meanwhile. A one-time listener is removed before it is called. No lock is held while they run.
func calls[F any](list []*entry[F]) iter.Seq[F] {
	return func(yield func(F) bool) {
		for _, e := range list {
			if e.begin() && !yield(e.fn) {
				return
			}
		}
	}
}

// counter is what every event can do, whatever its callbacks take.
type counter interface {
	count() int
	clear()
}

// socketEvents is the table of a socket that has listeners.
type socketEvents struct {
	close                                                      event[func(bool)]
	connect, drain, end, finish, ready, secureConnect, timeout event[func()]
	attempt, attemptTimeout                                    event[func(Attempt)]
	attemptFailed                                              event[func(Attempt, error)]
	data                                                       event[func([]byte)]
	error                                                      event[func(error)]
	lookup                                                     event[func(Lookup)]
}

func (t *socketEvents) byName() map[Event]counter {
	return map[Event]counter{
		EventClose: &t.close, EventConnect: &t.connect, EventConnectionAttempt: &t.attempt,
		EventConnectionAttemptFailed: &t.attemptFailed, EventConnectionAttemptTimeout: &t.attemptTimeout,
		EventData: &t.data, EventDrain: &t.drain, EventEnd: &t.end, EventError: &t.error,
		EventFinish: &t.finish, EventLookup: &t.lookup, EventReady: &t.ready,
		EventSecureConnect: &t.secureConnect, EventTimeout: &t.timeout,
	}
}

// serverEvents is the table of a server.
type serverEvents struct {
	connection       event[func(*Socket)]
	close, listening event[func()]
	drop             event[func(Drop)]
	error            event[func(error)]
}

func (t *serverEvents) byName() map[Event]counter {
	return map[Event]counter{
		EventClose: &t.close, EventConnection: &t.connection, EventDrop: &t.drop,
		EventError: &t.error, EventListening: &t.listening,
	}
}

func register[F any](v SocketEvents, isNil bool, fn F, pick func(*socketEvents) *event[F]) Listener {
	if isNil {
		return Listener{err: ErrNilArgument}
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return enlist(v, fn, pick)
}

// enlist is register with s.mu held.
func enlist[F any](v SocketEvents, fn F, pick func(*socketEvents) *event[F]) Listener {
	if v.s.events == nil {
		v.s.events = &socketEvents{}
		v.s.events.data.onOff = v.s.listenersGone
	}
	return pick(v.s.events).add(&v.s.mu, v.mode, fn)
}

func registerServer[F any](v ServerEvents, isNil bool, fn F, ev *event[F]) Listener {
	if isNil {
		return Listener{err: ErrNilArgument}
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return ev.add(&v.s.mu, v.mode, fn)
}

// ListenerCount is how many callbacks of the event are registered. Any goroutine may call it. It
// is 0 for a name that is no event of sockets. Node: listenerCount.
func (s *Socket) ListenerCount(name Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		return 0
	}
	return countOf(s.events.byName(), name)
}

// RemoveAllListeners removes every callback of the events, or of all events when none is named,
// also during an emit. What the socket itself does does not depend on them. Any goroutine may call
// it. A name that is no event of sockets has none. Node: removeAllListeners.
func (s *Socket) RemoveAllListeners(names ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		return
	}
	had := s.events.data.count() > 0
	clearAll(s.events.byName(), names)
	if had {
		s.consumerGone()
	}
}

// ListenerCount is that of Socket, for the events of servers.
func (s *Server) ListenerCount(name Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return countOf(s.events.byName(), name)
}

// RemoveAllListeners is that of Socket, for the events of servers.
func (s *Server) RemoveAllListeners(names ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clearAll(s.events.byName(), names)
}

func countOf(table map[Event]counter, name Event) int {
	if ev, ok := table[name]; ok {
		return ev.count()
	}
	return 0
}

func clearAll(table map[Event]counter, names []Event) {
	for name, ev := range table {
		if len(names) == 0 || slices.Contains(names, name) {
			ev.clear()
		}
	}
}

// emitting begins the emit of a socket's event: its callbacks, to be run with no lock held.
func emitting[F any](s *Socket, pick func(*socketEvents) *event[F]) iter.Seq[F] {
	s.loop.current = s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		return calls[F](nil)
	}
	return calls(pick(s.events).list)
}

// emit emits one of the socket's events that carry nothing.
func (s *Socket) emit(name Event, pick func(*socketEvents) *event[func()]) {
	s.trace(name)
	for fn := range emitting(s, pick) {
		fn()
	}
}

func (s *Socket) trace(name Event, args ...any) {
	if s.loop.tracer != nil {
		s.loop.tracer(s, string(name), args...)
	}
}

func (s *Socket) emitConnect() {
	s.emit(EventConnect, func(t *socketEvents) *event[func()] { return &t.connect })
}

func (s *Socket) emitReady() {
	s.emit(EventReady, func(t *socketEvents) *event[func()] { return &t.ready })
}

func (s *Socket) emitSecureConnect() {
	s.emit(EventSecureConnect, func(t *socketEvents) *event[func()] { return &t.secureConnect })
}

func (s *Socket) emitDrain() {
	s.emit(EventDrain, func(t *socketEvents) *event[func()] { return &t.drain })
}

func (s *Socket) emitEnd() { s.emit(EventEnd, func(t *socketEvents) *event[func()] { return &t.end }) }

func (s *Socket) emitFinish() {
	s.emit(EventFinish, func(t *socketEvents) *event[func()] { return &t.finish })
}

func (s *Socket) emitTimeout() {
	s.emit(EventTimeout, func(t *socketEvents) *event[func()] { return &t.timeout })
}

func (s *Socket) emitClose(hadError bool) {
	s.trace(EventClose, hadError)
	for fn := range emitting(s, func(t *socketEvents) *event[func(bool)] { return &t.close }) {
		fn(hadError)
	}
}

func (s *Socket) emitLookup(l Lookup) {
	s.trace(EventLookup, l)
	for fn := range emitting(s, func(t *socketEvents) *event[func(Lookup)] { return &t.lookup }) {
		fn(l)
	}
}

func (s *Socket) emitAttempt(a Attempt) {
	s.trace(EventConnectionAttempt, a)
	for fn := range emitting(s, func(t *socketEvents) *event[func(Attempt)] { return &t.attempt }) {
		fn(a)
	}
}

func (s *Socket) emitAttemptFailed(a Attempt, err error) {
	s.trace(EventConnectionAttemptFailed, a, err)
	for fn := range emitting(s, func(t *socketEvents) *event[func(Attempt, error)] { return &t.attemptFailed }) {
		fn(a, err)
	}
}

func (s *Socket) emitAttemptTimeout(a Attempt) {
	s.trace(EventConnectionAttemptTimeout, a)
	for fn := range emitting(s, func(t *socketEvents) *event[func(Attempt)] { return &t.attemptTimeout }) {
		fn(a)
	}
}

// emitError tells the error, to the log when nobody listens: it must not pass unseen, and a peer
// must not be able to end the process with it.
func (s *Socket) emitError(err error) {
	s.trace(EventError, err)
	s.mu.Lock()
	heard := s.rare().relay != nil && s.rare().relay.done != nil
	s.mu.Unlock()
	for fn := range emitting(s, func(t *socketEvents) *event[func(error)] { return &t.error }) {
		heard = true
		fn(err)
	}
	if heard {
		return
	}
	local, remote := s.LocalAddr(), s.RemoteAddr()
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		s.set.logger().Debug("evnet: socket error without a listener", "err", err, "local", local, "remote", remote)
	} else {
		s.set.logger().Warn("evnet: socket error without a listener", "err", err, "local", local, "remote", remote)
	}
}
