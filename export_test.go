package evnet

import (
	"reflect"
	"runtime"
	"time"

	"evnet/internal/netpoll"
	"evnet/internal/transport"
)

// CountedAddresses returns the number of addresses for which MaxConnectionsPerAddress has a count.
func CountedAddresses(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.addresses)
}

// SharedUnchanged reports whether the state shared by all sockets is unchanged.
func SharedUnchanged() bool {
	for _, p := range []any{&emptyReceiveBuffer, &emptyWriteState, &emptyOptional} {
		if !reflect.ValueOf(p).Elem().IsZero() {
			return false
		}
	}
	return true
}

// Splices reports whether kernel sockets are joined without copying on this platform.
var Splices = netpoll.Enabled && runtime.GOOS == "linux"

// MaxTubes is the maximum number of kernel pipes of a loop.
const MaxTubes = transport.MaxSplicePipes

// Spliced returns the number of bytes spliced so far.
func Spliced() int64 { return transport.Spliced.Load() }

// WaitsForChunk reports whether a goroutine in a range over the chunks of s waits for the next one.
func WaitsForChunk(s *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.chunks != nil && s.in.chunks.requested
}

// ScansDeferred returns the number of sockets of the loop with a deferred call of split, and whether their timer
// runs.
func ScansDeferred(l *Loop) (waiting int, armed bool) {
	d := &l.host().deferred
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting.Len(), d.armed
}

// DeferScans changes the size from which calls of split functions are deferred, and the burst, until restore is called.
func DeferScans(from int, burst time.Duration) (restore func()) {
	wasFrom, wasBurst := deferFrom, callBurst
	deferFrom, callBurst = from, burst
	return func() { deferFrom, callBurst = wasFrom, wasBurst }
}
