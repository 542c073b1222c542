package main

import (
	"net"
	"sync"
)

// listener is a net.Listener whose connections come from the loop.
type listener struct {
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	address net.Addr
}

func newListener(address net.Addr) *listener {
	return &listener{conns: make(chan net.Conn, 100), closed: make(chan struct{}), address: address}
}

// offer passes a connection to Accept. It never blocks the loop: it reports false if too many connections wait.
func (l *listener) offer(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	default:
		return false
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.address }
