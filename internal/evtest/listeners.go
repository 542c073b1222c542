package evtest

import (
	"errors"
	"net"
	"sync"
)

// Acceptor is a listener whose Accept is a function, called with the number of the call.
type Acceptor struct {
	*MemoryListener
	calls    int
	OnAccept func(n int) (net.Conn, error)
}

func (a *Acceptor) Accept() (net.Conn, error) {
	a.calls++
	return a.OnAccept(a.calls)
}

var ErrAccept = errors.New("no more descriptors")

// MemoryListener is an in-memory listener: its conns are ends of net.Pipe.
type MemoryListener struct {
	Conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func NewMemoryListener() *MemoryListener {
	return &MemoryListener{Conns: make(chan net.Conn, 16), closed: make(chan struct{})}
}

func (m *MemoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-m.Conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *MemoryListener) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *MemoryListener) Addr() net.Addr { return m }

func (m *MemoryListener) Network() string { return "memory" }

func (m *MemoryListener) String() string { return "here" }

func (m *MemoryListener) Dial() net.Conn {
	here, there := net.Pipe()
	m.Conns <- there
	return here
}
