package evnet

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"evnet/internal/text"
)

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
	return s.startTLS("StartTLS", config, tlsClient)
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
	return s.startTLS("StartTLSServer", config, tlsServer)
}

// turn is a socket's way to TLS: it is over when what was written before has left.
type turn struct {
	config *tls.Config
	side   tlsSide
	begun  bool
}

func (s *Socket) startTLS(method string, config *tls.Config, side tlsSide) error {
	if config == nil {
		return s.startTLSError(nilArgument(method, "config"))
	}
	s.mu.Lock()
	if err := s.mayTurn(method); err != nil {
		s.mu.Unlock()
		return s.startTLSError(err)
	}
	s.makeRare().turn = &turn{config: config, side: side}
	s.expectHandshake()
	s.in.started = false // nothing is delivered from now on
	s.tr.setReading(false)
	o := &s.out
	o.own()
	o.pour()
	o.corks = 0
	o.turning, o.turnAt = true, o.accepted
	e := s.writeFailedLocked(s.flushLocked())
	s.mu.Unlock()
	e.run()
	return nil
}

// mayTurn is why the socket cannot turn to TLS, or nil. s.mu is held.
func (s *Socket) mayTurn(method string) error {
	by := ""
	switch _, secure := s.conn.(handshaker); {
	case s.destroyed:
		return ErrDestroyed
	case s.tr == nil:
		return ErrSocketClosed
	case secure || s.out.turning:
		return ErrAlreadyTLS
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.in.eof:
		return fmt.Errorf("%w: the peer has ended its side", io.ErrUnexpectedEOF)
	case s.rare().relay != nil:
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

// turnWhenSent begins with TLS once everything written before it has left. s.mu is held.
func (s *Socket) turnWhenSent() {
	u := s.rarity.turn
	if !u.begun && s.maySend() && s.out.sendable() == 0 {
		u.begun = true
		s.set.Loop.tick(func() { s.turnToTLS(u) })
	}
}

// turnToTLS puts TLS between the socket and its conn, once nobody is in its Read any more. It runs on the
// loop, in no callback.
func (s *Socket) turnToTLS(u *turn) {
	s.mu.Lock()
	if s.rare().turn != u {
		s.mu.Unlock()
		return
	}
	back, err := s.tr.recall()
	if back != nil {
		s.mu.Unlock()
		s.supply(func() error { <-back; return nil }, func(error) { s.turnToTLS(u) })
		return
	}
	switch {
	case err != nil:
	case s.tr.failure() != nil:
		err = s.tr.failure()
	case s.in.eof:
		err = errCutOff
	default:
		err = s.tr.untold()
	}
	if err != nil {
		e := s.destroyLocked(s.handshakeError(err), false)
		s.mu.Unlock()
		e.run()
		return
	}
	conn, untold := s.tr.detach()
	early := append(s.takeHeld(), untold...)
	s.in.bytes += int64(len(untold))
	s.tr.retire()
	s.tr.close(false) // it has given the conn away

	r := s.rarity
	r.turn = nil
	if isKernelConn(conn) { // else they are known, and its methods may panic
		r.local, r.remote = conn.LocalAddr(), conn.RemoteAddr()
	}
	s.conn = s.secure(conn, u.side, u.config, early)
	s.tr = newGoTransport(s, s.conn)
	s.handshake, s.out.turning = true, false
	s.mu.Unlock()
	s.begin()
}

// takeHeld takes away what was read and not delivered, as it came but for what SetEncoding has decoded while
// it was held. s.mu is held.
func (s *Socket) takeHeld() []byte {
	in := &s.in
	held := bytes.Clone(in.text) // whose memory Scan uses again
	if in.decoder != nil {
		held = in.decoder.Rest(held)
	}
	held = append(held, in.raw...)
	held = append(held, in.lent[in.lentAt:]...) // in the midst of Scan
	in.own()
	in.text = nil
	in.forgetRaw()
	if in.decoder != nil {
		in.decoder = text.New(string(in.encoding))
	}
	in.lookAgain()
	return held
}
