// Package watch makes the events of an [evnet.Loop] observable: [Slog] logs them, and [Counters] counts them. Slog and
// Counters.Trace are Tracers for [evnet.Loop.SetTracer], which sets one Tracer; [Join] combines several.
package watch

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"evnet"
)

// Join combines several Tracers into one, which calls them in this order. It skips nil Tracers.
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

// Slog returns a Tracer that logs each event at one level, if the logger handles the level. A nil logger is
// slog.Default. The message is the event's name as in Node, with a prefix for events of a server ("server connection")
// and of package dgram ("dgram message"). The record has the time of the event. The record has these attributes,
// if they are known:
//
//   - local and remote, the two addresses, and from, the sender of a datagram
//   - bytes, the length of the data of a Data or Message; the data itself is not logged
//   - host, address and network, of lookups and attempts
//   - err, and code as evnet.Code returns it
//   - reason, the limit that a dropped connection exceeds
//   - read, written and unsent, in bytes, with a Drain, Finish, Timeout or Close
//
// The Tracer may be used on several loops at the same time.
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
		addAddresses(&r, ev)
		addDetails(&r, ev)
		_ = h.Handle(ctx, r) // as package slog does
	}
}

// label returns the event's name, with a prefix if the source is not a socket of package evnet.
func label(ev evnet.TraceEvent) string {
	switch ev.Source.(type) {
	case *evnet.Socket:
		return string(ev.Name)
	case *evnet.Server:
		return "server " + string(ev.Name)
	}
	return "dgram " + string(ev.Name)
}

// addAddresses adds the attributes local, remote and from.
func addAddresses(r *slog.Record, ev evnet.TraceEvent) {
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
	case interface{ Address() netip.AddrPort }: // a *dgram.Socket, without importing package dgram
		if at := s.Address(); at.IsValid() {
			r.AddAttrs(slog.String("local", at.String()))
		}
	}
	if ev.From.IsValid() {
		r.AddAttrs(slog.String("from", ev.From.String()))
	}
}

// addDetails adds the attributes that depend on the event.
func addDetails(r *slog.Record, ev evnet.TraceEvent) {
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
