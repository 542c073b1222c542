package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// Race is the establishment of one connection.
type Race struct {
	config Config

	// Set by New.
	host   string // to look up, "" for an IP address or a path
	port   uint16
	family int      // 4, 6, or 0 for both
	local  net.Addr // to dial from, nil for any

	ctx context.Context // set by Start

	// Used on the loop only, once started.
	todo    []Attempt
	several bool // todo had more than one
	pending int  // attempts under way
	errs    []error

	mu        sync.Mutex // guards the fields below it
	cancelled bool
	cancel    context.CancelFunc // cancels ctx
	stopTimer func()             // stops the timer of the next attempt
}

// New returns a Race for an address. It returns an error if the configuration does not permit any connection. It does not
// look up the host.
func New(config Config) (*Race, error) {
	r := &Race{config: config}
	if err := r.parse(); err != nil {
		return nil, err
	}
	return r, nil
}

// Host returns the host name that is looked up, "" for an IP address or a path. Any goroutine may call it.
func (r *Race) Host() string { return r.host }

// Start begins with the lookup, or with the attempt if there is no host to look up. When ctx ends, the Race fails with its
// error at the next step. After Cancel it does nothing. Any goroutine may call it, once.
func (r *Race) Start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	if r.cancelled {
		r.mu.Unlock()
		cancel()
		return
	}
	r.ctx, r.cancel = ctx, cancel
	r.mu.Unlock()
	if r.host == "" {
		r.config.Loop.Post(func() { r.next(nil) })
		return
	}
	r.lookup()
}

// Cancel ends the lookup, all attempts and the timer, without calling the Observer. A connection that is established
// nevertheless is discarded. Cancel must be called in the end, even if the Race has connected or failed. Any goroutine may
// call it, more than once.
func (r *Race) Cancel() {
	r.mu.Lock()
	r.cancelled = true
	cancel := r.cancel
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	r.stopDelay()
}

// over reports whether the Race has ended: it was cancelled, or its context has ended. In the latter case, over reports the
// failure.
func (r *Race) over() bool {
	r.mu.Lock()
	cancelled := r.cancelled
	r.mu.Unlock()
	if cancelled {
		return true
	}
	err := r.ctx.Err()
	if err != nil {
		r.fail(err)
	}
	return err != nil
}

func (r *Race) fail(err error) { r.config.Observer.Failed([]error{err}) }

func (r *Race) lookup() {
	network := "ip"
	if r.family != 0 {
		network += strconv.Itoa(r.family)
	}
	var ips []netip.Addr
	r.config.Loop.Offload(func() (err error) {
		ips, err = r.config.Resolver.LookupNetIP(r.ctx, network, r.host)
		if err == nil && len(ips) == 0 {
			err = &net.DNSError{Err: "no such host", Name: r.host, IsNotFound: true}
		}
		return err
	}, func(err error) { r.resolved(ips, err) })
}

// resolved handles the answer of the resolver.
func (r *Race) resolved(ips []netip.Addr, err error) {
	if !r.config.Observer.Resolved() || r.over() {
		return
	}
	if err != nil {
		if r.config.Observer.Lookup(Lookup{Err: err, Host: r.host}) {
			r.fail(err)
		}
		return
	}
	if r.config.FirstOnly {
		ips = ips[:1]
	}
	for _, ip := range ips {
		l := Lookup{Host: r.host}
		if ip.IsValid() {
			l.Address, l.Family = ip.Unmap().String(), familyOf(ip)
		}
		if !r.config.Observer.Lookup(l) {
			return
		}
	}
	r.todo = r.candidates(ips)
	switch {
	case len(r.todo) > 0:
		r.several = len(r.todo) > 1
		r.next(nil)
	case slices.ContainsFunc(ips, netip.Addr.IsValid):
		r.fail(&net.AddrError{Err: "no suitable address", Addr: r.host})
	default:
		r.fail(fmt.Errorf("host %q: %w", r.host, errInvalidIP))
	}
}

// next starts the next attempt. slow is the attempt that has taken the delay, nil if the last one has failed.
func (r *Race) next(slow *Attempt) {
	if r.over() || slow != nil && !r.config.Observer.AttemptTimeout(*slow) {
		return
	}
	for len(r.todo) > 0 {
		err := r.refusal(r.todo[0])
		if err == nil {
			break
		}
		r.errs, r.todo = append(r.errs, err), r.todo[1:]
	}
	if len(r.todo) == 0 {
		r.failIfDone()
		return
	}
	a := r.todo[0]
	r.todo = r.todo[1:]
	if !r.config.Observer.Attempt(a, r.several) {
		return
	}
	r.pending++
	r.startDelay(a)
	var conn net.Conn
	r.config.Loop.Offload(func() (err error) {
		conn, err = r.open(a)
		return err
	}, func(err error) { r.attempted(a, conn, err) })
}

// startDelay starts the next attempt once a has taken the delay.
func (r *Race) startDelay(a Attempt) {
	left := len(r.todo)
	if left == 0 || r.config.Delay <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancelled { // nothing would stop the timer
		return
	}
	r.stopTimer = r.config.Loop.AfterFunc(r.config.Delay, func() {
		if len(r.todo) == left { // otherwise a has failed in the meantime
			r.next(&a)
		}
	})
}

func (r *Race) stopDelay() {
	r.mu.Lock()
	stop := r.stopTimer
	r.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// attempted handles the outcome of one attempt.
func (r *Race) attempted(a Attempt, conn net.Conn, err error) {
	r.pending--
	switch {
	case r.over():
		if conn != nil { // another attempt was faster, or this one was cancelled too late
			r.config.Observer.Discard(conn)
		}
	case err == nil:
		r.config.Observer.Connected(conn)
	case r.config.Observer.AttemptFailed(a, err):
		r.errs = append(r.errs, err)
		if len(r.todo) == 0 {
			r.failIfDone()
			return
		}
		r.stopDelay()
		r.next(nil)
	}
}

// failIfDone reports the failure of the Race when no address is left to try and no attempt is under way.
func (r *Race) failIfDone() {
	if r.pending == 0 {
		r.config.Observer.Failed(r.errs)
	}
}
