package evnet

import (
	"log/slog"

	"evnet/internal/ratelimit"
)

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
	return s.Loop.rateLimit().Take(logger, level)
}
