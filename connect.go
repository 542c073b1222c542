package evnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"evnet/internal/dial"
	"evnet/internal/eventloop"
	"evnet/internal/listen"
	"evnet/internal/text"
	"evnet/internal/transport"
)

// Connect starts a connection. network is "tcp", "tcp4", "tcp6" or "unix". address is host:port, where no host is
// localhost, or the path. Connect returns immediately. These events follow:
//   - Lookup for each address, if the host is a name,
//   - ConnectionAttempt for each address that is tried,
//   - Connect and Ready, or Error and Close, which also report invalid arguments,
//   - with SocketOptions.TLSConfig the TLS handshake, then SecureConnect.
//
// If the host has several addresses, they are tried in the order of RFC 8305: the families alternate, and each attempt starts
// SocketOptions.AttemptDelay after the one before, until one succeeds.
//
// Data may be written immediately; it is sent once the socket is connected. On a socket that is connecting or connected,
// Connect fails the socket with ErrAlreadyConnected.
//
// A closed socket may be connected again. On a destroyed socket that has not emitted Close yet, the connection starts
// after Close, and writes are refused until then. For the new connection these stay:
//   - the options, SetNoDelay, SetKeepAlive, SetTimeout, Unref, and AllowHalfOpen, also if Relay or BlockingConn has set it,
//   - listeners, except Once listeners that were called,
//   - OnRead or Scan, and the encoding,
//   - Pause. A socket whose Pipe or Relay has ended is paused too, until Resume or the next Pipe.
//
// Everything else is reset: data that was not delivered or sent, Pipe, Relay, Chunks, BlockingConn, StartTLS, Cork, and
// the counters.
//
// Node: socket.connect; with TLSConfig, tls.connect.
func (s *Socket) Connect(network, address string) {
	s.ConnectContext(context.Background(), network, address)
}

// ConnectContext is Connect with a context. If ctx ends before Connect is emitted, or with TLSConfig before SecureConnect,
// the socket fails with an error that is ctx.Err(). Afterwards ctx has no effect; SocketOptions.Context applies to the
// whole life of the socket.
//
// Node: the signal option.
func (s *Socket) ConnectContext(ctx context.Context, network, address string) {
	s.mu.Lock()
	if s.destroyed && !s.closed { // Close is pending: connect after it
		s.makeOpt().again = func() { s.ConnectContext(ctx, network, address) }
		s.mu.Unlock()
		return
	}
	c := &connecting{s: s, network: network, address: address, ctx: ctx}
	var e *ending
	err := s.connectLocked(c)
	if err != nil {
		e = s.destroyLocked(c.wrap(err), false)
	}
	s.mu.Unlock()
	e.run()
	if err == nil {
		c.race.Start(ctx)
	}
}

// connectLocked makes c the connection that the socket is establishing. If it returns an error, the socket must be
// destroyed with it.
func (s *Socket) connectLocked(c *connecting) error {
	if s.opt().dial != nil || s.stream.IsOpen() {
		return ErrAlreadyConnected
	}
	if s.destroyed {
		s.resetLocked()
	}
	if !s.registerLocked() {
		return ErrLoopStopped
	}
	if c.ctx == nil {
		return nilArgument("ConnectContext", "context")
	}
	var err error
	if c.race, err = dial.New(s.dialConfig(c)); err != nil {
		return err
	}
	if s.set.Dial == nil {
		if err := checkZone(c.network, c.address); err != nil {
			return err
		}
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if s.set.Context != nil {
		if err := s.set.Context.Err(); err != nil {
			return err
		}
	}
	s.opened = true
	r := s.makeOpt()
	r.dial, r.attempted = c, nil
	c.unwatch = context.AfterFunc(c.ctx, func() { c.fail(c.ctx.Err()) })
	s.markActiveLocked()
	if s.out.ending { // End was called before Connect
		s.closingPhaseLocked()
	}
	return nil
}

// dialConfig returns the configuration of the Race that makes c.
func (s *Socket) dialConfig(c *connecting) dial.Config {
	config := dial.Config{
		Network:   c.network,
		Address:   c.address,
		Family:    s.set.Family,
		FirstOnly: s.set.NoAutoSelectFamily,
		Delay:     s.set.AttemptDelay,
		Resolver:  s.set.Resolver,
		Dialer:    s.set.Dialer,
		Dial:      s.set.Dial,
		CheckPath: listen.CheckPath,
		Loop:      (*dialLoop)(s),
		Observer:  c,
	}
	if list := s.set.BlockList; list != nil {
		config.Allow = func(ip netip.Addr) error {
			if list.Check(ip) {
				return ErrBlocked
			}
			return nil
		}
	}
	return config
}

// resetLocked returns a closed socket to the state of a new one. The documentation of Connect lists what stays.
func (s *Socket) resetLocked() {
	s.loop().Count(-s.out.counted)
	waiting := s.out.callbacks // refused writes whose callbacks have not run yet
	for i := range waiting.Len() {
		waiting.At(i).end = 0
	}
	s.epoch++
	s.destroyed, s.closed, s.opened = false, false, false
	s.stream = transport.Stream{}
	s.stream.Init((*handle)(s))
	if r := s.optional; r != nil {
		r.err, r.failed, r.resetLater, r.local, r.remote, r.closeTimer, r.attempted = nil, nil, false, nil, nil, nil, nil
		r.agreed, r.shaken, r.accepting, r.blocking = nil, 0, false, nil
	}
	in := inbound{
		mode: s.in.mode, onRead: s.in.onRead, receiveBuffer: &emptyReceiveBuffer,
	}
	if was := s.in.receiveBuffer; was.scan != nil || was.pipes != nil || was.encoding != "" {
		in.receiveBuffer = &receiveBuffer{scan: was.scan, pipes: was.pipes, blocked: was.blocked, encoding: was.encoding}
	}
	in.rescan()
	if in.encoding != "" {
		in.decoder = text.New(string(in.encoding))
	}
	s.in, s.out = in, outbound{writeState: &emptyWriteState}
	if waiting.Len() > 0 {
		s.out.own()
		s.out.callbacks = waiting
		s.countQueuedLocked()
	}
}

// connecting is a connection that a socket is establishing, from Connect until the socket is connected or destroyed. It
// is the Observer of its Race: the exported methods run on the loop. It is stale once the socket's dial is another.
type connecting struct {
	s                *Socket
	network, address string
	ctx              context.Context // of ConnectContext
	race             *dial.Race
	unwatch          func() bool // stops watching ctx
}

// opError returns err with the network and address that were to be connected to.
func (c *connecting) opError(err error) *net.OpError { return dial.OpError(c.network, c.address, err) }

// wrap is opError for an error that does not say already what was to be connected to.
func (c *connecting) wrap(err error) error {
	var op *net.OpError
	var all *ConnectError
	if errors.As(err, &op) || errors.As(err, &all) {
		return err
	}
	return c.opError(err)
}

// fail destroys the socket. Any goroutine may call it.
func (c *connecting) fail(err error) {
	var e *ending
	c.s.mu.Lock()
	if c.s.opt().dial == c {
		e = c.s.destroyLocked(c.wrap(err), false)
	}
	c.s.mu.Unlock()
	e.run()
}

// cancel ends the attempts in progress, once c is stale. Any goroutine may call it.
func (c *connecting) cancel() {
	c.unwatch()
	c.race.Cancel()
}

// current reports whether c is not stale: the socket was not connected, destroyed or connected again meanwhile.
func (c *connecting) current() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.opt().dial == c
}

func (c *connecting) Resolved() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.opt().dial != c {
		return false
	}
	c.s.markActiveLocked()
	return true
}

func (c *connecting) Lookup(l dial.Lookup) bool {
	if !c.current() {
		return false
	}
	c.s.emitLookup(Lookup(l))
	return c.current()
}

func (c *connecting) Attempt(a dial.Attempt, several bool) bool {
	c.s.mu.Lock()
	if c.s.opt().dial != c {
		c.s.mu.Unlock()
		return false
	}
	if several {
		c.s.optional.attempted = append(c.s.optional.attempted, a.Address)
	}
	c.s.mu.Unlock()
	c.s.emitAttempt(Attempt(a))
	return c.current()
}

func (c *connecting) AttemptTimeout(a dial.Attempt) bool {
	if !c.current() {
		return false
	}
	c.s.emitAttemptTimeout(Attempt(a))
	return c.current()
}

func (c *connecting) AttemptFailed(a dial.Attempt, err error) bool {
	if !c.current() {
		return false
	}
	c.s.emitAttemptFailed(Attempt(a), err)
	return c.current()
}

func (c *connecting) Failed(errs []error) {
	if len(errs) == 1 {
		c.fail(errs[0])
	} else {
		c.fail(&ConnectError{Host: c.race.Host(), Errs: errs})
	}
}

func (c *connecting) Discard(conn net.Conn) { c.s.set.closeConn(conn) }

func (c *connecting) Connected(conn net.Conn) {
	s, attached := c.s, false
	defer func() { // also if a method of the conn panics
		if !attached {
			s.set.closeConn(conn)
		}
	}()
	s.loop().SetOwner((*handle)(s))
	id := identify(s.loop(), conn)
	at := id.known()
	s.mu.Lock()
	if s.opt().dial != c {
		s.mu.Unlock()
		return
	}
	s.optional.dial = nil
	s.optional.host = serverName(c.network, c.address)
	s.attachLocked(conn, at, transport.Client)
	attached = true
	if h := s.optional.handshake; h != nil {
		h.unwatch = context.AfterFunc(c.ctx, func() { s.abortHandshake(h, c.ctx.Err()) })
	}
	reset := s.opt().resetLater
	queued := s.stream.Queued() > 0 || s.out.callbacks.Len() > 0
	s.mu.Unlock()
	c.cancel()

	s.adopt(id)
	if s.setOptions(); s.Destroyed() {
		return
	}
	s.emitConnect()
	if queued {
		// As in Node, what was written while connecting is sent between Connect and Ready, and the first callback runs
		// there. The other callbacks run after Ready.
		s.flush()
		s.runWriteCallbacks(1)
		s.mu.Lock()
		s.scheduleCallbacksLocked()
		s.mu.Unlock()
	}
	if s.Destroyed() {
		return
	}
	s.emitReady()
	if reset {
		s.Reset()
		return
	}
	s.begin()
}

// dialLoop is a socket's loop as the Race of the socket uses it. A panic off the loop is attributed to the socket.
type dialLoop Socket

func (l *dialLoop) Post(fn func()) { l.set.Loop.core().Post(fn) }

func (l *dialLoop) Offload(fn func() error, done func(error)) {
	(*Socket)(l).loop().Offload((*handle)(l), fn, done)
}

func (l *dialLoop) Contain(fn func() error, done func(error)) {
	eventloop.Contain((*handle)(l), fn, done)
}

func (l *dialLoop) AfterFunc(d time.Duration, fn func()) (stop func()) {
	timer := time.AfterFunc(d, func() { l.set.Loop.core().Event(fn) })
	return func() { timer.Stop() }
}
