package ratelimit

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The limit of a Log: a burst of records, then a steady rate.
const (
	LogBurst = 20
	LogRate  = 1 // records per second
)

// Log limits the rate of log records that peers can cause, so that no peer can fill the log. It counts the
// records that it suppresses: the next record that is written has their number.
//
// Records below slog.LevelWarn have a separate limit, so that a flood of them suppresses no warning.
// The zero value is ready to use. Any goroutine may call the methods.
type Log struct {
	mu     sync.Mutex
	limits [2]struct { // of records below LevelWarn, and of the others
		started    bool
		bucket     Bucket
		suppressed int
	}
}

// Record is a record that the limit allows. The caller must write it, otherwise the number of suppressed
// records is lost.
type Record struct {
	logger     *slog.Logger
	level      slog.Level
	suppressed int
}

// Take reports whether a record of this level must be written now: the logger handles the level, and the
// limit allows the record. A record that the logger does not handle does not count towards the limit. Take
// does not allocate, so call it before making the attributes.
func (l *Log) Take(logger *slog.Logger, level slog.Level) (Record, bool) {
	if !logger.Enabled(context.Background(), level) {
		return Record{}, false
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := &l.limits[0]
	if level >= slog.LevelWarn {
		limit = &l.limits[1]
	}
	if !limit.started {
		limit.started, limit.bucket = true, NewBucket(LogRate, LogBurst)
	}
	if !limit.bucket.Take(now) {
		limit.suppressed++
		return Record{}, false
	}
	r := Record{logger, level, limit.suppressed}
	limit.suppressed = 0
	return r, true
}

// Write writes the record. If records were suppressed since the last one, the attribute "suppressed" has
// their number.
func (r Record) Write(text string, args ...any) {
	if r.suppressed > 0 {
		args = append(slices.Clip(args), "suppressed", r.suppressed)
	}
	r.logger.Log(context.Background(), r.level, text, args...)
}
