// Package watch shows what the sockets and servers of an [evnet.Loop] do: [Slog] as records of a log, [Counters] as
// figures. Both are Tracers, which [evnet.Loop.SetTracer] takes one of; [Join] makes one of several.
package watch

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"evnet"
)

// Join makes one Tracer of several, called in this order. A nil one is left out.
func Join(tracers ...evnet.Tracer) evnet.Tracer {
	var all []evnet.Tracer
	for _, t := range tracers {
		if t != nil {
			all = append(all, t)
		}
	}
	return func(ev evnet.TraceEvent) {
		for _, t := range all {
			t(ev)
		}
	}
}

// Slog makes a record of each event, at one level, where the logger wants it; a nil logger is slog.Default. The message
// is the event's name as in Node; it has a prefix for those of a server ("server connection") and of package dgram
// ("dgram message"). The record's time is the event's. The attributes are, where they are known:
//
//   - local and remote, the two ends, and from, the sender of a datagram
//   - bytes, how many a Data or Message brings; what they are is not logged
//   - host, address and network, of lookups and attempts
//   - err, with code as evnet.Code tells it
//   - reason, the limit that a dropped connection exceeds
//   - read, written and unsent, in bytes, with a Drain, Finish, Timeout or Close
//
// It may be used on several loops at once.
func Slog(logger *slog.Logger, level slog.Level) evnet.Tracer {
	if logger == nil {
		logger = slog.Default()
	}
	return func(ev evnet.TraceEvent) {
		ctx := context.Background()
		h := logger.Handler()
		if !h.Enabled(ctx, level) {
			return
		}
		r := slog.NewRecord(ev.Time, level, label(ev), 0)
		ends(&r, ev)
		details(&r, ev)
		_ = h.Handle(ctx, r) // as package slog does
	}
}

// label is the event's name, and whose it is where that is not a socket.
func label(ev evnet.TraceEvent) string {
	switch ev.Source.(type) {
	case *evnet.Socket:
		return string(ev.Name)
	case *evnet.Server:
		return "server " + string(ev.Name)
	}
	return "dgram " + string(ev.Name)
}

func ends(r *slog.Record, ev evnet.TraceEvent) {
	addr := func(key string, a net.Addr) {
		if a != nil {
			r.AddAttrs(slog.String(key, a.String()))
		}
	}
	switch s := ev.Source.(type) {
	case *evnet.Server:
		switch {
		case ev.Socket != nil:
			addr("local", ev.Socket.LocalAddr())
			addr("remote", ev.Socket.RemoteAddr())
		case ev.Name == evnet.EventDrop:
			addr("local", ev.Drop.Local)
			addr("remote", ev.Drop.Remote)
		default:
			addr("local", s.Address())
		}
	case *evnet.Socket:
		addr("local", s.LocalAddr())
		addr("remote", s.RemoteAddr())
	case interface{ Address() netip.AddrPort }: // a *dgram.Socket, which a program that has none need not link
		if at := s.Address(); at.IsValid() {
			r.AddAttrs(slog.String("local", at.String()))
		}
	}
	if ev.From.IsValid() {
		r.AddAttrs(slog.String("from", ev.From.String()))
	}
}

func details(r *slog.Record, ev evnet.TraceEvent) {
	switch ev.Name {
	case evnet.EventData, "message":
		r.AddAttrs(slog.Int("bytes", len(ev.Chunk)))
	case evnet.EventDrop:
		r.AddAttrs(slog.String("reason", ev.Drop.Reason.String()))
	case evnet.EventLookup:
		r.AddAttrs(slog.String("host", ev.Lookup.Host), slog.String("address", ev.Lookup.Address))
	case evnet.EventConnectionAttempt, evnet.EventConnectionAttemptFailed, evnet.EventConnectionAttemptTimeout:
		r.AddAttrs(slog.String("network", ev.Attempt.Network), slog.String("address", ev.Attempt.Address))
	case evnet.EventDrain, evnet.EventFinish, evnet.EventTimeout, evnet.EventClose:
		if ev.Socket != nil {
			r.AddAttrs(slog.Int64("read", ev.BytesRead), slog.Int64("written", ev.BytesWritten), slog.Int("unsent", ev.BufferedAmount))
		}
	}
	if ev.Err != nil {
		r.AddAttrs(slog.Any("err", ev.Err), slog.String("code", evnet.Code(ev.Err)))
	}
}
