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
	defaultHighWaterMark  = 64 << 10 // Node's, since v22
	defaultMaxWriteBuffer = 1 << 20
	defaultAttemptDelay   = 250 * time.Millisecond // RFC 8305, section 5

	defaultHandshakeTimeout = 120 * time.Second // Node's
)

// Resolver looks host names up. *net.Resolver is one. LookupNetIP is called on a goroutine of its
// own, never on the loop, and must return when ctx ends. network is "ip", "ip4" or "ip6". Node:
// the lookup option.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// SocketOptions are what NewSocket and Wrap take. They are copied; nil means all defaults, and so
// does the zero value of each field. Node: the options of net.Socket and of socket.connect.
type SocketOptions struct {
	// Loop runs the socket's callbacks. Default: DefaultLoop.
	Loop *Loop
	// Context bounds the socket's life: when it ends, the socket is destroyed with an error that is
	// Context.Err(), connecting or connected. Once it has ended, Connect and Wrap start nothing.
	// Default: none. Node: the signal option.
	Context context.Context
	// AllowHalfOpen keeps this side open when the peer ends, until End is called. Default: the
	// socket ends its own side after the End listeners have run.
	AllowHalfOpen bool
	// HighWaterMark is how many bytes may be queued before NeedDrain reports true. Default:
	// 64 KiB. Negative: 0, every write that the system does not take at once needs a drain. It is
	// never above MaxWriteBuffer.
	HighWaterMark int
	// MaxWriteBuffer is how many bytes may be queued before Write fails with ErrWriteBufferFull. A
	// callback that waits for its write counts as 64 bytes. A Write that begins below the limit is
	// taken whole. Pipe, Relay and ReadFrom are held back before the limit, and exceed it by one chunk
	// where the program itself has filled the queue: what they have read is not lost. Default: 1 MiB.
	// Negative: no limit, as in Node. Loop.SetMaxBuffered limits all sockets of a loop together.
	MaxWriteBuffer int
	// Dialer makes the connections: its LocalAddr, KeepAlive, Control and Timeout (for each
	// attempt) apply. Default: the zero net.Dialer. Its Resolver and FallbackDelay are not used,
	// nor is a LocalAddr of TCP for a Unix path.
	Dialer *net.Dialer
	// Dial makes the conn of each attempt in place of the Dialer, which is not used then: through a proxy, in
	// memory, or over any other conn that there is. It is called off the loop with what ConnectionAttempt
	// tells, or "unix" and the path, and must return when ctx ends. The conn belongs to the socket.
	// Default: none. Node has none.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolver looks host names up. Default: net.DefaultResolver.
	Resolver Resolver
	// Family, 4 or 6, keeps to addresses of that family. Default, 0: both.
	Family int
	// NoAutoSelectFamily tries only the first address of a host. Default: all of them.
	NoAutoSelectFamily bool
	// AttemptDelay is how long a connection attempt may take before the next address is tried
	// beside it. Default: 250 ms. Negative: the next one starts only when the last has failed.
	AttemptDelay time.Duration
	// NoDelay sets TCP_NODELAY once connected. Go sets it anyway, unless a Dialer.Control or
	// the conn's maker has switched it off.
	NoDelay bool
	// KeepAlive is the idle time before TCP keep-alive probes, and the interval between them.
	// Default: as the Dialer or the listener set it, in Go on, 15 s. Negative: keep-alive off.
	KeepAlive time.Duration
	// IdleTimeout destroys the socket after that long without activity (what counts is the same
	// as for SetTimeout), with an error that is os.ErrDeadlineExceeded. The error is a
	// *net.OpError, whose Op tells the time-outs apart: "idle", "close", "handshake",
	// "write timeout", "lifetime" and "first byte", or "dial" while connecting. Default: never.
	IdleTimeout time.Duration
	// CloseTimeout is how long the closing phase may take, from End, Close or the peer's end
	// on; then the socket is destroyed with an error that is os.ErrDeadlineExceeded. Default:
	// no limit.
	CloseTimeout time.Duration
	// WriteTimeout resets the connection, with an error that is os.ErrDeadlineExceeded, when its conn has not taken
	// all that was written and the peer acknowledges nothing for that long, or for a quarter more. What the peer
	// sends does not count, unlike for IdleTimeout. The time does not run before the connection and its TLS
	// handshake, while Cork holds everything that waits, and once the kernel has all bytes.
	//
	// On Linux the kernel says how far the peer is, also under TLS and under a conn with a NetConn method. A TCP peer
	// that reads slowly acknowledges in steps, of half its receive buffer at most, and reading from a Unix socket shows
	// in steps of some 36 KiB: allow for the time that one takes. Elsewhere and for other conns progress is what
	// the conn takes: a Write of 64 KiB at most, under TLS of a record. Default: no limit. Node has none.
	WriteTimeout time.Duration
	// MaxLifetime destroys the socket that long after Connect, Wrap or the accept, whatever it and its peer do, with an
	// error that is os.ErrDeadlineExceeded; what is queued is dropped. What came in time is still delivered first, as
	// far as it is not without end. Default: no limit.
	MaxLifetime time.Duration
	// TLSConfig makes Connect speak TLS, as a client: SecureConnect follows Ready when the handshake is done;
	// what is written before leaves after it. A config without a ServerName takes the host of the address
	// (it is cloned for that, and never changed). RootCAs, Certificates, NextProtos, MinVersion and
	// ClientSessionCache count as in package tls. Wrap makes a client of any conn but one that speaks TLS
	// itself, as a *tls.Conn does; there the config needs a ServerName.
	//
	// The socket's Conn is the *tls.Conn, and TLS tells what was agreed on. End sends close_notify, then the
	// end of the conn; Destroy sends neither. A peer that closes the connection without close_notify is an
	// Error that is io.ErrUnexpectedEOF, once everything it sent was delivered: it may have been cut off by
	// somebody else (Node takes it for a clean end). Default: no TLS. Node: the options of tls.connect.
	TLSConfig *tls.Config
	// HandshakeTimeout is how long a TLS handshake may take, from Connect, Wrap or StartTLS on; then the
	// socket is destroyed with an error that is os.ErrDeadlineExceeded. Default: 120 s. Negative: no
	// limit. Node: the handshakeTimeout option of tls.createServer, which destroys nothing.
	HandshakeTimeout time.Duration
	// BlockList has the addresses that Connect must not reach: each is checked right before its
	// attempt. A blocked one is not tried: it counts as failed, with ErrBlocked, but without
	// ConnectionAttempt or ConnectionAttemptFailed, and other addresses of the host are tried. Paths
	// are not checked. A rule for an IPv4 address also blocks its IPv4-mapped, NAT64 and 6to4 forms;
	// BlockList says which forms need rules of their own. 0.0.0.0 and :: reach this machine too. The
	// list is not copied: it may change at any time. Default: nothing is blocked.
	BlockList *BlockList
	// Logger gets a record for an error that no Error listener handles. Peers cannot fill the log with
	// them: of one loop's sockets it gets 20 records at once, then one per second. The next record has the
	// number of those left out, as "suppressed". Levels below slog.LevelWarn have a limit of their own.
	// Default: slog.Default().
	Logger *slog.Logger
}

// ServerOptions are what NewServer takes. They are copied; nil means all defaults, and so does the
// zero value of each field. Node: the options of net.createServer.
type ServerOptions struct {
	// Loops run the callbacks: the server's own on the first; accepted sockets are spread over
	// all of them in turn, each for life, its Connection callback included. The program runs
	// each of them, again if a panic has ended its Run: from Listen until its Close event the server
	// keeps them all going. Default: DefaultLoop alone.
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
	// TLSConfig makes the server speak TLS. An accepted socket is told to Connection once its handshake is
	// done; until then it counts towards MaxConnections, the time-outs apply, and Sockets has it. One whose
	// handshake fails is told to TLSClientError. Listen and Serve fail where the config has no
	// Certificates, GetCertificate or GetConfigForClient. The config is not copied: it must not be changed
	// once the server listens, but by its own methods. What SocketOptions says of ending holds here too.
	// A conn that speaks TLS itself, from a tls.Listener given to Serve, is taken as it is. Default: no
	// TLS. Node: the options of tls.createServer.
	TLSConfig *tls.Config
	// HandshakeTimeout is that of accepted sockets, as in SocketOptions, from the accept on.
	HandshakeTimeout time.Duration
	// PauseOnConnect hands over accepted sockets paused: nothing is read until Resume.
	PauseOnConnect bool
	// FirstByteTimeout destroys an accepted socket whose peer has not sent a byte that long after it
	// was accepted, with an error that is os.ErrDeadlineExceeded: IdleTimeout does so too, but goes on
	// afterwards, and has to allow for pauses in the middle. A peer that has ended its side is left
	// alone. While the program has paused the socket the time begins anew, for a byte may wait unread;
	// during a TLS handshake it runs. Default: never.
	FirstByteTimeout time.Duration
	// MaxConnections is how many accepted sockets may be open. Further ones are accepted, closed and
	// reported to Drop with DropMaxConnections. Default, 0: no limit. Negative: all are dropped.
	MaxConnections int
	// MaxConnectionsPerAddress is how many accepted sockets one peer address may have open, over all loops,
	// TLS handshakes included. Further ones are accepted, closed and reported to Drop with DropPerAddress.
	// An IPv6 address counts by its /64 prefix, which is what a single host gets; an IPv4-mapped one counts
	// as IPv4. Peers without an IP address, as those of Unix sockets, are not limited. Behind a proxy or a
	// translator, where many clients have one address, leave it 0. Default, 0: no limit. Negative: all
	// with an IP address are dropped. Node has none.
	MaxConnectionsPerAddress int
	// MaxConnectionRate is how many connections per second the server serves, over all loops. After a pause
	// as many as in a second may come at once. Further ones are accepted, closed and reported to Drop with
	// DropRate. The limit is shared by all peers; connections that are blocked, or exceed another
	// limit, do not use it up. Default, 0: no limit. Negative: all are dropped. Node has none.
	MaxConnectionRate int
	// BlockList has the peers to refuse: their connections are accepted and closed immediately,
	// without Connection, Drop or Error, and do not count towards MaxConnections. It is checked on the
	// loop, in place of Connection, for every peer with an IP address (a *net.TCPAddr, or one whose
	// text is ip:port), and never on a Unix server; with TLSConfig again after the handshake, until
	// which the connection counts. A rule for an IPv4 address also blocks its IPv4-mapped, NAT64 and
	// 6to4 forms. The list is not copied: once a peer was added, no Connection of it is emitted.
	// Default: no peer is refused.
	BlockList *BlockList
	// ReusePort lets several servers, in one process or many, listen at one TCP port, if all of
	// them ask for it; the system chooses who gets a connection (Linux and FreeBSD spread them).
	// Where there is no SO_REUSEPORT, as on Windows, Listen fails with errors.ErrUnsupported.
	// Default: the second Listen fails with EADDRINUSE.
	ReusePort bool
	// SocketMode is the permission bits of the file that Listen creates for a Unix socket. A
	// client needs write permission to connect. Default, 0: the umask of the process decides.
	//
	// Listen sets the bits before anybody can connect. On Linux it sets them on the file that it
	// has created and on no other, also if another user may write to the directory and replaces
	// the file: Listen then fails with EADDRINUSE. Without /proc this needs Linux 6.6. On other
	// Unix systems Listen sets them by path, which may lead to another file: nobody else may
	// have write permission for the directory.
	//
	// Other bits, and any bits for an abstract name, make Listen fail. On Windows any bits make
	// it fail with errors.ErrUnsupported. TCP ignores SocketMode.
	//
	// Node: readableAll, writableAll.
	SocketMode fs.FileMode
	// Logger gets a record for an error that no Error listener handles, of the server and of accepted
	// sockets, limited as in SocketOptions, for all of the server's loops together. Failed accepts have a
	// limit of their own. Default: slog.Default().
	Logger *slog.Logger
}

// settings is SocketOptions with the defaults filled in. Sockets accepted by one server share it.
type settings struct {
	SocketOptions
	server *Server // that makes the sockets, or nil
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
	if s.MaxWriteBuffer >= 0 { // else Pipe would run into the limit before it is held back
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

// socketSettings are those of the sockets that a server with these options accepts on loop.
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
