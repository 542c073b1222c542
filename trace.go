package evnet

import (
	"log/slog"
	"net/netip"
	"time"

	"evnet/internal/ratelimit"
)

// TraceEvent is one event as passed to a Tracer. Fields that do not apply to the event are zero.
type TraceEvent struct {
	Time time.Time // when it is emitted
	Name Event     // as in Node

	// Source is the emitter: a *Socket, a *Server, or a *dgram.Socket.
	Source any
	// Socket is Source if that is a *Socket, and the socket that a server's Connection or TLSClientError is about.
	Socket *Socket

	Chunk    []byte         // of Data and of dgram's Message: the delivered bytes, valid until the Tracer returns
	From     netip.AddrPort // of dgram's Message: the sender
	Err      error          // of Error, ConnectionAttemptFailed, TLSClientError, and of a Lookup that failed
	HadError bool           // of a socket's Close
	Lookup   Lookup         // of Lookup
	Attempt  Attempt        // of ConnectionAttempt, ConnectionAttemptFailed and ConnectionAttemptTimeout
	Drop     Drop           // of Drop, with its reason

	// The results of Socket's methods of these names: the bytes read and written so far, and those still queued.
	BytesRead, BytesWritten int64
	BufferedAmount          int // in bytes
}

// Tracer is a function that observes the events of a loop. See [Loop.SetTracer].
type Tracer func(TraceEvent)

// SetTracer makes t observe every event of the loop's sockets and servers, including sockets of package dgram. t is
// called directly before the callbacks of the event run, and also if it has none. As in Node, data passed to OnRead and
// Scan is not an event; data that Pipe forwards is a Data event. nil, the default, removes the Tracer. Any goroutine may
// call SetTracer, at any time.
//
// t runs on the loop, which it blocks while it runs. A Tracer that is set on several loops is called by them
// concurrently. TraceEvent.Chunk is borrowed: to keep it, clone it. t may call any method. A panic in t is treated like a
// panic in a callback: see OnPanic.
//
// Without a Tracer an event has no extra cost. With one, Pipe and Relay copy the data that they forward instead of
// moving it inside the kernel, so that the Tracer sees it. Package evnet/watch has Tracers for log/slog and for
// counters.
//
// Node: diagnostics_channel and NODE_DEBUG=net are the closest.
func (l *Loop) SetTracer(t Tracer) {
	if t == nil {
		l.host().tracer.Store(nil)
	} else {
		l.host().tracer.Store(&t)
	}
}

// tracing reports whether the loop has a Tracer.
func (l *Loop) tracing() bool { return l.host().Tracing() }

// trace passes an event that is about to be emitted to the Tracer. ev has its name and its arguments. trace runs on the
// loop.
func (l *Loop) trace(source any, ev TraceEvent) {
	t := l.host().tracer.Load()
	if t == nil {
		return
	}
	ev.Time, ev.Source = time.Now(), source
	if s := ev.Socket; s != nil {
		l.core().SetOwner((*handle)(s))
		s.mu.Lock()
		ev.BytesRead, ev.BytesWritten, ev.BufferedAmount = s.in.bytes, s.stream.Accepted(), s.stream.Queued()
		s.mu.Unlock()
	}
	(*t)(ev)
}

func (s *Socket) trace(ev TraceEvent) {
	if l := s.set.Loop; l.tracing() {
		ev.Socket = s
		l.trace(s, ev)
	}
}

// The records that evnet writes to a Logger. If a peer can cause them, their rate is limited: the sockets of one server
// share a limit, and so do all other sockets of one loop.

// record reports whether to write a record of this level. Call it before making the attributes: it does not allocate.
func (s *settings) record(level slog.Level) (ratelimit.Record, bool) {
	return s.recordTo(s.logger(), level)
}

// recordTo is record with a logger other than the one of the options.
func (s *settings) recordTo(logger *slog.Logger, level slog.Level) (ratelimit.Record, bool) {
	if s.server != nil {
		return s.server.log.Take(logger, level)
	}
	return s.Loop.core().Log().Take(logger, level)
}
