package dgram

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"evnet"
)

// Send sends a message to address, host:port (no host: this machine), or, with the address "", to the
// peer of a connected socket. It never blocks and copies msg, which may be empty. An unbound socket is
// bound first, to all addresses and a free port; Listening follows. A host name is looked up off the loop
// each time, at most 128 names of one socket at the same time.
//
// Send returns, without calling done: ErrNotRunning after Close, ErrIsConnected for an address on a
// connected socket, ErrBadPort, the error of Bind, or evnet.ErrWriteBufferFull at MaxSendQueue.
//
// Otherwise done, if it is not nil, runs on the loop exactly once and before Close: with nil when the
// kernel has accepted the message, or with an error. That is the error of the lookup, evnet.ErrBlocked,
// syscall.EMSGSIZE, or syscall.ECONNREFUSED, which is caused by an earlier message on a connected socket.
// Without done an error is emitted as Error. A message that was sent may still be lost.
//
// Node: socket.send.
func (s *Socket) Send(msg []byte, address string, done func(error)) error {
	return s.sendText(msg, nil, address, done)
}

// SendBuffers is Send of one message that is the concatenation of parts.
//
// Node: socket.send with an array.
func (s *Socket) SendBuffers(parts net.Buffers, address string, done func(error)) error {
	return s.sendText(nil, parts, address, done)
}

// SendTo is Send to an IP address and port, such as the sender that Message has. It does not allocate. The zero
// AddrPort is the peer of a connected socket.
//
// Node: socket.send.
func (s *Socket) SendTo(msg []byte, to netip.AddrPort, done func(error)) error {
	return s.sendMessage(msg, nil, to, done)
}

func (s *Socket) sendText(msg []byte, parts net.Buffers, address string, done func(error)) error {
	if address == "" {
		return s.sendMessage(msg, parts, netip.AddrPort{}, done)
	}
	host, port, err := splitAddress(address)
	if err == nil && port == 0 {
		err = ErrBadPort
	}
	if err != nil {
		return s.refused("send", address, err)
	}
	if ip, ok := literal(host, s.loopback()); ok {
		return s.sendMessage(msg, parts, netip.AddrPortFrom(ip, port), done)
	}
	s.mu.Lock()
	err = s.maySendLocked(true)
	s.mu.Unlock()
	if err == nil {
		err = s.ensureBound()
	}
	if err != nil {
		return s.refused("send", address, err)
	}
	return s.sendByName(msg, parts, address, host, port, done)
}

// maySendLocked returns why nothing can be sent now, or nil.
func (s *Socket) maySendLocked(addressed bool) error {
	switch connected := s.remote.Load() != nil; {
	case s.closed.Load():
		return ErrNotRunning
	case connected && addressed:
		return ErrIsConnected
	case !connected && !addressed:
		return fmt.Errorf("%w: there is no address, and the socket is not connected", ErrBadPort)
	case s.opts.MaxSendQueue > 0 && s.out.buffered() >= s.opts.MaxSendQueue, s.out.counted > 0 && s.core.IsFull(s.out.buffered()):
		return evnet.ErrWriteBufferFull
	}
	return nil
}

func (s *Socket) sendMessage(msg []byte, parts net.Buffers, to netip.AddrPort, done func(error)) error {
	addressed := to != netip.AddrPort{}
	if addressed && to.Port() == 0 {
		return s.refused("send", to.String(), ErrBadPort)
	}
	s.mu.Lock()
	for s.tr == nil && s.maySendLocked(addressed) == nil {
		s.mu.Unlock()
		if err := s.ensureBound(); err != nil {
			return s.opError("send", to, err)
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if err := s.maySendLocked(addressed); err != nil {
		return s.opError("send", to, err)
	}
	s.enqueueLocked(msg, parts, to, done)
	return nil
}

// enqueueLocked queues a message that may be sent, or reports its error.
func (s *Socket) enqueueLocked(msg []byte, parts net.Buffers, to netip.AddrPort, done func(error)) {
	if to != (netip.AddrPort{}) {
		err := s.checkAddress(to.Addr())
		if err == nil && s.opts.SendBlockList.Check(to.Addr()) {
			err = evnet.ErrBlocked
		}
		if err != nil {
			s.addOutcomeLocked(done, s.opError("send", to, err))
			return
		}
	}
	s.out.put(msg, parts, to, done)
	onLoop := s.core.OnLoop()
	switch {
	case onLoop && s.out.len() >= batchSize:
		s.tr.flushLocked()
	case onLoop && s.delivering, s.out.posted:
	default:
		s.out.posted = true
		s.loop.Post(s.flush)
	}
	if s.out.len() > batchSize { // not all messages are sent at the end of this callback
		s.countLocked()
	}
}

// flush sends the queued messages. It runs on the loop.
func (s *Socket) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.posted = false
	if s.tr != nil && !s.closed.Load() && s.out.len() > 0 {
		s.tr.flushLocked()
		s.countLocked()
	}
}

// maxLookups limits the goroutines of a socket that look up names: a resolver may block forever.
const maxLookups = 128

// lookups are the messages whose host names are being looked up. The socket's mu guards them.
type lookups struct {
	open    map[*lookup]struct{} // all of them
	waiting []*lookup            // those that no worker has taken
	workers int                  // goroutines
	ctx     context.Context      // of all, from the first one on
	cancel  context.CancelFunc
}

// lookup is one message.
type lookup struct {
	address, host string
	port          uint16
	msg           []byte
	done          func(error)
}

// add queues a lookup, and reports whether another worker must be started.
func (ls *lookups) add(l *lookup) bool {
	if ls.open == nil {
		ls.open = map[*lookup]struct{}{}
		ls.ctx, ls.cancel = context.WithCancel(context.Background())
	}
	ls.open[l] = struct{}{}
	ls.waiting = append(ls.waiting, l)
	if ls.workers == maxLookups {
		return false
	}
	ls.workers++
	return true
}

// next removes and returns the first lookup. If there is none it returns nil, and the worker ends.
func (ls *lookups) next() *lookup {
	if len(ls.waiting) == 0 {
		ls.workers--
		return nil
	}
	l := ls.waiting[0]
	ls.waiting[0] = nil
	ls.waiting = ls.waiting[1:]
	return l
}

func (s *Socket) sendByName(msg []byte, parts net.Buffers, address, host string, port uint16, done func(error)) error {
	s.mu.Lock()
	if err := s.maySendLocked(true); err != nil {
		s.mu.Unlock()
		return s.refused("send", address, err)
	}
	whole := append([]byte{}, msg...)
	for _, p := range parts {
		whole = append(whole, p...)
	}
	s.out.enter(len(whole))
	s.countLocked()
	more := s.lookups.add(&lookup{address: address, host: host, port: port, msg: whole, done: done})
	ctx := s.lookups.ctx
	s.mu.Unlock()
	if more {
		s.core.Go(func() { s.guarded(func() { s.lookUp(ctx) }) })
	}
	return nil
}

// lookUp is a worker: it looks up one name after the other until the queue is empty. If a resolver panics the
// socket is closed, which ends the pending lookups.
func (s *Socket) lookUp(ctx context.Context) {
	for {
		s.mu.Lock()
		l := s.lookups.next()
		s.mu.Unlock()
		if l == nil {
			return
		}
		ip, err := s.lookup(ctx, l.host)
		s.loop.Post(func() { s.found(l, netip.AddrPortFrom(ip, l.port), err) })
	}
}

// found sends a message whose host was looked up. It runs on the loop.
func (s *Socket) found(l *lookup, to netip.AddrPort, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.lookups.open[l]; !ok { // Close was called first
		return
	}
	delete(s.lookups.open, l)
	s.out.leave(len(l.msg))
	s.countLocked()
	if err == nil && s.remote.Load() != nil {
		err = ErrIsConnected // the socket was connected meanwhile
	}
	if err != nil {
		s.addOutcomeLocked(l.done, s.refused("send", l.address, err))
		return
	}
	s.enqueueLocked(l.msg, nil, to, l.done)
}
