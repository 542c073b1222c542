package evtest

import (
	"context"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// NoContext is a nil context, which a user may pass.
var NoContext context.Context

// AssertOpError checks that err has the form of a net.Conn's errors: a *net.OpError with op that wraps is.
func AssertOpError(t testing.TB, err, is error, op string) {
	t.Helper()
	var opErr *net.OpError
	if assert.ErrorAs(t, err, &opErr) {
		assert.Equal(t, op, opErr.Op)
	}
	assert.ErrorIs(t, err, is)
}

// Descriptors returns the number of open descriptors of this process; 0 if it is unknown.
func Descriptors() int {
	list, _ := os.ReadDir("/proc/self/fd")
	return len(list)
}

// Records counts log records by level.
type Records struct {
	mu   sync.Mutex
	List []slog.Record
}

func (r *Records) Enabled(context.Context, slog.Level) bool { return true }

func (r *Records) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r *Records) WithGroup(string) slog.Handler { return r }

func (r *Records) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.List = append(r.List, rec)
	return nil
}

// Messages returns the messages of the records of a level.
func (r *Records) Messages(level slog.Level) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	messages := []string{}
	for _, record := range r.List {
		if record.Level == level {
			messages = append(messages, record.Message)
		}
	}
	return messages
}

// Patience limits an operation that should take milliseconds: only a hang takes longer.
const Patience = 60 * time.Second

// Sum returns the number of records of a level, and how many more the records report as suppressed.
func (r *Records) Sum(level slog.Level) (written, suppressed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.List {
		if record.Level != level {
			continue
		}
		written++
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "suppressed" {
				suppressed += int(a.Value.Int64())
			}
			return true
		})
	}
	return written, suppressed
}

// WaitFor waits for another goroutine, at most for Patience.
func WaitFor(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(Patience):
		panic(t.Name() + ": " + what + " never happens")
	}
}

// FileNames lists the names of the files of a directory.
func FileNames(t testing.TB, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// OnLinux reports whether the tests run on Linux.
const OnLinux = runtime.GOOS == "linux"

// Boom is an error of a test's own.
type Boom string

func (b Boom) Error() string { return string(b) }

// UseEpoll chooses the transport of kernel sockets until the test ends: epoll, if it is available, or goroutines.
func UseEpoll(t testing.TB, epoll bool) {
	before := netpoll.Enabled
	netpoll.Enabled = epoll
	t.Cleanup(func() { netpoll.Enabled = before })
}

// OnBothTransports runs a test on each transport for kernel sockets, and checks that it leaks no goroutine.
func OnBothTransports(t *testing.T, fn func(t *testing.T)) {
	for name, wanted := range map[string]bool{"poll": true, "goroutine": false} {
		t.Run(name, func(t *testing.T) {
			UseEpoll(t, wanted)
			VerifyNoLeaks(t)
			fn(t)
		})
	}
}

// VerifyNoLeaks checks at the end of the test that it leaks no goroutine.
func VerifyNoLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// OnBothTransportsIfLong is OnBothTransports in the long form. The short form runs a slow test only on the default
// transport of the process.
func OnBothTransportsIfLong(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	if Long() {
		OnBothTransports(t, fn)
		return
	}
	t.Run("one", func(t *testing.T) {
		VerifyNoLeaks(t)
		fn(t)
	})
}
