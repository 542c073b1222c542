package evnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"evnet/internal/listen"
	"evnet/internal/text"
)

var (
	errInvalidIP = coded("the resolver's answer is not an IP address", "ERR_INVALID_IP_ADDRESS", nil)
	errFamily    = coded("family is not 0, 4 or 6", "ERR_INVALID_ARG_VALUE", nil)
)

// Connect starts a connection. network is "tcp", "tcp4", "tcp6" or "unix"; address is host:port (no
// host is localhost) or the path. It returns at once. Then come Lookup for each address if the host
// is a name, ConnectionAttempt for each address tried, Connect and Ready; or Error and Close, for
// bad arguments too. With SocketOptions.TLSConfig the TLS handshake comes next, then SecureConnect. Several addresses are tried in the order of RFC 8305: families in turn, each
// SocketOptions.AttemptDelay after the one before, until one answers.
//
// Data may be written already; it is sent once connected. A socket that has closed may be connected
// again: listeners, OnRead, Scan, encoding, Pause (also that of a Pipe that ended) and SetTimeout stay,
// everything else starts anew. On one that is on its way to Close, the connection is started after
// Close, and until then writes are refused. On a socket that is connecting or connected it is a
// failure, ErrAlreadyConnected. Node: socket.connect; with
// TLSConfig, tls.connect.
func (s *Socket) Connect(network, address string) {
	s.ConnectContext(context.Background(), network, address)
}

// ConnectContext is Connect with a context that ends the attempt: if ctx ends before Connect is
// emitted, with TLSConfig before SecureConnect, the socket fails with an error that is ctx.Err(). Afterwards ctx has no effect:
// SocketOptions.Context is for the whole life. Node: the signal option.
func (s *Socket) ConnectContext(ctx context.Context, network, address string) {
	s.mu.Lock()
	if s.destroyed && !s.closed { // on the way to Close: after it
		s.makeRare().again = func() { s.ConnectContext(ctx, network, address) }
		s.mu.Unlock()
		return
	}
	d := &dialing{s: s, network: network, address: address}
	fail := func(err error) {
		e := s.destroyLocked(d.told(err), false)
		s.mu.Unlock()
		e.run()
	}
	if s.rare().dial != nil || s.tr != nil {
		fail(ErrAlreadyConnected)
		return
	}
	if s.destroyed {
		s.startAnew()
	}
	if !s.hold() {
		fail(ErrLoopStopped)
		return
	}
	if ctx == nil {
		fail(nilArgument("ConnectContext", "context"))
		return
	}
	host, err := d.parse()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && s.set.Context != nil {
		err = s.set.Context.Err()
	}
	if err != nil {
		fail(err)
		return
	}
	s.opened = true
	r := s.makeRare()
	r.dial, r.attempted = d, nil
	d.callers = ctx
	d.ctx, d.cancelAll = context.WithCancel(ctx)
	d.unwatch = context.AfterFunc(ctx, func() { d.fail(ctx.Err()) })
	s.touch()
	if s.out.ending { // End was called on a new socket
		s.closingPhase()
	}
	s.mu.Unlock()
	if host == "" {
		s.set.Loop.tick(func() { d.next(nil) })
		return
	}
	d.lookup(host)
}

// startAnew makes a closed socket as good as a new one; what stays is said at Connect. s.mu is held.
func (s *Socket) startAnew() {
	s.set.Loop.count(-s.out.counted)
	waiting := s.out.waiting // refused writes that are still to be told so
	for i := range waiting.Len() {
		waiting.At(i).end = 0
	}
	s.epoch++
	s.destroyed, s.closed, s.opened, s.conn = false, false, false, nil
	if r := s.rarity; r != nil {
		r.err, r.resetLater, r.local, r.remote, r.closeTimer, r.attempted = nil, false, nil, nil, nil, nil
		r.agreed, r.accepting, r.blocking = nil, false, nil
	}
	in := inbound{
		mode: s.in.mode, onRead: s.in.onRead, holding: &holdsNothing,
	}
	if was := s.in.holding; was.scan != nil || was.pipes != nil || was.encoding != "" {
		in.holding = &holding{scan: was.scan, pipes: was.pipes, blocked: was.blocked, encoding: was.encoding}
	}
	in.lookAgain()
	if in.encoding != "" {
		in.decoder = text.New(string(in.encoding))
	}
	s.in, s.out = in, outbound{outbox: &emptyOutbox}
	if waiting.Len() > 0 {
		s.out.own()
		s.out.waiting = waiting
		s.countQueued()
	}
}

// dialing is the making of one connection. Its methods run on the loop, but for those that say
// otherwise; it is over once the socket's dial is another.
type dialing struct {
	s       *Socket
	network string
	address string
	port    uint16
	family  int      // 4, 6, or 0 for both
	local   net.Addr // to dial from, nil for any

	callers   context.Context // as ConnectContext was given it
	ctx       context.Context
	cancelAll context.CancelFunc
	unwatch   func() bool

	host    string // looked up, "" for an IP address or a path
	todo    []Attempt
	several bool        // there was more than one to do
	pending int         // attempts under way
	timer   *time.Timer // for the next attempt; guarded by s.mu
	errs    []error
}

// textAddr is an address that could not be made anything else of.
type textAddr struct{ network, address string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.address }

// opError says what was to be connected to.
func (d *dialing) opError(err error) *net.OpError {
	return &net.OpError{Op: "dial", Net: d.network, Addr: textAddr{d.network, d.address}, Err: err}
}

// told is err with what was to be connected to, if it does not say so itself.
func (d *dialing) told(err error) error {
	var op *net.OpError
	var all *ConnectError
	if errors.As(err, &op) || errors.As(err, &all) {
		return err
	}
	return d.opError(err)
}

// parse sets the attempt, or returns the host to look up. It runs in Connect, with s.mu held.
func (d *dialing) parse() (host string, err error) {
	d.family = d.s.set.Family
	switch d.network {
	case "unix":
		if d.address == "" {
			return "", &net.AddrError{Err: "missing path", Addr: d.address}
		}
		if err := listen.CheckPath(d.address); err != nil {
			return "", err
		}
		d.todo = []Attempt{{Network: d.network, Address: d.address}}
		return "", d.bind()
	case "tcp":
	case "tcp4":
		d.family = 4
	case "tcp6":
		d.family = 6
	default:
		return "", net.UnknownNetworkError(d.network)
	}
	if d.family != 0 && d.family != 4 && d.family != 6 {
		return "", errFamily
	}
	host, d.port, err = splitHostPort(d.network, d.address)
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "localhost"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if d.family != 0 && d.family != familyOf(ip) {
			return "", &net.AddrError{Err: "no suitable address", Addr: host}
		}
		d.family = familyOf(ip)
		d.todo = []Attempt{d.attempt(ip)}
	} else {
		d.host = host
	}
	return d.host, d.bind()
}

// splitHostPort also knows services by name, as net.Dial does.
func splitHostPort(network, address string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := net.LookupPort(network, service)
	if err != nil {
		return "", 0, err
	}
	return host, uint16(n), nil
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() || ip.Is4In6() {
		return 4
	}
	return 6
}

func (d *dialing) attempt(ip netip.Addr) Attempt {
	family := familyOf(ip)
	return Attempt{
		Network: "tcp" + strconv.Itoa(family),
		Address: netip.AddrPortFrom(ip.Unmap(), d.port).String(),
		Family:  family,
	}
}

func (d *dialing) lookup(host string) {
	network := "ip"
	if d.family != 0 {
		network += strconv.Itoa(d.family)
	}
	var ips []netip.Addr
	d.s.supply(func() (err error) {
		ips, err = d.s.set.Resolver.LookupNetIP(d.ctx, network, host)
		if err == nil && len(ips) == 0 {
			err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return err
	}, func(err error) { d.resolved(ips, err) })
}

// over reports whether the socket was connected, destroyed or connected anew meanwhile.
func (d *dialing) over() bool {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return d.s.rare().dial != d
}

func (d *dialing) resolved(ips []netip.Addr, err error) {
	d.s.mu.Lock()
	if d.s.rare().dial != d {
		d.s.mu.Unlock()
		return
	}
	d.s.touch()
	d.s.mu.Unlock()
	if d.ended() {
		return
	}
	if err != nil {
		d.s.emitLookup(Lookup{Err: err, Host: d.host})
		d.fail(err)
		return
	}
	if d.s.set.NoAutoSelectFamily {
		ips = ips[:1]
	}
	for _, ip := range ips {
		l := Lookup{Host: d.host}
		if ip.IsValid() {
			l.Address, l.Family = ip.Unmap().String(), familyOf(ip)
		}
		if d.s.emitLookup(l); d.over() {
			return
		}
	}
	if d.todo = d.candidates(ips); len(d.todo) == 0 {
		if slices.ContainsFunc(ips, netip.Addr.IsValid) {
			d.fail(&net.AddrError{Err: "no suitable address", Addr: d.host})
		} else {
			d.fail(fmt.Errorf("host %q: %w", d.host, errInvalidIP))
		}
		return
	}
	d.several = len(d.todo) > 1
	d.next(nil)
}

func (d *dialing) connected(conn net.Conn) {
	s, taken := d.s, false
	defer func() { // also when an address of the conn panics
		if !taken {
			s.set.closeConn(conn)
		}
	}()
	s.set.Loop.current = s
	at := addressesOf(conn)
	s.mu.Lock()
	if s.rare().dial != d {
		s.mu.Unlock()
		return
	}
	s.rarity.dial = nil
	s.rarity.host = serverName(d.network, d.address)
	s.adopt(conn, at, tlsClient)
	taken = true
	if h := s.rarity.handshake; h != nil {
		h.unwatch = context.AfterFunc(d.callers, func() { s.breakOff(h, d.callers.Err()) })
	}
	reset := s.rare().resetLater
	waited := s.out.queued > 0 || s.out.waiting.Len() > 0
	s.mu.Unlock()
	d.cancel()

	if s.setOptions(); s.Destroyed() {
		return
	}
	s.emitConnect()
	if waited {
		// What was written while connecting leaves between Connect and Ready, with the first
		// callback; the others come after Ready. So it is in Node.
		s.flush()
		s.deliverWrites(1)
		s.mu.Lock()
		s.reserveDelivery()
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

// ended reports whether the context has ended, and fails if nobody else has told it yet: what has
// come of that is no outcome.
func (d *dialing) ended() bool {
	err := d.ctx.Err()
	if err != nil {
		d.fail(err)
	}
	return err != nil
}

// fail ends the socket. Any goroutine may call it.
func (d *dialing) fail(err error) {
	d.s.mu.Lock()
	if d.s.rare().dial != d {
		d.s.mu.Unlock()
		return
	}
	e := d.s.destroyLocked(d.told(err), false)
	d.s.mu.Unlock()
	e.run()
}

// cancel stops whatever is still under way. Any goroutine may call it, once the socket's dial is
// another.
func (d *dialing) cancel() {
	d.unwatch()
	d.cancelAll()
	d.stopTimer()
}

func (d *dialing) stopTimer() {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}
