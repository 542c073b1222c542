package evnet

import (
	"log/slog"
	"net/netip"
	"time"

	"evnet/internal/ratelimit"
)

// TraceEvent is one event as a Tracer sees it. The fields that an event has no use for are zero.
type TraceEvent struct {
	Time time.Time // when it is emitted
	Name Event     // as in Node

	// Source is whose event it is: a *Socket, a *Server, or a *dgram.Socket.
	Source any
	// Socket is Source where that is a *Socket, and what a server's Connection and TLSClientError are about.
	Socket *Socket

	Chunk    []byte         // of Data and of dgram's Message: what is delivered, borrowed until the Tracer returns
	From     netip.AddrPort // of dgram's Message: who has sent it
	Err      error          // of Error, ConnectionAttemptFailed, TLSClientError, and of a Lookup that failed
	HadError bool           // of a socket's Close
	Lookup   Lookup         // of Lookup
	Attempt  Attempt        // of ConnectionAttempt, ConnectionAttemptFailed and ConnectionAttemptTimeout
	Drop     Drop           // of Drop, with its reason

	// How many bytes Socket has read and was given to write by now, and how many of these wait to be sent, as its
	// methods of these names tell.
	BytesRead, BytesWritten int64
	BufferedAmount          int // in bytes
}

// Tracer sees the events of a loop. See [Loop.SetTracer].
type Tracer func(TraceEvent)

// SetTracer makes the loop call t with every event of its sockets and servers, and of those of package dgram, before the
// callbacks of the event run, whether it has callbacks or not. The input of OnRead and Scan is no event, here as in
// Node; bytes that Pipe transfers are Data. Any goroutine may call SetTracer at any time; nil, the default, removes
// the Tracer.
//
// t runs on the loop, and blocks the loop while it blocks. Several loops with the same Tracer call it at the same time.
// TraceEvent.Chunk is borrowed: valid until t returns. t may call any method. A panic in t counts as one of a callback:
// see OnPanic.
//
// Without a Tracer an event costs nothing more. With one, Pipe and Relay copy the bytes that they transfer instead of
// moving them inside the kernel. Package evnet/watch has Tracers for log/slog and for counters.
//
// Node: diagnostics_channel and NODE_DEBUG=net are the nearest.
func (l *Loop) SetTracer(t Tracer) {
	if t == nil {
		l.host().tracer.Store(nil)
	} else {
		l.host().tracer.Store(&t)
	}
}

// tracing reports whether the loop has a Tracer.
func (l *Loop) tracing() bool { return l.host().Tracing() }

// trace passes an event that is about to be emitted to the Tracer. ev has its name and arguments. It runs on the loop.
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

// recordTo is record with another logger than that of the options.
func (s *settings) recordTo(logger *slog.Logger, level slog.Level) (ratelimit.Record, bool) {
	if s.server != nil {
		return s.server.log.Take(logger, level)
	}
	return s.Loop.core().Log().Take(logger, level)
}
