package evnet

import (
	"crypto/tls"
	"net"
	"time"

	"evnet/internal/eventloop"
)

// rarity is what only some sockets need: without it a socket is small. The socket's mu guards it.
type rarity struct {
	// Connecting.
	attempted  []string // addresses, by the last Connect
	onConnect  Listener // of the function Connect: gone with its attempt
	resetLater bool     // Reset was called while connecting
	again      func()   // Connect called between the destruction and Close

	// TLS.
	host      string               // that Connect was given
	turn      *turn                // StartTLS was called, and TLS has not begun
	handshake *handshaking         // until it is done
	agreed    *tls.ConnectionState // by it
	accepting bool                 // by a server that tells Connection after it

	err           error       // what it was destroyed with
	dial          *connecting // while connecting
	local, remote net.Addr    // of a conn whose addresses may not outlive it
	noDelay       *bool       // asked for, to be set once there is a conn
	keepAlive     *keepAlive  // likewise

	sources []*pipe // that have this socket as their destination
	relay   *relay  // from Relay to Close
	parting *relay  // the same while Close is emitted, in which the socket may be connected anew

	blocking *blockingConn // from BlockingConn to the next Connect, or to Relay

	timerMember eventloop.Member // of timerHandle

	active     time.Time   // of the last activity, if a timer is on
	notify     idleTimer   // SetTimeout
	kill       idleTimer   // SocketOptions.IdleTimeout
	first      *time.Timer // ServerOptions.FirstByteTimeout
	closeTimer *time.Timer // bounds the closing phase
	lifeTimer  *time.Timer // SocketOptions.MaxLifetime
	writes     *writeWatch // SocketOptions.WriteTimeout, once something has waited for room
	unwatch    func() bool // lets SocketOptions.Context go
}

var nothingRare rarity // never changed

// rare is to look at: it may be shared with other sockets. s.mu is held.
func (s *Socket) rare() *rarity {
	if s.rarity == nil {
		return &nothingRare
	}
	return s.rarity
}

// makeRare is to change. s.mu is held, or nobody else knows s.
func (s *Socket) makeRare() *rarity {
	if s.rarity == nil {
		s.rarity = &rarity{}
	}
	return s.rarity
}

// localAddr is LocalAddr with s.mu held: that of package net's own conns outlives them.
func (s *Socket) localAddr() net.Addr {
	if a := s.rare().local; a != nil || s.conn == nil || !isKernelConn(s.conn) {
		return a
	}
	return s.conn.LocalAddr()
}

func (s *Socket) remoteAddr() net.Addr {
	if a := s.rare().remote; a != nil || s.conn == nil || !isKernelConn(s.conn) {
		return a
	}
	return s.conn.RemoteAddr()
}
