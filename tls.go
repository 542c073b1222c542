package evnet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"evnet/internal/text"
	"evnet/internal/transport"
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
	if agreed := s.opt().agreed; agreed != nil {
		return *agreed, true
	}
	return tls.ConnectionState{}, false
}

var (
	// errHandshakeTimeout is the cause when HandshakeTimeout ends a socket.
	errHandshakeTimeout error = deadlineError{coded("the TLS handshake was not done in time", "ERR_TLS_HANDSHAKE_TIMEOUT",
		os.ErrDeadlineExceeded)}
)

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

// handshaking is a handshake under way, or to come.
type handshaking struct {
	ctx     context.Context
	cancel  context.CancelFunc
	timer   *time.Timer // of HandshakeTimeout, or nil
	unwatch func() bool // lets ConnectContext's context go, or nil
}

// prepareHandshake starts its time. s.mu is held.
func (s *Socket) prepareHandshake() {
	h := &handshaking{}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if d := s.set.HandshakeTimeout; d > 0 {
		h.timer = time.AfterFunc(d, func() { s.loop().Event(func() { s.abortHandshake(h, errHandshakeTimeout) }) })
	}
	s.makeOpt().handshake = h
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

// abortHandshake ends the socket if the handshake is not done yet. Any goroutine may call it.
func (s *Socket) abortHandshake(h *handshaking, err error) {
	s.mu.Lock()
	var e *ending
	if s.opt().handshake == h {
		e = s.destroyLocked(s.handshakeError(err), false)
	}
	s.mu.Unlock()
	e.run()
}

// shake does the handshake, off the loop. s.mu is held.
func (s *Socket) startHandshake() {
	h, handshake := s.optional.handshake, s.stream.BeginHandshake()
	var agreed *tls.ConnectionState
	s.loop().Offload((*handle)(s), func() (err error) {
		agreed, err = handshake(h.ctx)
		return err
	}, func(err error) { s.handshakeDone(h, agreed, err) })
}

func (s *Socket) handshakeDone(h *handshaking, agreed *tls.ConnectionState, err error) {
	s.mu.Lock()
	if s.opt().handshake != h {
		s.mu.Unlock()
		return
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeError(err), false)
		s.mu.Unlock()
		e.run()
		return
	}
	s.stream.EndHandshake()
	s.optional.handshake.stop()
	accepted := s.optional.accepting
	s.handshake, s.optional.handshake, s.optional.accepting, s.optional.agreed = false, nil, false, agreed
	s.markActive()
	s.mu.Unlock()
	if accepted {
		s.loop().SetOwner((*handle)(s)) // its address may panic
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
	if _, ok := s.stream.Conn().(*tls.Conn); !ok {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return err
	}
	return &net.OpError{Op: "read", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// Turning a connected socket to TLS.

// StartTLS turns a connected socket to TLS, as the client: it is called once the peer has agreed to that,
// in the protocol's own words, mostly in a callback of Scan or Data. SecureConnect follows the handshake;
// if that fails, Error and Close do. StartTLSServer is the other side's.
//
// What was written before leaves first, as it is, and every Cork is undone for that; what is written
// afterwards leaves after the handshake, under TLS. What was received and not delivered yet, what Scan
// holds, and what Unshift has put back, is no text of the peer's any more, but the beginning of its
// handshake, and is never delivered as it came: nobody on the way can slip words into what follows. The
// consumer, time-outs and options stay; with SetEncoding the decoder starts anew. A server name that the
// config lacks is the host that Connect was given; the config is not changed. HandshakeTimeout runs from
// now on. Afterwards the socket is as one with SocketOptions.TLSConfig: see there.
//
// A conn of the program's own must heed its read deadline if it is being read, which it is not while what has
// come is delivered. If it refuses one, that is the Error of the socket; if it ignores it, TLS begins once
// something has come, with that, which is in time for a server.
//
// It fails with an error that names the addresses, and changes nothing, with ErrNilArgument for a nil
// config, ErrSocketClosed before Connect, ErrDestroyed, ErrAlreadyTLS, ErrWriteAfterEnd, an error that is
// io.ErrUnexpectedEOF once the peer has ended, ErrRelayed, and ErrConsumed while Pipe or Chunks takes
// what is received. Any goroutine may call it; only on the loop is it known what was received before. Node:
// tls.connect with the socket option.
func (s *Socket) StartTLS(config *tls.Config) error {
	return s.startTLS("StartTLS", config, transport.Client)
}

// StartTLSServer is StartTLS as the server, with a config that has Certificates, GetCertificate or
// GetConfigForClient, else it fails with ErrNilArgument. Write the answer that lets the client begin, then
// call it. SecureConnect tells that it is done here too; a failure is an Error of the socket, which the
// program knows, and no TLSClientError. The config is used as it is, and may serve any number of
// sockets. Node: new tls.TLSSocket with the isServer option.
func (s *Socket) StartTLSServer(config *tls.Config) error {
	if err := checkServes(config); err != nil {
		return s.startTLSError(err)
	}
	return s.startTLS("StartTLSServer", config, transport.Server)
}

// upgrade is a pending StartTLS: TLS begins when what was written before has left.
type upgrade struct {
	config *tls.Config
	side   transport.Side
	begun  bool
}

func (s *Socket) startTLS(method string, config *tls.Config, side transport.Side) error {
	if config == nil {
		return s.startTLSError(nilArgument(method, "config"))
	}
	s.mu.Lock()
	if err := s.mayUpgrade(method); err != nil {
		s.mu.Unlock()
		return s.startTLSError(err)
	}
	s.makeOpt().upgrade = &upgrade{config: config, side: side}
	s.prepareHandshake()
	s.in.started = false // nothing is delivered from now on
	s.stream.SetReading(false)
	s.stream.CopyPipe()
	if s.out.corks > 0 {
		s.out.corks = 0
	}
	s.out.upgradePending = true
	s.stream.Hold()
	e := s.writeFailedLocked(s.flushLocked(), false)
	s.mu.Unlock()
	e.run()
	return nil
}

// mayUpgrade is why the socket cannot turn to TLS, or nil. s.mu is held.
func (s *Socket) mayUpgrade(method string) error {
	by := ""
	switch _, secure := s.stream.Conn().(transport.Handshaker); {
	case s.destroyed:
		return ErrDestroyed
	case !s.stream.IsOpen():
		return ErrSocketClosed
	case secure || s.out.upgradePending:
		return ErrAlreadyTLS
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.in.eof:
		return fmt.Errorf("%w: the peer has ended its side", io.ErrUnexpectedEOF)
	case s.opt().relay != nil:
		return ErrRelayed
	case s.in.chunks != nil:
		by = "Chunks"
	case len(s.in.pipes) > 0:
		by = "Pipe"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s is refused while %s is the consumer", ErrConsumed, method, by)
}

// startTLSError says of which socket.
func (s *Socket) startTLSError(err error) error {
	local, remote := s.LocalAddr(), s.RemoteAddr()
	return &net.OpError{Op: "starttls", Net: network(remote), Source: local, Addr: remote, Err: err}
}

// upgradeWhenSent begins with TLS once everything written before it has left. s.mu is held.
func (s *Socket) upgradeWhenSent() {
	u := s.optional.upgrade
	if !u.begun && !s.handshake && s.stream.MayWrite() && s.stream.Sendable() == 0 {
		u.begun = true
		s.loop().Post(func() { s.upgrade(u) })
	}
}

// upgrade puts TLS between the socket and its conn, once nobody is in its Read any more. It runs on the
// loop, in no callback.
func (s *Socket) upgrade(u *upgrade) {
	s.mu.Lock()
	if s.opt().upgrade != u {
		s.mu.Unlock()
		return
	}
	back, err := s.stream.Recall()
	if back != nil {
		s.mu.Unlock()
		s.loop().Offload((*handle)(s), func() error { <-back; return nil }, func(error) { s.upgrade(u) })
		return
	}
	switch {
	case err != nil:
	case s.stream.DeferredFailure() != nil:
		err = s.deferredFailure()
	case s.in.eof:
		err = transport.ErrTruncated
	default:
		err = s.stream.Unreported()
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeError(err), false)
		s.mu.Unlock()
		e.run()
		return
	}
	r := s.optional
	r.upgrade = nil
	if conn := s.stream.Conn(); transport.IsKernelConn(conn) { // else they are known, and its methods may panic
		r.local, r.remote = conn.LocalAddr(), conn.RemoteAddr()
	}
	unserved, below := s.stream.StartTLS(u.side, u.config, r.host, s.takeBuffered())
	s.in.bytes += int64(unserved)
	s.handshake, s.out.upgradePending = true, false
	s.trackWrites()
	s.holdCorked()
	s.mu.Unlock()
	below.Close()
	s.begin()
}

// takeBuffered takes away what was read and not delivered, as it came but for what SetEncoding has decoded while
// it was held. s.mu is held.
func (s *Socket) takeBuffered() []byte {
	in := &s.in
	held := bytes.Clone(in.text) // whose memory Scan uses again
	if in.decoder != nil {
		held = in.decoder.Rest(held)
	}
	held = append(held, in.raw...)
	held = append(held, in.borrowed[in.borrowedAt:]...) // in the midst of Scan
	in.own()
	in.text = nil
	in.forgetRaw()
	if in.decoder != nil {
		in.decoder = text.New(string(in.encoding))
	}
	in.rescan()
	return held
}
