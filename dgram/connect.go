package dgram

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"evnet"
)

// connecting is a Connect in progress.
type connecting struct {
	address string
	done    func(error)
	cancel  context.CancelFunc
}

// Connect associates the socket with a peer, host:port (no host: this machine). From then on Send sends to
// the peer, and only the peer's messages are delivered. Messages of other senders that were received before,
// and are not delivered yet, are dropped. Connect returns immediately. It binds an unbound socket to all addresses and
// a free port. Connect sends nothing: if the peer does not exist, the socket may emit an Error that is
// syscall.ECONNREFUSED after the first message.
//
// Connect returns, without calling done: ErrNotRunning after Close, ErrBadPort, ErrIsConnected on a socket
// that is connecting or connected, or the error of Bind.
//
// Otherwise Connect is emitted, and then done is called with nil. If connecting fails, done is called with
// the error, or Error is emitted if done is nil. The error is the error of the lookup, evnet.ErrBlocked, an
// error of the operating system, or errors.ErrUnsupported for a conn that is not UDP. Connect may be called
// again then. If Close is called first, done is called with ErrNotRunning.
//
// Node: socket.connect, after which messages of other senders that the kernel has queued are still emitted.
func (s *Socket) Connect(address string, done func(error)) error {
	host, port, err := splitAddress(address)
	if err == nil && port == 0 {
		err = ErrBadPort
	}
	if err != nil {
		return s.refused("connect", address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &connecting{address: address, done: done, cancel: cancel}
	s.mu.Lock()
	switch {
	case s.closed.Load():
		err = ErrNotRunning
	case s.connecting != nil || s.remote.Load() != nil:
		err = ErrIsConnected
	default:
		s.connecting = c
	}
	s.mu.Unlock()
	if err == nil {
		if err = s.ensureBound(); err != nil && !s.cancelConnect(c) {
			err = nil // Close reports it to done
		}
	}
	if err != nil {
		cancel()
		return s.refused("connect", address, err)
	}
	if ip, ok := literal(host, s.loopback()); ok {
		s.loop.Post(func() { s.associate(c, netip.AddrPortFrom(ip, port), nil) })
		return nil
	}
	s.core.Go(func() {
		s.guarded(func() {
			ip, err := s.lookup(ctx, host)
			s.loop.Post(func() { s.associate(c, netip.AddrPortFrom(ip, port), err) })
		})
	})
	return nil
}

// cancelConnect ends c, and reports whether it was still in progress.
func (s *Socket) cancelConnect(c *connecting) bool {
	c.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connecting != c {
		return false
	}
	s.connecting = nil
	return true
}

// associate ends a Connect. It runs on the loop.
func (s *Socket) associate(c *connecting, to netip.AddrPort, err error) {
	c.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connecting != c { // Close was called first
		return
	}
	s.connecting = nil
	if err == nil {
		err = s.checkAddress(to.Addr())
	}
	if err == nil && s.opts.SendBlockList.Check(to.Addr()) {
		err = evnet.ErrBlocked
	}
	if err == nil {
		if s.out.len() > 0 {
			s.tr.flushLocked() // the queued messages have addresses
		}
		err = connectConn(s.conn, to)
	}
	if err != nil {
		s.addOutcomeLocked(c.done, s.refused("connect", c.address, err))
		return
	}
	if peer := sockaddrOf(s.conn, syscall.Getpeername); peer.IsValid() {
		to = peer // another address than 0.0.0.0 or ::, which connect to this machine
	}
	s.remote.Store(&to)
	local := localAddress(s.conn)
	s.local.Store(&local)
	s.outcomes.list = append(s.outcomes.list, outcome{done: c.done, connected: true})
	s.postOutcomesLocked()
}

// Disconnect undoes Connect: the socket receives from all senders again, and Send needs an address. Queued
// messages still go to the former peer. If the socket has been connected to another peer meanwhile, they fail
// with syscall.EISCONN on systems, such as BSD, whose kernel sends only to the peer of a connected socket.
// Disconnect returns ErrNotConnected on a socket that is not connected, and ErrNotRunning after Close.
//
// Node: socket.disconnect.
func (s *Socket) Disconnect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	remote := s.remote.Load()
	switch {
	case s.closed.Load():
		return ErrNotRunning
	case remote == nil:
		return ErrNotConnected
	}
	if s.out.len() > 0 {
		s.tr.flushLocked()
	}
	before := *s.local.Load()
	if err := disconnectConn(s.conn, netip.AddrPortFrom(s.wildcard(), before.Port())); err != nil {
		return s.opError("disconnect", *remote, err)
	}
	s.out.address(*remote)
	s.remote.Store(nil)
	local := localAddress(s.conn)
	s.local.Store(&local)
	return nil
}

// refuses reports whether a message of that sender is dropped: the block list has it, or the socket is
// connected to another peer. After Connect the kernel drops messages of other senders itself, but not
// those that it, or the transport, has queued before.
func (s *Socket) refuses(from netip.AddrPort) bool {
	if peer := s.remote.Load(); peer != nil && *peer != from && !samePeer(*peer, from) {
		return true
	}
	return s.opts.ReceiveBlockList.Check(from.Addr())
}

// samePeer reports whether a message from that sender can be the peer's. An address may be IPv4-mapped,
// and a zone may be a name, an index or missing. An unknown sender may be the peer.
func samePeer(peer, from netip.AddrPort) bool {
	if !from.IsValid() {
		return true
	}
	a, b := peer.Addr().Unmap(), from.Addr().Unmap()
	if peer.Port() != from.Port() || a.WithZone("") != b.WithZone("") {
		return false
	}
	return a.Zone() == b.Zone() || a.Zone() == "" || b.Zone() == "" || zoneIndex(a.Zone()) == zoneIndex(b.Zone())
}

// rawOf returns the syscall.RawConn of a conn, which gives access to its descriptor.
func rawOf(conn any) (syscall.RawConn, error) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor: %w", conn, errors.ErrUnsupported)
	}
	return c.SyscallConn()
}

// control calls fn with the descriptor of raw.
func control(raw syscall.RawConn, fn func(fd descriptor) error) error {
	var err error
	if failed := raw.Control(func(fd uintptr) { err = fn(descriptor(fd)) }); failed != nil {
		return failed
	}
	return err
}

// onConn calls fn with the conn's descriptor.
func onConn(conn any, fn func(fd descriptor) error) error {
	raw, err := rawOf(conn)
	if err != nil {
		return err
	}
	return control(raw, fn)
}
