package evnet

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// The addresses of a host, and the race between them.

// candidates are the addresses to try, in order: families in turn, beginning with that of the first
// answer, each address once.
func (d *dialing) candidates(ips []netip.Addr) []Attempt {
	byFamily := map[int][]Attempt{}
	first := 0
	for _, ip := range ips {
		if !ip.IsValid() || d.family != 0 && d.family != familyOf(ip) {
			continue // a Resolver may answer more than it was asked for
		}
		a := d.attempt(ip)
		if first == 0 {
			first = a.Family
		}
		if !slices.Contains(byFamily[a.Family], a) {
			byFamily[a.Family] = append(byFamily[a.Family], a)
		}
	}
	var all []Attempt
	mine, other := byFamily[first], byFamily[10-first]
	for len(mine)+len(other) > 0 {
		if len(mine) > 0 {
			all, mine = append(all, mine[0]), mine[1:]
		}
		mine, other = other, mine
	}
	return all
}

// blocked is why an attempt must not be made, nil if it may.
func (d *dialing) blocked(a Attempt) error {
	list := d.s.set.BlockList
	if list == nil || a.Family == 0 {
		return nil
	}
	to, _ := netip.ParseAddrPort(a.Address) // which is the text of one
	if !list.Check(to.Addr()) {
		return nil
	}
	return &net.OpError{Op: "dial", Net: a.Network, Addr: net.TCPAddrFromAddrPort(to), Err: ErrBlocked}
}

// next starts the next attempt, because of the time the last one takes or because it has failed.
func (d *dialing) next(slow *Attempt) {
	if d.over() || d.ended() {
		return
	}
	if slow != nil {
		if d.s.emitAttemptTimeout(*slow); d.over() {
			return
		}
	}
	for len(d.todo) > 0 {
		err := d.blocked(d.todo[0])
		if err == nil {
			break
		}
		d.errs, d.todo = append(d.errs, err), d.todo[1:]
	}
	if len(d.todo) == 0 {
		d.failIfDone()
		return
	}
	a := d.todo[0]
	d.todo = d.todo[1:]
	if d.several {
		d.s.mu.Lock()
		r := d.s.makeRare()
		r.attempted = append(r.attempted, a.Address)
		d.s.mu.Unlock()
	}
	if d.s.emitAttempt(a); d.over() {
		return
	}
	d.pending++
	if len(d.todo) > 0 && d.s.set.AttemptDelay > 0 {
		left := len(d.todo)
		d.s.mu.Lock()
		if d.s.rare().dial == d { // else nobody would stop it
			d.timer = time.AfterFunc(d.s.set.AttemptDelay, func() {
				d.s.set.Loop.event(func() {
					if len(d.todo) == left {
						d.next(&a)
					}
				})
			})
		}
		d.s.mu.Unlock()
	}
	var conn net.Conn
	d.s.supply(func() (err error) {
		conn, err = d.dial(a)
		return err
	}, func(err error) { d.tried(a, conn, err) })
}

// tried takes the outcome of one attempt.
func (d *dialing) tried(a Attempt, conn net.Conn, err error) {
	d.pending--
	if d.over() || d.ended() {
		if conn != nil {
			d.s.set.closeConn(conn) // a loser, or cancelled too late
		}
		return
	}
	if err == nil {
		d.connected(conn)
		return
	}
	if d.s.emitAttemptFailed(a, err); d.over() {
		return
	}
	d.errs = append(d.errs, err)
	if len(d.todo) > 0 {
		d.stopTimer()
		d.next(nil)
		return
	}
	d.failIfDone()
}

// failIfDone ends the socket when no address is left to try and no attempt under way.
func (d *dialing) failIfDone() {
	switch {
	case d.pending > 0:
	case len(d.errs) == 1:
		d.fail(d.errs[0])
	default:
		d.fail(&ConnectError{Host: d.host, Errs: d.errs})
	}
}
