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

// TLS returns the result of the TLS handshake: version, cipher suite, ALPN protocol, server name and the peer's
// certificates, with the chains that verify them.
//
// ok is false before SecureConnect, on a server with TLSConfig before Connection, and on a socket without TLS.
// Afterwards it stays true, also when the socket is closed, until the socket is connected again.
//
// Any goroutine may call TLS. The certificates are shared: do not change them.
//
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
	// errHandshakeTimeout is the cause of the error when HandshakeTimeout destroys a socket.
	errHandshakeTimeout error = deadlineError{coded("TLS handshake timeout", "ERR_TLS_HANDSHAKE_TIMEOUT",
		os.ErrDeadlineExceeded)}
)

// serverName returns the host of an address in the form of tls.Config.ServerName, without a zone. It returns "" if the
// address has no host.
func serverName(network, address string) string {
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil || network == "unix":
		return ""
	case host == "":
		return "localhost" // as for Connect
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// checkServerConfig returns why a server cannot use config, or nil.
func checkServerConfig(config *tls.Config) error {
	if config != nil && len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return nilArgument("TLSConfig", "Certificates, GetCertificate and GetConfigForClient")
	}
	return nil
}

// handshaking is a handshake that is in progress or pending.
type handshaking struct {
	ctx     context.Context
	cancel  context.CancelFunc
	timer   *time.Timer // of HandshakeTimeout, or nil
	unwatch func() bool // stops watching the context of ConnectContext, or nil
}

// prepareHandshakeLocked makes a handshake pending and starts HandshakeTimeout. s.mu is held.
func (s *Socket) prepareHandshakeLocked() {
	h := &handshaking{}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if d := s.set.HandshakeTimeout; d > 0 {
		h.timer = time.AfterFunc(d, func() { s.loop().Event(func() { s.abortHandshake(h, errHandshakeTimeout) }) })
	}
	s.makeOpt().handshake = h
}

// stop releases the resources of a handshake that has ended.
func (h *handshaking) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.unwatch != nil {
		h.unwatch()
	}
	h.cancel()
}

// abortHandshake destroys the socket with err if the handshake h has not ended. Any goroutine may call it.
func (s *Socket) abortHandshake(h *handshaking, err error) {
	s.mu.Lock()
	var e *ending
	if s.opt().handshake == h {
		e = s.destroyLocked(s.handshakeErrorLocked(err), false)
	}
	s.mu.Unlock()
	e.run()
}

// startHandshakeLocked starts the handshake, which runs off the loop. s.mu is held.
func (s *Socket) startHandshakeLocked() {
	h, handshake := s.optional.handshake, s.stream.BeginHandshake()
	var agreed *tls.ConnectionState
	s.loop().Offload((*handle)(s), func() (err error) {
		agreed, err = handshake(h.ctx)
		return err
	}, func(err error) { s.handshakeDone(h, agreed, err) })
}

// handshakeDone handles the end of the handshake h. If err is nil it emits Connection on an accepted socket, or
// SecureConnect on another, and begins to read. It runs on the loop.
func (s *Socket) handshakeDone(h *handshaking, agreed *tls.ConnectionState, err error) {
	s.mu.Lock()
	if s.opt().handshake != h {
		s.mu.Unlock()
		return
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeErrorLocked(err), false)
		e.linger = lingerRefused // so that the peer receives the alert
		s.mu.Unlock()
		e.run()
		return
	}
	s.stream.EndHandshake()
	s.optional.handshake.stop()
	accepted := s.optional.accepting
	s.handshake, s.optional.handshake, s.optional.accepting, s.optional.agreed = false, nil, false, agreed
	s.optional.shaken = s.stream.WireReceived()
	s.markActiveLocked()
	s.mu.Unlock()
	if accepted {
		s.loop().SetOwner((*handle)(s)) // a method of the conn may panic when it returns the address
		// The peer may have been added to the block list meanwhile.
		if s.set.server.opts.BlockList.blocksPeer(s.RemoteAddr()) {
			s.Destroy(nil)
			return
		}
		s.set.server.emitConnection(s)
	} else {
		s.emitSecureConnect()
	}
	s.begin()
}

// handshakeErrorLocked adds the addresses of the socket to err. It replaces a *net.OpError of the same conn, so that the
// text does not have them twice. s.mu is held.
func (s *Socket) handshakeErrorLocked(err error) error {
	if op, ok := err.(*net.OpError); ok && (op.Op == "read" || op.Op == "write") {
		err = op.Err
	}
	return &net.OpError{Op: "handshake", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// readFailureLocked adds the addresses of the socket to err, an error of a read, if package tls has omitted them. s.mu is
// held.
func (s *Socket) readFailureLocked(err error) error {
	if _, ok := s.stream.Conn().(*tls.Conn); !ok {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return err
	}
	return &net.OpError{Op: "read", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}

// StartTLS upgrades a connected socket to TLS, as the client. Call it when the peer has agreed to the upgrade in the
// application protocol, usually in a callback of Scan or Data. After the handshake SecureConnect is emitted; if the
// handshake fails, Error and Close are. StartTLSServer is for the other side.
//
// Data written before the call is sent first, in plaintext, and every Cork is undone for that. Data written afterwards
// is sent after the handshake, encrypted.
//
// Buffered data, which was received and not delivered yet, is the beginning of the peer's handshake. That includes data
// that Scan has buffered and data from Unshift. It is never delivered as plaintext, so that an attacker on the network
// path cannot inject data into the encrypted session.
//
// With SetEncoding, the buffered text becomes the bytes that were received. That is impossible for text that Unshift has
// put back, or that was buffered when a second SetEncoding was called: StartTLS fails.
//
// The consumer, timeouts and options stay; with SetEncoding the decoder is reset. If the config has no server name, the
// host passed to Connect is used; the config is not changed. HandshakeTimeout starts with the call. Afterwards the
// socket behaves like one with SocketOptions.TLSConfig, as described there.
//
// A custom net.Conn must obey its read deadline during a Read of the socket. No Read is pending while a callback gets
// its data. If the conn returns an error for the deadline, the socket fails with that error. If the conn ignores the
// deadline, TLS begins when the next data has been received, with that data, which is early enough for a server.
//
// Any goroutine may call StartTLS. Only on the loop does the caller know which data was received before.
//
// If StartTLS fails it changes nothing. The error has the addresses, and is one of these:
//   - ErrNilArgument for a nil config,
//   - ErrSocketClosed before Connect,
//   - ErrDestroyed,
//   - ErrAlreadyTLS,
//   - ErrWriteAfterEnd,
//   - io.ErrUnexpectedEOF if the peer has ended its side,
//   - ErrRelayed,
//   - ErrConsumed while Pipe or Chunks is the consumer,
//   - an error that says that the bytes of the buffered text are unknown.
//
// Node: tls.connect with the socket option.
func (s *Socket) StartTLS(config *tls.Config) error {
	return s.startTLS("StartTLS", config, transport.Client)
}

// StartTLSServer is StartTLS as the server. Write the reply that lets the client begin, then call it.
//
// SecureConnect is emitted after the handshake here too. A failure is an Error of the socket and not a TLSClientError,
// because the program has the socket already. The config is used as it is, and may be shared by any number of sockets.
//
// The errors are the same as for StartTLS. ErrNilArgument is also returned for a config that has neither Certificates
// nor GetCertificate nor GetConfigForClient.
//
// Node: new tls.TLSSocket with the isServer option.
func (s *Socket) StartTLSServer(config *tls.Config) error {
	if err := checkServerConfig(config); err != nil {
		return s.startTLSError(err)
	}
	return s.startTLS("StartTLSServer", config, transport.Server)
}

// upgrade is a pending StartTLS: TLS begins when all data written before it is sent.
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
	if err := s.checkUpgradeLocked(method); err != nil {
		s.mu.Unlock()
		return s.startTLSError(err)
	}
	s.makeOpt().upgrade = &upgrade{config: config, side: side}
	s.prepareHandshakeLocked()
	s.in.started = false // no more data is delivered in plaintext
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

// checkUpgradeLocked returns why the socket cannot be upgraded to TLS, or nil. method is for the error text. s.mu is held.
func (s *Socket) checkUpgradeLocked(method string) error {
	by := ""
	switch _, secure := s.stream.Conn().(transport.Handshaker); {
	case s.destroyed:
		return ErrDestroyed
	case !s.stream.IsOpen():
		return ErrSocketClosed
	case secure || s.out.upgradePending:
		return ErrAlreadyTLS
	case s.out.failed:
		return s.failureLocked()
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.in.eof:
		return fmt.Errorf("%w: the peer has ended its side", io.ErrUnexpectedEOF)
	case s.opt().relay != nil:
		return ErrRelayed
	case !s.in.knowsSource():
		return errNoSource
	case s.in.chunks != nil:
		by = "Chunks"
	case len(s.in.pipes) > 0:
		by = "Pipe"
	default:
		return nil
	}
	return fmt.Errorf("%w: %s is refused while %s is the consumer", ErrConsumed, method, by)
}

// startTLSError adds the addresses of the socket to err.
func (s *Socket) startTLSError(err error) error {
	local, remote := s.LocalAddr(), s.RemoteAddr()
	return &net.OpError{Op: "starttls", Net: network(remote), Source: local, Addr: remote, Err: err}
}

// upgradeWhenSentLocked schedules the pending upgrade once all data written before it is sent. s.mu is held.
func (s *Socket) upgradeWhenSentLocked() {
	u := s.optional.upgrade
	if !u.begun && !s.handshake && s.stream.MayWrite() && s.stream.Sendable() == 0 {
		u.begun = true
		s.loop().Post(func() { s.upgrade(u) })
	}
}

// upgrade installs TLS between the socket and its conn. If a Read of the conn is in progress, it waits for its return
// first, off the loop. It runs on the loop, outside callbacks.
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
	case s.in.eof:
		err = transport.ErrTruncated
	case !s.in.knowsSource():
		err = errNoSource
	default:
		err = s.stream.Unreported()
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeErrorLocked(err), false)
		s.mu.Unlock()
		e.run()
		return
	}
	r := s.optional
	r.upgrade = nil
	if conn := s.stream.Conn(); transport.IsKernelConn(conn) { // otherwise they are known, and the conn's methods may panic
		r.local, r.remote = conn.LocalAddr(), conn.RemoteAddr()
	}
	unserved, below := s.stream.StartTLS(u.side, u.config, r.host, s.takeBufferedLocked())
	s.in.bytes += int64(unserved)
	s.handshake, s.out.upgradePending = true, false
	s.trackWritesLocked()
	s.holdCorkedLocked()
	s.mu.Unlock()
	below.Close()
	s.begin()
}

// takeBufferedLocked removes and returns the buffered data, which was read and not delivered, as it was received. Text whose
// bytes are unknown is returned as text. s.mu is held.
func (s *Socket) takeBufferedLocked() []byte {
	in := &s.in
	var held []byte
	switch {
	case in.decoder == nil:
	case len(in.text) > 0 && in.knowsSource():
		held = bytes.Clone(in.sourceOf(in.text)) // includes the bytes that the decoder holds back
	default:
		held = in.decoder.Rest(bytes.Clone(in.text)) // because Scan reuses its memory
	}
	held = append(held, in.raw...)
	held = append(held, in.borrowed[in.borrowedAt:]...) // if Scan is in progress
	in.own()
	in.text = nil
	in.forgetSource()
	in.forgetRaw()
	if in.decoder != nil {
		in.decoder = text.New(string(in.encoding))
	}
	in.rescan()
	return held
}
