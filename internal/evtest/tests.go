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

// NoContext is the nil that a user may pass.
var NoContext context.Context

// AssertOpError is what blocking code expects of a conn's errors.
func AssertOpError(t testing.TB, err, is error, op string) {
	t.Helper()
	var wrapped *net.OpError
	if assert.ErrorAs(t, err, &wrapped) {
		assert.Equal(t, op, wrapped.Op)
	}
	assert.ErrorIs(t, err, is)
}

// Descriptors returns how many descriptors this process has open, 0 if that is unknown.
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

// Patience bounds what should take milliseconds: only a hang takes longer.
const Patience = 60 * time.Second

// Sum is how many records there are of a level, with those that they say were suppressed.
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

// WaitFor bounds a wait for another goroutine.
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

// OnBothTransports runs a test on each way of serving a kernel socket, and sees to it that no goroutine is left.
func OnBothTransports(t *testing.T, fn func(t *testing.T)) {
	for name, wanted := range map[string]bool{"poll": true, "goroutine": false} {
		t.Run(name, func(t *testing.T) {
			before := netpoll.Enabled
			netpoll.Enabled = wanted
			t.Cleanup(func() { netpoll.Enabled = before })
			VerifyNoLeaks(t)
			fn(t)
		})
	}
}

// VerifyNoLeaks checks at the end of the test that no goroutine of it is left.
func VerifyNoLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// OnBothTransportsIfLong is OnBothTransports in the long form. The short form runs a test that takes long on the transport of
// the process only.
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
