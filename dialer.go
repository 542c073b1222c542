package evnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"
)

// What the user has supplied to be called off the loop, and what may be wrong with it.

var errGoexit = errors.New("runtime.Goexit was called")

// bind keeps to the family of Dialer.LocalAddr: no other can be reached from there. s.mu is held.
func (d *dialing) bind() error {
	if d.s.set.Dial != nil {
		return nil
	}
	local := d.s.set.Dialer.LocalAddr
	if _, tcp := local.(*net.TCPAddr); tcp && d.network == "unix" {
		local = nil // as in Node, a path has no use for it
	}
	if d.local = local; local == nil {
		return nil
	}
	refused := func(err error) error {
		op := d.opError(err)
		op.Source = local
		return op
	}
	family, fits := 0, false
	switch local := local.(type) {
	case *net.TCPAddr:
		fits = local != nil
		if fits {
			if ip, ok := netip.AddrFromSlice(local.IP); ok {
				family = familyOf(ip)
			}
		}
	case *net.UnixAddr:
		fits = local != nil && d.network == "unix"
	}
	switch {
	case !fits:
		return refused(&net.AddrError{Err: "mismatched local address type", Addr: fmt.Sprint(local)})
	case d.family == 0:
		d.family = family
	case family != 0 && family != d.family:
		return refused(os.NewSyscallError("bind", syscall.EINVAL)) // as the system says it
	}
	return nil
}

var errNothingDialed = errors.New("the dial function has answered with neither a conn nor an error")

// dial makes the conn of one attempt.
func (d *dialing) dial(a Attempt) (net.Conn, error) {
	dial := d.s.set.Dial
	if dial == nil {
		return d.dialer().DialContext(d.ctx, a.Network, a.Address)
	}
	conn, err := dial(d.ctx, a.Network, a.Address)
	switch {
	case err != nil:
		return nil, err // beside which there may be a nil *tls.Conn
	case conn == nil:
		return nil, errNothingDialed
	}
	return conn, nil
}

// dialer is the user's, whose Control may not return: package net would leave the descriptor open.
func (d *dialing) dialer() *net.Dialer {
	dialer := *d.s.set.Dialer
	dialer.LocalAddr = d.local
	control, controlContext := dialer.Control, dialer.ControlContext
	if control == nil && controlContext == nil {
		return &dialer
	}
	dialer.ControlContext = func(ctx context.Context, network, address string, raw syscall.RawConn) error {
		done := make(chan error, 1)
		go contain(d.s, func() error { // on a goroutine of its own: package net must outlive a runtime.Goexit too
			if controlContext != nil {
				return controlContext(ctx, network, address, raw)
			}
			return control(network, address, raw)
		}, func(err error) { done <- err })
		return <-done
	}
	return &dialer
}

// supply runs what the user has supplied on a goroutine of its own, then told on the loop.
func (s *Socket) supply(fn func() error, told func(error)) {
	s.set.Loop.spawn(func() {
		contain(s, fn, func(err error) { s.set.Loop.event(func() { told(err) }) })
	})
}

// closeConn closes a conn that belongs to no socket; one of any kind aside, for that may block or panic.
func (set *settings) closeConn(conn net.Conn) {
	if isKernelConn(conn) {
		_ = conn.Close()
		return
	}
	set.Loop.spawn(func() { contain(nil, conn.Close, set.connClosed) })
}

// connClosed is told what closing a conn of any kind has answered, which is nobody's business any more but
// for a panic.
func (set *settings) connClosed(err error) {
	if _, panicked := err.(*PanicError); panicked {
		set.Loop.event(func() { // the Logger's own panic is for the loop to deal with
			if r, ok := set.record(slog.LevelWarn); ok {
				r.Write("evnet: closing a conn has panicked", "err", err)
			}
		})
	}
}

// contain runs fn, then told, whatever becomes of fn: nobody else could contain a panic on this
// goroutine, or hear of a runtime.Goexit. s is the socket it belongs to, or nil.
func contain(s *Socket, fn func() error, told func(error)) {
	var err error
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if v == nil {
				v = errGoexit
			}
			err = &PanicError{Value: v, Stack: debug.Stack(), Socket: s}
		}
		told(err)
	}()
	err = fn()
	returned = true
}
