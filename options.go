package evnet

import (
	"context"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

const (
	defaultHighWaterMark  = 64 << 10 // as in Node since v22
	defaultMaxWriteBuffer = 1 << 20
	defaultAttemptDelay   = 250 * time.Millisecond // RFC 8305, section 5

	defaultHandshakeTimeout = 120 * time.Second // as in Node
)

// Resolver resolves host names. *net.Resolver implements it. LookupNetIP is called on a separate goroutine, never on
// the loop, and must return when ctx ends. It is not called for an IP address. network is "ip", "ip4" or "ip6".
//
// Node: the lookup option.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// SocketOptions are the options of NewSocket and Wrap, which copy them. nil, and the zero value of each field, select
// the defaults.
//
// Node: the options of net.Socket and of socket.connect.
type SocketOptions struct {
	// Loop runs the socket's callbacks. Default: DefaultLoop.
	Loop *Loop
	// Context limits the socket's life: when it ends, the socket is destroyed with an error that is Context.Err(),
	// whether it is new, connecting or connected. Error and Close are emitted before Run returns. If it has already
	// ended, Connect and Wrap start nothing. It does not keep a new socket in memory that the program no longer refers
	// to, unless the socket has an Error or Close listener. Default: none. Node: the signal option.
	Context context.Context
	// AllowHalfOpen keeps this side open when the peer ends, until End is called. Default: the socket ends its own side
	// after the End listeners have run.
	AllowHalfOpen bool
	// HighWaterMark is the number of bytes that may be queued before NeedDrain reports true. Default: 64 KiB. Negative:
	// 0, so every write that the kernel does not accept immediately needs a drain. It is never above MaxWriteBuffer.
	HighWaterMark int
	// MaxWriteBuffer is the number of bytes that may be queued before Write fails with ErrWriteBufferFull. A pending
	// write callback counts as 64 bytes. A Write that begins below the limit is queued completely, any other is refused
	// as a whole. Pipe, Relay and ReadFrom are held back before the limit. If the program itself has filled the queue,
	// they exceed it by one chunk, so that data that they have read is not lost. Default: 1 MiB. Negative: no limit, as
	// in Node. Loop.SetMaxBuffered limits all sockets of a loop together.
	MaxWriteBuffer int
	// Dialer makes the connections: its LocalAddr, KeepAlive, Control and Timeout (for each attempt) apply. Its
	// Resolver and FallbackDelay are not used, nor is a TCP LocalAddr for a Unix path. Default: the zero net.Dialer.
	Dialer *net.Dialer
	// Dial replaces the Dialer, which is then unused, and makes the conn of each attempt: through a proxy, in memory,
	// or over any other conn. It is called off the loop with the network and address of ConnectionAttempt, or with
	// "unix" and the path, and must return when ctx ends. The conn belongs to the socket. Default: none. Node has no
	// such option.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver resolves host names. Default: net.DefaultResolver.
	Resolver Resolver
	// Family, 4 or 6, restricts addresses to that family. Default, 0: both.
	Family int
	// NoAutoSelectFamily attempts only the first address of a host. Default: all of them.
	NoAutoSelectFamily bool
	// AttemptDelay is how long a connection attempt may take before the next address is attempted in parallel. Default:
	// 250 ms. Negative: the next attempt starts only when the last has failed.
	AttemptDelay time.Duration
	// NoDelay sets TCP_NODELAY once connected. Go sets it by default, so this matters only if a Dialer.Control or the
	// creator of the conn has switched it off.
	NoDelay bool
	// KeepAlive is the idle time before TCP keep-alive probes, and the interval between them. Default: what the Dialer
	// or the listener has set; in Go keep-alive is on, with 15 s. Negative: keep-alive off.
	KeepAlive time.Duration
	// IdleTimeout destroys the socket after that long without activity in either direction, with an error that is
	// os.ErrDeadlineExceeded. Activity is the same as for SetTimeout, which is independent of IdleTimeout. The time runs
	// from Connect, Wrap or the accept on, also while connecting and during the TLS handshake. Bytes that the socket
	// does not read, because it is paused, held back by a Pipe or without a consumer, do not count.
	//
	// The error is a *net.OpError, whose Op distinguishes the timeouts: "idle", "close", "handshake", "write timeout",
	// "lifetime" and "first byte", or "dial" while connecting. Default: no limit.
	IdleTimeout time.Duration
	// CloseTimeout limits the closing phase, which starts at End, Close or the end of the peer. Then the socket is
	// destroyed with an error that is os.ErrDeadlineExceeded. Default: no limit.
	CloseTimeout time.Duration
	// WriteTimeout resets the connection, with an error that is os.ErrDeadlineExceeded, if its conn has not accepted
	// all written data and the peer acknowledges nothing for that long, or for up to a quarter longer. What the peer
	// sends does not count, unlike for IdleTimeout. The time does not run before the connection and its TLS handshake
	// are done, while Cork holds all queued data, or once the kernel has all bytes.
	//
	// On Linux the kernel reports the peer's progress, also under TLS and under a conn with a NetConn method. A TCP
	// peer that reads slowly acknowledges in steps of at most half its receive buffer. Reading from a Unix socket shows
	// in steps of some 36 KiB. Allow for the time that one step takes. Elsewhere and for other conns, progress is what
	// the conn accepts: a Write of at most 64 KiB, or of one record under TLS. Default: no limit. Node has no such
	// option.
	WriteTimeout time.Duration
	// MaxLifetime destroys the socket that long after Connect, Wrap or the accept, whatever it and its peer do, with an
	// error that is os.ErrDeadlineExceeded. Queued data is discarded. Data that arrived before the deadline is still
	// delivered first, but not an endless amount of it. Default: no limit.
	MaxLifetime time.Duration
	// TLSConfig makes Connect use TLS, as a client: SecureConnect follows Ready when the handshake is done, and data
	// written before is sent after it. If the config has no ServerName, the host of the address is used; the config is
	// cloned for that and never modified. RootCAs, Certificates, NextProtos, MinVersion and ClientSessionCache apply as
	// in package tls. Wrap makes any conn a TLS client, except one that uses TLS itself, as a *tls.Conn does. For Wrap
	// the config needs a ServerName.
	//
	// The goroutine transport always serves TLS, also on Linux: a socket has one goroutine while it reads, and another
	// while bytes are queued. The socket's Conn is the *tls.Conn, and TLS returns the negotiated state.
	//
	// End sends close_notify, then the end of the conn; Destroy sends neither. If the peer closes the connection without
	// close_notify, the socket first delivers everything the peer sent. Then it emits an Error that is
	// io.ErrUnexpectedEOF, because a third party may have truncated the stream. Node treats that as a clean end.
	// Default: no TLS. Node: the options of tls.connect.
	TLSConfig *tls.Config
	// HandshakeTimeout limits a TLS handshake, from Connect, Wrap or StartTLS on. Then the socket is destroyed with an
	// error that is os.ErrDeadlineExceeded. Default: 120 s. Negative: no limit. Node: the handshakeTimeout option of
	// tls.createServer, which destroys nothing.
	HandshakeTimeout time.Duration
	// BlockList has the addresses that Connect must not reach. Each address is checked right before its attempt. A
	// blocked one is not attempted: it counts as failed, with ErrBlocked, but without ConnectionAttempt or
	// ConnectionAttemptFailed, and other addresses of the host are attempted. Paths are not checked.
	//
	// A rule for an IPv4 address also blocks its IPv4-mapped, NAT64 and 6to4 forms; BlockList documents which forms
	// need their own rules. 0.0.0.0 and :: reach this machine too. The list is not copied and may change at any time.
	// Default: nothing is blocked.
	BlockList *BlockList
	// Logger receives a record for an error that no Error listener handles: at slog.LevelDebug for ECONNRESET and EPIPE,
	// which are common, otherwise at slog.LevelWarn. Peers cannot flood the log: the sockets of one loop together write
	// at most 20 records in a burst, then one per second. The next record has the number of omitted records, as
	// "suppressed". Levels below slog.LevelWarn have a separate limit. Default: slog.Default().
	Logger *slog.Logger
}

// ServerOptions are the options of NewServer, which copies them. nil, and the zero value of each field, select the
// defaults.
//
// Node: the options of net.createServer.
type ServerOptions struct {
	// Loops run the callbacks: the first runs the callbacks of the server. Accepted sockets are distributed over the
	// loops that run, round-robin. A socket stays on its loop, where its Connection callback runs too. The program runs
	// each loop, and runs it again if a panic has ended its Run. The server keeps all of them running from Listen until
	// its Close event. Default: DefaultLoop alone.
	//
	// A loop that does not run gets no connections; while no loop runs, they wait. If a loop still does not run five
	// seconds after such a connection, the Logger receives one record.
	Loops          []*Loop
	AllowHalfOpen  bool          // of accepted sockets, as in SocketOptions
	HighWaterMark  int           // of accepted sockets, as in SocketOptions
	MaxWriteBuffer int           // of accepted sockets, as in SocketOptions
	NoDelay        bool          // of accepted sockets, as in SocketOptions
	KeepAlive      time.Duration // of accepted sockets, as in SocketOptions
	IdleTimeout    time.Duration // of accepted sockets, as in SocketOptions
	CloseTimeout   time.Duration // of accepted sockets, as in SocketOptions
	WriteTimeout   time.Duration // of accepted sockets, as in SocketOptions
	MaxLifetime    time.Duration // of accepted sockets, as in SocketOptions
	// TLSConfig makes the server use TLS. Connection is emitted for an accepted socket once its handshake is done.
	// Until then the socket counts towards MaxConnections, the timeouts apply, and Sockets includes it. If its
	// handshake fails, TLSClientError is emitted. Listen and Serve fail if the config has no Certificates,
	// GetCertificate or GetConfigForClient. The config is not copied: once the server listens, it must not be changed
	// except by its own methods. What SocketOptions documents about ending applies here too. A conn that uses TLS
	// itself, from a tls.Listener passed to Serve, is used as it is. Default: no TLS. Node: the options of
	// tls.createServer.
	TLSConfig *tls.Config
	// HandshakeTimeout limits the handshake of an accepted socket, as in SocketOptions, from the accept on.
	HandshakeTimeout time.Duration
	// PauseOnConnect makes accepted sockets start paused: nothing is read until Resume.
	PauseOnConnect bool
	// FirstByteTimeout destroys an accepted socket if its peer has not sent a byte that long after the accept, with an
	// error that is os.ErrDeadlineExceeded. IdleTimeout does so too, but continues to apply afterwards and has to allow
	// for later pauses. A peer that has ended its side is exempt. While the program has paused the socket, the time
	// restarts, because a byte may be unread. It runs during a TLS handshake, whose bytes do not count as the first byte.
	// The peer receives what was sent to it, as described at Socket.Close. Default: no limit.
	FirstByteTimeout time.Duration
	// MaxConnections limits the number of open accepted sockets. Further ones are accepted, closed and reported by Drop
	// with DropMaxConnections. Default, 0: no limit. Negative: all are dropped.
	MaxConnections int
	// MaxConnectionsPerAddress limits the open accepted sockets of one peer address, over all loops, including TLS
	// handshakes. Further ones are accepted, closed and reported by Drop with DropPerAddress. An IPv6 address counts by
	// its /64 prefix, which is what a single host gets; an IPv4-mapped one counts as IPv4. Peers without an IP address,
	// such as the peers of Unix sockets, are not limited. Behind a proxy or a translator, where many clients share an
	// address, leave it 0. Default, 0: no limit. Negative: all peers with an IP address are dropped. Node has no such
	// option.
	MaxConnectionsPerAddress int
	// MaxConnectionRate limits the connections that the server serves per second, over all loops. After a pause, a
	// burst of the connections of one second is allowed. Further ones are accepted, closed and reported by Drop with
	// DropRate. All peers share the limit. Connections that are blocked, or exceed another limit, do not count.
	// Default, 0: no limit. Negative: all are dropped. Node has no such option.
	MaxConnectionRate int
	// BlockList has the peers to refuse: their connections are accepted and closed immediately, without Connection,
	// Drop or Error, and do not count towards MaxConnections. The check runs on the loop, in place of Connection, for
	// every peer with an IP address (a *net.TCPAddr, or one whose text is ip:port), and never on a Unix server. With
	// TLSConfig it runs again after the handshake, until which the connection counts. A rule for an IPv4 address also
	// blocks its IPv4-mapped, NAT64 and 6to4 forms. The list is not copied: once a peer has been added, no Connection
	// is emitted for it. Default: no peer is refused.
	BlockList *BlockList
	// ReusePort lets several servers, in one process or many, listen on one TCP port, if all of them set it. The kernel
	// selects the server of each connection; Linux and FreeBSD distribute them. Where SO_REUSEPORT does not exist, as
	// on Windows, Listen fails with errors.ErrUnsupported. Default: the second Listen fails with EADDRINUSE.
	ReusePort bool
	// SocketMode is the permission bits of the file that Listen creates for a Unix socket. A client needs write
	// permission to connect. Default, 0: the umask of the process decides.
	//
	// Listen sets the bits before any client can connect. On Linux it sets them only on the file that it has created,
	// even if another user may write to the directory and replaces the file: Listen then fails with EADDRINUSE. Without
	// /proc this needs Linux 6.6. On other Unix systems Listen sets them by path, which may lead to another file: no
	// other user may have write permission for the directory.
	//
	// Other bits, and any bits for an abstract name, make Listen fail. On Windows any bits make it fail with
	// errors.ErrUnsupported. TCP ignores SocketMode.
	//
	// Node: readableAll, writableAll.
	SocketMode fs.FileMode
	// Logger receives a record for an error of the server or of an accepted socket that no Error or TLSClientError
	// listener handles. The levels are as in SocketOptions. A failed accept has slog.LevelWarn. A peer that ends the
	// connection during its TLS handshake has slog.LevelDebug. The rate is limited as in SocketOptions, for all loops of
	// the server together. Failed accepts have a separate limit. Default: slog.Default().
	Logger *slog.Logger
}

// settings is SocketOptions with the defaults filled in. Sockets accepted by one server share it.
type settings struct {
	SocketOptions
	server *Server // the server that accepts the sockets, or nil
}

func newSettings(opts *SocketOptions) *settings {
	s := &settings{}
	if opts != nil {
		s.SocketOptions = *opts
	}
	if s.Loop == nil {
		s.Loop = DefaultLoop
	}
	switch {
	case s.HighWaterMark == 0:
		s.HighWaterMark = defaultHighWaterMark
	case s.HighWaterMark < 0:
		s.HighWaterMark = 0
	}
	if s.MaxWriteBuffer == 0 {
		s.MaxWriteBuffer = defaultMaxWriteBuffer
	}
	if s.MaxWriteBuffer >= 0 { // otherwise Pipe would reach the limit before it is held back
		s.HighWaterMark = min(s.HighWaterMark, s.MaxWriteBuffer)
	}
	if s.Dialer == nil {
		s.Dialer = &net.Dialer{}
	}
	if s.Resolver == nil {
		s.Resolver = net.DefaultResolver
	}
	if s.HandshakeTimeout == 0 {
		s.HandshakeTimeout = defaultHandshakeTimeout
	}
	if s.AttemptDelay == 0 {
		s.AttemptDelay = defaultAttemptDelay
	}
	return s
}

func (s *settings) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.Default()
	}
	return s.Logger
}

// socketSettings returns the settings of the sockets that the server accepts for loop.
func (s *Server) socketSettings(loop *Loop) *settings {
	o := &s.opts
	set := newSettings(&SocketOptions{
		Loop:           loop,
		AllowHalfOpen:  o.AllowHalfOpen,
		HighWaterMark:  o.HighWaterMark,
		MaxWriteBuffer: o.MaxWriteBuffer,
		NoDelay:        o.NoDelay,
		KeepAlive:      o.KeepAlive,
		IdleTimeout:    o.IdleTimeout,
		CloseTimeout:   o.CloseTimeout,
		WriteTimeout:   o.WriteTimeout,
		MaxLifetime:    o.MaxLifetime,
		Logger:         o.Logger,

		TLSConfig:        o.TLSConfig,
		HandshakeTimeout: o.HandshakeTimeout,
	})
	set.server = s
	return set
}
