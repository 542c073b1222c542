package main

import (
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// proxy implements the workload proxy: it is both the client of the proxy and the upstream behind it.
// Each connection carries bytes in one direction, as fast as possible. One connection in five carries
// them from the upstream to the client. The first byte of a connection selects the direction.
// A message is -size received bytes.
type proxy struct {
	*generator
	address  string
	listener int
	ends     []end
}

// An end is one end of a connection through the proxy, at the client or at the upstream.
type end struct {
	fd     int
	role   role
	place  int64 // offset in the stream of the next byte to send or receive
	checks int
}

type role int

const (
	unknown role = iota // an upstream end before its first byte
	source
	sink
)

const (
	upward     = 'u'
	downward   = 'd'
	downwardIn = 5 // one connection in 5 carries bytes downward
	checkIn    = 8 // one read in 8 is checked; the kernel discards the bytes of the others
)

// listen opens the upstream before the proxy is started, because the proxy needs its address.
func (p *proxy) listen() (err error) {
	if p.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(p.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(p.listener, 4096); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	bound, err := unix.Getsockname(p.listener)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	in4 := bound.(*unix.SockaddrInet4)
	p.address = netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port)).String()
	return p.add(p.listener, -1, unix.EPOLLIN)
}

func (p *proxy) open() error {
	for i := range p.options.conns {
		fd, err := p.connect()
		if err != nil {
			return err
		}
		way, e := byte(upward), end{fd: fd, role: source}
		if i%downwardIn == downwardIn-1 {
			way, e = downward, end{fd: fd, role: sink}
		}
		if _, _, err := send(fd, []byte{way}); err != nil {
			return err
		}
		if err := p.join(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *proxy) join(e end) error {
	events := uint32(unix.EPOLLIN)
	if e.role == source {
		events = unix.EPOLLOUT
	}
	p.ends = append(p.ends, e)
	return p.add(e.fd, int32(len(p.ends)-1), events)
}

func (p *proxy) event(index int32, events uint32) error {
	if index < 0 {
		return p.accept()
	}
	e := &p.ends[index]
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		return fmt.Errorf("the proxy closed a connection")
	}
	switch e.role {
	case unknown:
		return p.readDirection(e, index)
	case source:
		n, _, err := send(e.fd, p.at(e.place, p.options.size))
		e.place += int64(n)
		return err
	}
	return p.discard(e)
}

func (p *proxy) accept() error {
	fd, _, err := unix.Accept4(p.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err == unix.EAGAIN {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return p.join(end{fd: fd})
}

// readDirection reads the byte that gives the direction of a new connection.
func (p *proxy) readDirection(e *end, index int32) error {
	n, again, err := receive(e.fd, p.buffer[:1], 0)
	if again || err != nil {
		return err
	}
	switch {
	case n == 1 && p.buffer[0] == upward:
		e.role = sink
		return nil
	case n == 1 && p.buffer[0] == downward:
		e.role = source
		return p.modify(e.fd, index, unix.EPOLLOUT)
	}
	return fmt.Errorf("upstream: invalid first byte of a connection: %q", p.buffer[:n])
}

// discard receives and counts bytes. Most reads do not copy them from the kernel: the load generator
// serves both ends, and its cost must not limit the proxy.
func (p *proxy) discard(e *end) error {
	flags := unix.MSG_TRUNC
	check := e.checks%checkIn == 0
	if e.checks++; check {
		flags = 0
	}
	n, again, err := receive(e.fd, p.buffer, flags)
	switch {
	case again:
		return nil
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	case err == nil && check && !p.intact(p.buffer[:n], e.place):
		err = fmt.Errorf("wrong byte among %d bytes at offset %d", n, e.place)
	}
	if err != nil {
		return fmt.Errorf("connection through the proxy: %w", err)
	}
	p.arrived(n, p.now())
	size := int64(p.options.size)
	p.messages += (e.place+int64(n))/size - e.place/size
	e.place += int64(n)
	return nil
}

func (p *proxy) tick() error { return nil }
