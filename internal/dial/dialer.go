package dial

import (
	"context"
	"errors"
	"net"
	"syscall"
)

var errNoConn = errors.New("the dial function returned neither a conn nor an error")

// open makes the connection of one attempt. It runs off the loop.
func (r *Race) open(a Attempt) (net.Conn, error) {
	if r.config.Dial == nil {
		return r.dialer().DialContext(r.ctx, a.Network, a.Address)
	}
	conn, err := r.config.Dial(r.ctx, a.Network, a.Address)
	switch {
	case err != nil:
		return nil, err // conn may be a nil *tls.Conn, which is not a nil net.Conn
	case conn == nil:
		return nil, errNoConn
	}
	return conn, nil
}

// dialer returns the dialer of the configuration with its Control contained: when Control panics or calls runtime.Goexit,
// package net would leave the descriptor open.
func (r *Race) dialer() *net.Dialer {
	dialer := *r.config.Dialer
	dialer.LocalAddr = r.local
	control, controlContext := dialer.Control, dialer.ControlContext
	if control == nil && controlContext == nil {
		return &dialer
	}
	dialer.ControlContext = func(ctx context.Context, network, address string, raw syscall.RawConn) error {
		done := make(chan error, 1)
		go r.config.Loop.Contain(func() error { // on its own goroutine: runtime.Goexit must not end a goroutine of package net
			if controlContext != nil {
				return controlContext(ctx, network, address, raw)
			}
			return control(network, address, raw)
		}, func(err error) { done <- err })
		return <-done
	}
	return &dialer
}
