package evnet

import (
	"reflect"
	"runtime"
	"time"

	"evnet/internal/netpoll"
	"evnet/internal/transport"
)

// CountedAddresses is how many addresses MaxConnectionsPerAddress has a count for.
func CountedAddresses(s *Server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.addresses)
}

// SharedUnchanged reports whether what sockets share is as it was.
func SharedUnchanged() bool {
	for _, p := range []any{&emptyReceiveBuffer, &emptyWriteState, &emptyOptional} {
		if !reflect.ValueOf(p).Elem().IsZero() {
			return false
		}
	}
	return true
}

// Splices is whether kernel sockets are joined without copying here.
var Splices = netpoll.Enabled && runtime.GOOS == "linux"

// MaxTubes is how many pipes of the kernel a loop has at most.
const MaxTubes = transport.MaxSplicePipes

// Spliced is how many bytes were not copied so far.
func Spliced() int64 { return transport.Spliced.Load() }

// WaitsForChunk reports whether a goroutine is in a range over the chunks of s, waiting for the next.
func WaitsForChunk(s *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.chunks != nil && s.in.chunks.requested
}

// ScansDeferred is how many sockets of the loop wait for a call of their split function, and whether a timer runs for
// them.
func ScansDeferred(l *Loop) (waiting int, armed bool) {
	d := &l.host().deferred
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting.Len(), d.armed
}

// DeferScans has calls of split functions deferred from so many bytes on, with another burst, until restore is called.
func DeferScans(from int, burst time.Duration) (restore func()) {
	wasFrom, wasBurst := deferFrom, callBurst
	deferFrom, callBurst = from, burst
	return func() { deferFrom, callBurst = wasFrom, wasBurst }
}
