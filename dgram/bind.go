package dgram

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"evnet"
	"evnet/internal/eventloop"
)

// Bind binds the socket synchronously, and begins to receive. address is host:port (no host: all addresses;
// port 0: a free one), or "" for all addresses and a free port. Then Listening is emitted, and onListening
// is called once unless it is nil. A host name is looked up first, which blocks the caller. As with package
// net, a multicast group as host binds all addresses and shares the port.
//
// If Bind fails the socket is unchanged and may be bound again. The error is a *net.OpError with the address.
// Its cause is an error of the operating system, ErrAlreadyBound or ErrNotRunning.
//
// Node: socket.bind.
func (s *Socket) Bind(address string, onListening func()) error {
	if err := s.bind(address, onListening); err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "bind" {
			return err
		}
		return s.refused("bind", address, err)
	}
	return nil
}

func (s *Socket) bind(address string, onListening func()) error {
	if address == "" {
		address = ":0"
	}
	if err := s.checkUnbound(); err != nil {
		return err
	}
	host, port, err := splitAddress(address)
	if err != nil {
		return err
	}
	ip, ok := literal(host, s.wildcard())
	if !ok {
		ctx := s.opts.Context
		if ctx == nil {
			ctx = context.Background()
		}
		if ip, err = s.lookup(ctx, host); err != nil {
			return err
		}
	}
	if err := s.checkAddress(ip); err != nil {
		return err
	}
	s.binding.Lock()
	defer s.binding.Unlock()
	if err := s.checkUnbound(); err != nil {
		return err
	}
	return s.listen(netip.AddrPortFrom(ip, port), onListening)
}

// ensureBound binds an unbound socket to all addresses and a free port.
func (s *Socket) ensureBound() error {
	s.binding.Lock()
	defer s.binding.Unlock()
	if err := s.checkUnbound(); err != ErrAlreadyBound {
		if err == nil {
			err = s.listen(netip.AddrPortFrom(s.wildcard(), 0), nil)
		}
		return err
	}
	return nil
}

// checkUnbound returns ErrAlreadyBound or ErrNotRunning, or nil if the socket can be bound.
func (s *Socket) checkUnbound() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed.Load():
		return ErrNotRunning
	case s.tr != nil:
		return ErrAlreadyBound
	}
	return nil
}

// listen makes the conn. It is called with s.binding held.
func (s *Socket) listen(at netip.AddrPort, onListening func()) error {
	network := s.network
	if network == "udp6" && !s.opts.IPv6Only {
		network = "udp" // of IPv6, as the address is, and of IPv4 too
	}
	config := net.ListenConfig{Control: s.prepare}
	conn, err := config.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return &net.OpError{Op: "bind", Net: s.network, Addr: net.UDPAddrFromAddrPort(at), Err: err}
	}
	if err := s.serve(conn, onListening); err != nil {
		_ = conn.Close()
		return err
	}
	return nil
}

// prepare is called for a new descriptor before it is bound. Go allows broadcasts on every socket; here the
// option has to be set, as in Node.
func (s *Socket) prepare(_, _ string, raw syscall.RawConn) error {
	return control(raw, func(fd descriptor) error {
		if err := setInt(fd, syscall.SOL_SOCKET, syscall.SO_BROADCAST, 0); err != nil {
			return err
		}
		if s.opts.ReuseAddr {
			if err := reuseAddress(fd); err != nil {
				return err
			}
		}
		if s.opts.ReusePort {
			if err := reusePort(fd); err != nil {
				return err
			}
		}
		if size := s.opts.ReadBuffer; size > 0 {
			if err := setInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, size); err != nil {
				return err
			}
		}
		if size := s.opts.WriteBuffer; size > 0 {
			return setInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, size)
		}
		return nil
	})
}

// serve attaches the conn. Nothing is read before Listening.
func (s *Socket) serve(conn net.PacketConn, onListening func()) error {
	local := localAddress(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrNotRunning
	}
	if !s.core.AddBuffering((*handle)(s), &s.member, !s.unref) {
		return evnet.ErrLoopStopped
	}
	s.conn = conn
	s.local.Store(&local)
	s.tr = newTransport(s, conn)
	s.loop.Post(func() { s.begin(onListening) })
	return nil
}

// begin emits Listening and begins to receive.
func (s *Socket) begin(onListening func()) {
	if s.closed.Load() {
		return
	}
	s.startTransport()
	s.beginCallbacks()
	s.emit(EventListening)
	if onListening != nil { // a listener of the same event, also if an earlier one has closed the socket
		onListening()
	}
	s.endCallbacks()
}

// startTransport begins to receive. If the kernel cannot watch another descriptor, goroutines serve the socket.
func (s *Socket) startTransport() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed.Load() && !s.tr.startLocked() {
		s.tr = newPlainTransport(s, s.conn)
		s.tr.startLocked()
		s.tr.flushLocked()
	}
}

// Wrap makes a socket of a bound conn, which the socket owns from then on. Listening follows, then
// messages. opts.Network, and the options of Bind, are ignored. A connected UDP conn makes a connected
// socket.
//
// conn may be of any type. A goroutine reads one message at a time, and another one writes while
// messages are queued; on Linux the loop itself serves a conn that is exactly a *net.UDPConn. A sender whose
// address is not an IP address and port is the zero AddrPort. Only a UDP conn can be connected. Options that a
// conn does not have are errors.ErrUnsupported.
//
// Wrap returns evnet.ErrNilArgument for a nil conn, and evnet.ErrLoopStopped for a loop that is ending; the
// conn stays open then.
//
// Node: socket.bind with an fd.
func Wrap(conn net.PacketConn, opts *SocketOptions) (*Socket, error) {
	o := withDefaults(opts)
	if conn == nil {
		return nil, evnet.ErrNilArgument
	}
	if err := o.checkBuffers(); err != nil {
		return nil, err
	}
	o.Network = networkOf(conn)
	s := newSocket(o)
	if remote, ok := remoteAddress(conn); ok {
		s.remote.Store(&remote)
	}
	if err := s.serve(conn, nil); err != nil {
		_ = s.Close(nil)
		return nil, err
	}
	return s, nil
}

// guarded runs fn, which calls foreign code, off the loop. A panic closes the socket.
func (s *Socket) guarded(fn func()) {
	s.contain(fn, s.fail)
}

// contain runs fn, which calls foreign code, off the loop. It calls failed after a panic or a runtime.Goexit.
func (s *Socket) contain(fn func(), failed func(error)) {
	eventloop.Contain((*handle)(s), func() error { fn(); return nil }, func(err error) {
		if err != nil {
			failed(err)
		}
	})
}
