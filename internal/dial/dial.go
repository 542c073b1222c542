// Package dial makes one outgoing connection. It looks up the host and races the addresses (RFC 8305; Node:
// autoSelectFamily).
//
// The owner creates a Race with New, calls Start, and calls Cancel when it no longer needs the Race.
// Any goroutine may call Start and Cancel. Everything else of a Race happens on the event loop: the Race calls its
// Observer there, once for each step. The resolver and the dialer run off the loop, by way of the Loop interface, which
// also contains their panics.
//
// The package knows neither sockets nor listeners. The owner decides what it emits for a step, and when a Race is stale.
package dial

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Attempt is one attempt to connect.
type Attempt struct {
	Network string // "tcp4", "tcp6" or "unix"
	Address string // host:port, or the path
	Family  int    // 4, 6, or 0 for a path
}

// Lookup is one address of the resolver's answer, or its error.
type Lookup struct {
	Err     error  // the error of the lookup; then Address is "" and Family 0
	Address string // the IP address, "" if the resolver's answer is not one
	Family  int    // 4 or 6
	Host    string // the host name that was looked up
}

// Observer is the owner of a Race. Its methods are called on the loop, without a lock.
//
// A method that returns a bool returns false when the Race is stale: the owner has cancelled it or started another
// one. The Race then stops. A stale Race may call a method once more, which must change nothing.
type Observer interface {
	// Resolved is called when the resolver has returned. Lookup or Failed follows.
	Resolved() bool
	// Lookup is called for each address of the resolver's answer, or once with its error.
	Lookup(Lookup) bool
	// Attempt is called before each attempt. several reports whether the host has more than one address to try.
	Attempt(a Attempt, several bool) bool
	// AttemptTimeout is called when an attempt has taken Config.Delay and another address is left.
	AttemptTimeout(Attempt) bool
	// AttemptFailed is called when an attempt has failed.
	AttemptFailed(Attempt, error) bool
	// Connected is called with the connection, which the Observer owns from then on, also if the Race is stale.
	Connected(net.Conn)
	// Failed is called when the Race has failed. errs has one error, or the error of each attempt in the order in which
	// they failed. The Race is over, and its context remains open until Cancel.
	Failed([]error)
	// Discard closes an unwanted connection: another attempt was faster, or the Race was cancelled.
	Discard(net.Conn)
}

// Loop is what a Race requires of the event loop that it runs on.
type Loop interface {
	// Post runs fn on the loop, before its next event. Any goroutine calls it.
	Post(fn func())
	// Offload runs fn on a new goroutine, then done on the loop with the error that fn returned. If fn panics or calls
	// runtime.Goexit, done gets an error that says so. Any goroutine calls Offload.
	Offload(fn func() error, done func(error))
	// Contain runs fn, then done, both on the calling goroutine. If fn panics or calls runtime.Goexit, done gets an
	// error that says so. Any goroutine calls Contain.
	Contain(fn func() error, done func(error))
	// AfterFunc runs fn on the loop once d has passed, and never before AfterFunc returns. stop prevents that, unless
	// fn is already queued. Any goroutine may call stop.
	AfterFunc(d time.Duration, fn func()) (stop func())
}

// Resolver looks up host names, like *net.Resolver. It is called off the loop.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is the configuration of a Race, which does not change it.
type Config struct {
	Network string // "tcp", "tcp4", "tcp6" or "unix"
	Address string // host:port, where no host is localhost, or the path
	Family  int    // 4 or 6: only addresses of that family; 0: both

	// FirstOnly limits the Race to the first address of the resolver's answer.
	FirstOnly bool
	// Delay is the time after which the next address is tried in parallel with an unfinished attempt. If it is not
	// positive, the next attempt starts when the last one has failed.
	Delay time.Duration

	Resolver Resolver
	// Dialer makes the connections, unless Dial is set. Its LocalAddr limits the Race to one family.
	Dialer *net.Dialer
	// Dial makes the connection of each attempt instead of Dialer. It is called off the loop. It may be nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// CheckPath returns why a path cannot be the address of a Unix socket.
	CheckPath func(path string) error
	// Allow returns why no connection to an address is permitted, or nil. It is called on the loop. It may be nil.
	Allow func(netip.Addr) error

	Loop     Loop
	Observer Observer
}
