package evnet

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// What makes a socket speak TLS: the layer over its conn, and the handshake.

// TLS is what the handshake has agreed on: version, cipher suite, ALPN protocol, server name and the peer's
// certificates, with those that verify them. ok is false before SecureConnect (before Connection on a server
// with TLSConfig), and on a socket without TLS; afterwards it stays true, also once the socket is closed,
// until it is connected again. Any goroutine may call it. The certificates are shared: do not change them.
// Node: getPeerCertificate, getProtocol, getCipher, alpnProtocol, servername and authorized of tls.TLSSocket.
func (s *Socket) TLS() (state tls.ConnectionState, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if agreed := s.rare().agreed; agreed != nil {
		return *agreed, true
	}
	return tls.ConnectionState{}, false
}

var (
	errCutOff = coded("unexpected EOF: the peer has closed the connection without the end of TLS (close_notify)", "ECONNRESET",
		io.ErrUnexpectedEOF)
	// errHandshakeTimeout is the cause when HandshakeTimeout ends a socket.
	errHandshakeTimeout error = deadlineError{coded("the TLS handshake was not done in time", "ERR_TLS_HANDSHAKE_TIMEOUT",
		os.ErrDeadlineExceeded)}
)

// tlsSide is who a socket is in the handshake.
type tlsSide bool

const (
	tlsClient tlsSide = false
	tlsServer tlsSide = true
)

// secure puts TLS over a conn, unless that does TLS itself. early is what was read from it already.
// s.mu is held.
func (s *Socket) secure(conn net.Conn, side tlsSide, config *tls.Config, early []byte) net.Conn {
	if _, secure := conn.(handshaker); secure || config == nil {
		return conn
	}
	b := &beneath{Conn: conn, early: early}
	if side == tlsServer {
		return tls.Server(b, config)
	}
	if host := s.rare().host; config.ServerName == "" && host != "" {
		config = config.Clone() // the caller's is not changed
		config.ServerName = host
	}
	return tls.Client(b, config)
}

// serverName is the host of an address as tls.Config wants it, without a zone; "" if it has none.
func serverName(network, address string) string {
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil || network == "unix":
		return ""
	case host == "":
		return "localhost" // as Connect takes it
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// checkServes is why a server cannot use config, nil if it can.
func checkServes(config *tls.Config) error {
	if config != nil && len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nilArgument("TLSConfig", "Certificates, GetCertificate and GetConfigForClient")
	}
	return nil
}

// beneath is the conn under a *tls.Conn that a socket has made.
type beneath struct {
	net.Conn
	early   []byte // to be read first
	ended   error  // what to tell after the last bytes
	patient atomic.Bool
	passed  atomic.Int64 // bytes that the conn has taken
	closed  atomic.Bool  // or about to be
}

// NetConn is the conn itself.
func (b *beneath) NetConn() net.Conn { return b.Conn }

// Read tells an end that TLS has not announced as an error: package tls takes it for a clean end where it
// comes between two records, and then nobody could tell a stream that was cut off from a whole one.
func (b *beneath) Read(p []byte) (n int, err error) {
	switch {
	case len(b.early) > 0:
		n = copy(p, b.early)
		if b.early = b.early[n:]; len(b.early) == 0 {
			b.early = nil
		}
		return n, nil
	case b.ended != nil:
		return 0, b.ended
	}
	if isKernelConn(b.Conn) {
		n, err = b.Conn.Read(p)
	} else {
		n, err = b.readOdd(p)
	}
	if err == io.EOF {
		remote := b.RemoteAddr()
		err = &net.OpError{Op: "read", Net: network(remote), Source: b.LocalAddr(), Addr: remote, Err: errCutOff}
		b.ended = err
	}
	if n > 0 && err != nil { // package tls would not look at the bytes
		b.ended, err = err, nil
	}
	return n, err
}

// readOdd reads from a conn of any kind until it answers something that package tls can use.
func (b *beneath) readOdd(p []byte) (n int, err error) {
	var before reads
	for n == 0 && err == nil {
		n, err = readInto(b.Conn, p)
		if n == 0 && b.closed.Load() {
			return 0, net.ErrClosed
		}
		err = before.heed(n, err)
	}
	switch {
	case !timedOut(err):
		return n, lasting(err)
	case n > 0:
		return n, nil // if it is still so, the next Read is told
	}
	return 0, verdict{err, true}
}

// Write is called for the rest by nobody else: package tls takes the first answer.
func (b *beneath) Write(p []byte) (n int, err error) {
	if isKernelConn(b.Conn) {
		n, err = b.Conn.Write(p)
	} else {
		n, err = writeAll(b.Conn, p, b.closed.Load)
		err = lasting(err)
	}
	b.passed.Add(int64(n))
	return n, err
}

// Close is called by package tls too, when the context of a handshake ends.
func (b *beneath) Close() error {
	if b.closed.Swap(true) {
		return net.ErrClosed
	}
	return b.Conn.Close()
}

// verdict is an error of a conn with what package tls, and who asks that, is to believe of it: one that passes
// is not kept for ever.
type verdict struct {
	error
	passes bool
}

func (v verdict) Timeout() bool   { return v.passes }
func (v verdict) Temporary() bool { return v.passes }
func (v verdict) Unwrap() error   { return v.error }

// lasting is err, which is not to be tried again: that was done.
func lasting(err error) error {
	if passes(err) {
		return verdict{err, false}
	}
	return err
}

// SetWriteDeadline leaves sendEnd alone.
func (b *beneath) SetWriteDeadline(d time.Time) error {
	if b.patient.Load() {
		return nil
	}
	return b.Conn.SetWriteDeadline(d)
}

// sendEnd ends this side of TLS, and of the conn. Package tls would give a peer that does not read for five
// seconds up: CloseTimeout is for that.
func (b *beneath) sendEnd(over *tls.Conn) error {
	b.patient.Store(true)
	err := over.CloseWrite()
	if c, ok := b.Conn.(halfCloser); ok && err == nil {
		err = closeWrite(c)
	}
	return err
}

// beneathOf is the conn under a *tls.Conn that a socket has made, nil for any other conn.
func beneathOf(conn net.Conn) *beneath {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	b, _ := c.NetConn().(*beneath)
	return b
}

// handshaker is a *tls.Conn, or a conn that behaves like one.
type handshaker interface {
	HandshakeContext(context.Context) error
}

// handshaking is a handshake under way, or to come.
type handshaking struct {
	ctx     context.Context
	cancel  context.CancelFunc
	timer   *time.Timer // of HandshakeTimeout, or nil
	unwatch func() bool // lets ConnectContext's context go, or nil
}

// expectHandshake starts its time. s.mu is held.
func (s *Socket) expectHandshake() {
	h := &handshaking{}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if d := s.set.HandshakeTimeout; d > 0 {
		h.timer = time.AfterFunc(d, func() { s.set.Loop.event(func() { s.breakOff(h, errHandshakeTimeout) }) })
	}
	s.makeRare().handshake = h
}

// stop is for one that is over.
func (h *handshaking) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.unwatch != nil {
		h.unwatch()
	}
	h.cancel()
}

// breakOff ends the socket if the handshake is not done yet. Any goroutine may call it.
func (s *Socket) breakOff(h *handshaking, err error) {
	s.mu.Lock()
	var e *ending
	if s.rare().handshake == h {
		e = s.destroyLocked(s.handshakeError(err), false)
	}
	s.mu.Unlock()
	e.run()
}

// shake does the handshake, off the loop. s.mu is held.
func (s *Socket) shake() {
	conn, tr, ctx := s.conn.(handshaker), s.tr, s.rarity.handshake.ctx
	var agreed *tls.ConnectionState
	tr.(*goTransport).shaking = true
	s.supply(func() error {
		err := conn.HandshakeContext(ctx)
		if c, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok && err == nil {
			state := c.ConnectionState()
			agreed = &state
		}
		return err
	}, func(err error) { s.handshaken(tr, agreed, err) })
}

func (s *Socket) handshaken(tr transport, agreed *tls.ConnectionState, err error) {
	s.mu.Lock()
	if s.tr != tr {
		s.mu.Unlock()
		return
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeError(err), false)
		s.mu.Unlock()
		e.run()
		return
	}
	tr.(*goTransport).shaking = false
	s.rarity.handshake.stop()
	accepted := s.rarity.accepting
	s.handshake, s.rarity.handshake, s.rarity.accepting, s.rarity.agreed = false, nil, false, agreed
	s.touch()
	s.mu.Unlock()
	if accepted {
		s.set.Loop.setOwner(s) // its address may panic
		// The peer may have been blocked meanwhile.
		if s.set.server.opts.BlockList.blocksPeer(s) {
			s.Destroy(nil)
			return
		}
		s.set.server.emitConnection(s)
	} else {
		s.emitSecureConnect()
	}
	s.begin()
}

// handshakeError says of which socket; what package net says of the same conn need not be said again. s.mu
// is held.
func (s *Socket) handshakeError(err error) error {
	if op, ok := err.(*net.OpError); ok && (op.Op == "read" || op.Op == "write") {
		err = op.Err
	}
	return &net.OpError{Op: "handshake", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// readFailure is err, from reading, with the addresses that package tls leaves out. s.mu is held.
func (s *Socket) readFailure(err error) error {
	if _, ok := s.conn.(*tls.Conn); !ok {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return err
	}
	return &net.OpError{Op: "read", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// lowest is the conn under all others, which has the options of the system.
func lowest(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}
