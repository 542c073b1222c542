package ratelimit

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// records is a handler that keeps its records.
type records struct {
	slog.Handler
	from slog.Level // the lowest level that it handles
	mu   sync.Mutex
	list []slog.Record
}

func newRecords(from slog.Level) (*slog.Logger, *records) {
	r := &records{Handler: slog.DiscardHandler, from: from}
	return slog.New(r), r
}

func (r *records) Enabled(_ context.Context, level slog.Level) bool { return level >= r.from }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, record)
	return nil
}

// suppressed is the sum of the attributes of that name.
func (r *records) suppressed() (sum int64) {
	for _, record := range r.list {
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "suppressed" {
				sum += a.Value.Int64()
			}
			return true
		})
	}
	return sum
}

// write tries to write n records, as a caller does.
func write(log *Log, logger *slog.Logger, level slog.Level, n int) {
	for range n {
		if r, ok := log.Take(logger, level); ok {
			r.Write("text", "err", "reason")
		}
	}
}

func TestLog_AllowsBurstThenRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log Log
		logger, written := newRecords(slog.LevelWarn)
		write(&log, logger, slog.LevelWarn, 2000)
		require.Len(t, written.list, LogBurst)
		assert.Zero(t, written.suppressed(), "nothing was suppressed before these")
		for range 10 {
			time.Sleep(time.Second / LogRate)
			write(&log, logger, slog.LevelWarn, 100)
		}
		require.Len(t, written.list, LogBurst+10)
		assert.EqualValues(t, 2000-LogBurst+9*99, written.suppressed(), "the records before the last one")

		last := written.list[len(written.list)-1]
		attrs := map[string]any{}
		last.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.Any(); return true })
		assert.Equal(t, map[string]any{"err": "reason", "suppressed": int64(99)}, attrs)
		assert.Equal(t, "text", last.Message)
		assert.Equal(t, slog.LevelWarn, last.Level)

		time.Sleep(time.Hour)
		write(&log, logger, slog.LevelWarn, 2*LogBurst)
		assert.Len(t, written.list, 2*LogBurst+10, "a whole burst again")
	})
}

// Records that the handler does not handle use no credit and are not counted.
func TestLog_IgnoresDisabledRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log Log
		logger, written := newRecords(slog.LevelError)
		write(&log, logger, slog.LevelWarn, 1000)
		write(&log, logger, slog.LevelError, LogBurst)
		assert.Len(t, written.list, LogBurst)
		assert.Zero(t, written.suppressed())
	})
}

// A flood of records at debug level suppresses no warning, and the reverse.
func TestLog_LimitsLevelsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log Log
		logger, written := newRecords(slog.LevelDebug)
		write(&log, logger, slog.LevelDebug, 1000)
		assert.Len(t, written.list, LogBurst)
		write(&log, logger, slog.LevelError, 1000)
		assert.Len(t, written.list, 2*LogBurst)
		time.Sleep(time.Second)
		write(&log, logger, slog.LevelWarn, 1)
		assert.EqualValues(t, 1000-LogBurst, written.suppressed(), "only of the same level")
	})
}

// Each record is either written or counted, for any number of goroutines.
func TestLog_CountsEachRecordOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log Log
		logger, written := newRecords(slog.LevelDebug)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { write(&log, logger, slog.LevelWarn, 500) })
		}
		all.Wait()
		time.Sleep(time.Second)
		write(&log, logger, slog.LevelWarn, 1)
		assert.Len(t, written.list, LogBurst+1)
		assert.EqualValues(t, 8*500+1, int64(len(written.list))+written.suppressed())
	})
}

// A handler that panics leaves no lock held.
func TestLog_HandlerThatPanics(t *testing.T) {
	var log Log
	logger := slog.New(panicking{slog.DiscardHandler})
	for range 2 {
		assert.Panics(t, func() { write(&log, logger, slog.LevelWarn, 1) })
	}
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool      { return true }
func (panicking) Handle(_ context.Context, _ slog.Record) error { panic("handler") }

func TestLog_SuppressesWithoutAllocating(t *testing.T) {
	var log Log
	loud, _ := newRecords(slog.LevelDebug)
	quiet, _ := newRecords(slog.LevelError)
	write(&log, loud, slog.LevelWarn, LogBurst)
	assert.Zero(t, testing.AllocsPerRun(100, func() { log.Take(quiet, slog.LevelWarn) }))
	written := 0
	allocs := testing.AllocsPerRun(100, func() {
		if _, ok := log.Take(loud, slog.LevelWarn); ok { // one a second, which allocates nothing here either
			written++
		}
	})
	assert.Zero(t, allocs)
}
