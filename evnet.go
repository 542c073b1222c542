// Package evnet is the event model of Node's net module for Go, over any net.Conn.
//
// A [Socket] wraps a connection and tells what happens to it by typed events; a [Server] accepts
// sockets; a [Loop] runs every callback, one at a time, so that what you know of Node carries over
// line by line, without locks. An echo server that greets:
//
//	server := evnet.CreateServer(func(c *evnet.Socket) {
//		fmt.Println("client connected")
//		c.On.End(func() { fmt.Println("client disconnected") })
//		c.WriteString("hello\r\n")
//		c.Pipe(c)
//	})
//	if err := server.Listen("tcp", ":8080", nil); err != nil {
//		log.Fatal(err)
//	}
//	evnet.Run() // returns once no server or socket is left open, as a Node process ends
//
// and a client:
//
//	client := evnet.Connect("tcp", "localhost:8080", nil)
//	client.On.Data(func(chunk []byte) {
//		fmt.Print(string(chunk))
//		client.End()
//	})
//	client.On.Error(func(err error) { log.Print(err) })
//	evnet.Run()
//
// # The map
//
//   - To accept: [CreateServer], [NewServer], [Server.Listen], [Server.Serve] for any net.Listener,
//     [Server.Close], [Server.Shutdown].
//   - To connect: [Connect], or [NewSocket] and [Socket.Connect]; [Wrap] for a net.Conn you have.
//   - To hear: the fields On, Once and Prepend of a socket ([SocketEvents]) and of a server
//     ([ServerEvents]) have one method for each event; each returns a [Listener] with Off.
//   - To read: On.Data, [Socket.Scan] for lines and frames, [Socket.OnRead], [Socket.Chunks] on a
//     goroutine of its own, [Socket.SetEncoding], [Socket.Pause], [Socket.Unshift].
//   - To speak TLS: TLSConfig in SocketOptions and ServerOptions, [Socket.StartTLS] on a connected socket,
//     [Socket.TLS] for what was agreed on.
//   - To pass on: [Socket.Pipe], [Relay], [Socket.ReadFrom].
//   - To blocking code: [Socket.BlockingConn] is a net.Conn that the socket stays behind, [Socket.Detach]
//     gives the conn away.
//   - To write: [Socket.Write], [Socket.WriteThen], [Socket.NeedDrain], [Socket.Cork], [Socket.End].
//   - To refuse: [BlockList], in ServerOptions and SocketOptions; MaxConnections, MaxConnectionsPerAddress,
//     MaxConnectionRate, FirstByteTimeout, WriteTimeout, MaxLifetime.
//   - To end: [Socket.End], [Socket.Close], [Socket.Destroy], [Socket.Reset].
//   - To wait: [Socket.SetTimeout], [Loop.AfterFunc].
//   - To watch: [Loop.SetTracer] sees every event; package evnet/watch makes records and figures of them.
//   - To run: [Run], [Loop.Run], [Loop.Serve], [Loop.Post], [Loop.Do].
//   - To tell errors apart: errors.Is with system errors and the sentinels below, or [Code].
//
// # The order of events
//
// The events of one connection come in this order, each at most once unless starred:
//
//	lookup* (connectionAttempt | connectionAttemptTimeout | connectionAttemptFailed)*
//	connect drain? ready                   // only for a socket that Connect has connected
//	secureConnect                          // only with TLS
//	(data | drain | timeout | end | finish)*
//	error                                  // if it failed
//	close                                  // always, once, last
//
// Timeout may come anywhere before error and close, also while connecting; end and finish come once each.
// End comes when everything the peer sent was delivered and its end was seen; Finish when
// everything written and this side's end were handed to the system. After both, the socket closes.
// After [Socket.Destroy] nothing comes but Error and Close. No event is emitted before the method
// that causes it has returned.
//
// # Callbacks and goroutines
//
// All callbacks of the sockets, servers and timers of one loop run on the goroutine that called
// [Loop.Run], one after the other, each happening before the next: they may share variables without
// locks. Every method may be called from any goroutine and inside any callback. No lock of evnet is
// held while a callback runs. A callback that blocks stops its loop.
//
// What a program sets up before Run cannot race with its callbacks. From another goroutine, set
// sockets up in [Loop.Do], or register before [Socket.Connect].
//
// # Who owns the bytes
//
// A chunk given to On.Data or by [Socket.Chunks] is yours to keep. What [Socket.OnRead] and
// [Socket.Scan] give is borrowed until the callback returns, and costs no copy. What you write is
// copied, both by the socket and by [Socket.BlockingConn]. [Socket.Detach] gives the conn away whole.
//
// # Backpressure
//
// Write never blocks and queues what the system does not take. When [Socket.NeedDrain] reports
// true, stop, and go on at On.Drain; Pipe does so by itself. At [SocketOptions].MaxWriteBuffer Write
// fails, and [Loop.SetMaxBuffered] bounds all sockets of a loop together, so that peers that never
// read cannot exhaust the memory of the process; WriteTimeout disconnects such a peer, whatever it
// sends. In the other direction a socket
// that is paused, or that nobody listens to, leaves the bytes in the kernel, which holds the peer
// back; nobody listening means that at most one chunk is read ahead and kept.
//
// # Half-open
//
// A connection has two sides. [Socket.End] ends yours, and data may still come. When the peer ends
// its side, End is emitted and a socket ends its own too, after the listeners have run, unless
// AllowHalfOpen is set: then you go on writing until you call End.
//
// # Contexts
//
// [Socket.ConnectContext] bounds an attempt, [SocketOptions].Context a socket's whole life,
// [Server.ListenContext] the listening, [Server.Shutdown] the way out, and [Loop.Serve] all of it.
//
// # Panics and errors
//
// An error that no On.Error listener hears goes to the log, once, and nothing crashes. A panic in a
// callback unwinds out of Run, as in any Go program, unless [Loop.OnPanic] contains it.
//
// # Differences from Node
//
// Events, their order and their conditions are Node's, proven by recorded traces, but for what
// follows. Each line has a scenario or a test of its name.
//
//   - Unheard errors: an error that nobody hears is logged; it does not end the process. Err keeps
//     it.
//   - Unread sockets: one that nobody reads holds one chunk, not a buffer up to the high-water mark,
//     and a paused one reads nothing. Neither sees the end behind what is unread, as in Node; a reset
//     is seen, where the kernel tells it, unless unread bytes are before it. IdleTimeout and
//     CloseTimeout bound the rest, and Server.Sockets shows them.
//   - The last Data listener: when it goes, the socket holds what comes instead of dropping it.
//   - Time-out callbacks: SetTimeout sets the time only, and On.Timeout listens.
//   - Connecting again: a closed socket starts clean, without old bytes, and with a live timer.
//   - The write queue: it is bounded by MaxWriteBuffer, and one more Write.
//   - Write callbacks: they run exactly once, in order, before Close, with an error unless the
//     system took the bytes: the cause, or ErrDestroyed. End has none: Finish is the event.
//   - The argument of Close: always true or false; Err has the cause.
//   - Writing too late: a Write after End, after the automatic end, or before Connect returns an
//     error and does nothing else: the socket goes on reading.
//   - After Destroy: nothing is emitted but Error and Close.
//   - Before a method returns: no event is emitted.
//   - The closing phase: it may be bounded by CloseTimeout.
//   - All connections: a server has Shutdown, CloseAllConnections and Sockets.
//   - Closing a server: Close is emitted once, after the Close of its last socket; on a server that
//     does not listen, Close returns ErrServerNotRunning and emits nothing.
//   - Listening: Listen binds before it returns and returns the error, whatever the host.
//   - Callbacks of a call: that of a Listen or Connect that failed is forgotten.
//   - Several addresses: they race as in RFC 8305, also those of one Family; a slow attempt is not
//     given up; the error lists every attempt. A local address that cannot be had fails the attempt.
//   - Lookups and contexts: an empty or useless answer of the resolver, and a context that has ended
//     already, end in Error and Close, and nothing is started. A Resolver's answers are typed.
//   - Keep-alive: it and TCP_NODELAY are on, as everywhere in Go; times are time.Durations; setting
//     them on a conn that has none is errors.ErrUnsupported.
//   - Messages: one Data is not one message, here as there; Scan makes messages of the stream.
//   - Encodings: utf16le never lets half a character out, and a second SetEncoding flushes what the
//     first held.
//   - Addresses: both stay readable for ever.
//   - Failures of a pipe: Pipe forwards none, as in Node; Relay tears both sockets down.
//   - Unix paths: Listen replaces a socket file that nobody answers at, and nothing else; Close
//     removes only the file that the server made; errors are the system's own. SocketMode sets the
//     permissions before anybody can connect.
//   - Failed accepts: the server emits Error, backs off and goes on.
//   - Iterating: Chunks does not own the socket; leaving the loop leaves it open and loses nothing.
//   - A new socket: one that was never connected is in StateNew.
//   - MaxConnections: 0 means no limit; a negative one refuses all. Connections per address and per second
//     have limits too, and Drop has the reason.
//   - Off: it takes effect at once, also during an emit.
//   - Resets: Reset on a conn that knows no reset destroys it.
//   - What Run leaves: what is open but not referenced when Run ends is destroyed, with its Close.
//   - Lengths: they count bytes, BufferedAmount those that still wait, and BytesWritten all that Write
//     took, also what Destroy has dropped.
//   - Getters: Connections tells at once; Timeout is 0 where none was set.
//   - Listeners: emit is not public, and a socket has no listeners of its own to lose.
//   - Putting back: Unshift after End returns an error and does nothing else.
//   - Consumers: OnRead, Scan, Chunks and BlockingConn need to be alone; a second one is refused, and
//     so is any on a socket in a Relay.
//   - Block lists: a rule that blocks an IPv4 address blocks its NAT64 (64:ff9b::/96) and 6to4 (2002::/16)
//     forms too. UnmarshalJSON replaces the rules, and refuses a text that is not a rule.
//   - The end of TLS: a peer that closes the connection without close_notify is an Error, for somebody else
//     may have cut it off; where the socket was made of a *tls.Conn that is up to package tls.
//   - Handshakes: one that takes too long is destroyed, not only told; HandshakeTimeout is for clients too. One
//     that this side breaks off without an error is not told to TLSClientError.
package evnet

import (
	"net"
	"net/netip"

	"evnet/internal/transport"
)

// CreateServer makes a server on DefaultLoop. onConnection, which may be nil, is called for each
// accepted socket. Node: net.createServer.
func CreateServer(onConnection func(*Socket)) *Server {
	s := NewServer(nil)
	if onConnection != nil {
		s.On.Connection(onConnection)
	}
	return s
}

// Connect makes a socket on DefaultLoop and connects it. onConnect, which may be nil, is called
// once on Connect, and never if this attempt fails. Register further callbacks on the result before
// Run, or inside a callback. Any failure, of the arguments too, is told by Error and Close. Node:
// net.connect, net.createConnection.
func Connect(network, address string, onConnect func()) *Socket {
	s := NewSocket(nil)
	if onConnect != nil {
		s.makeOpt().onConnect = s.Once.Connect(onConnect)
	}
	s.Connect(network, address)
	return s
}

// Wrap makes a socket of a connected conn of any kind, which belongs to the socket from then on.
// Reading starts after the running callback, or when the loop runs. A *tls.Conn is given its
// handshake first, then SecureConnect is emitted. With SocketOptions.TLSConfig any other conn is made the
// client's side of TLS, which Node's tls.connect does with the socket option. A nil conn gives a socket that
// fails with ErrNilArgument.
//
// A conn that has no CloseWrite method cannot be half open: End closes it whole, once everything
// is written. On Linux the loop itself reads and writes a *net.TCPConn or a stream *net.UnixConn, and
// no other type: one that embeds such a conn may have methods of its own. Any other conn has a goroutine
// that reads, and one that writes while bytes are queued. What its methods do there is taken as it comes: a
// Read of nothing is made again after a pause, an error that is Temporary and no time-out is tried ten times,
// and one that panics is the socket's Error, a *PanicError. Run waits for all of them to return. Node: new
// net.Socket with the fd option.
func Wrap(conn net.Conn, opts *SocketOptions) *Socket {
	s := NewSocket(opts)
	if conn == nil {
		s.Destroy(nilArgument("Wrap", "conn"))
		return s
	}
	at := addressesOf(conn)
	s.mu.Lock()
	ok := s.register()
	s.attach(conn, at, transport.Client)
	epoch := s.epoch
	s.mu.Unlock()
	s.setOptions()
	switch ctx := s.set.Context; {
	case !ok:
		s.Destroy(ErrLoopStopped)
		return s
	case ctx != nil && ctx.Err() != nil:
		s.contextEnded(epoch)
		return s
	}
	s.loop().Post(s.begin)
	return s
}

// Run runs DefaultLoop until no server, socket, timer or reference is left open on it, as a Node
// process does.
func Run() { DefaultLoop.Run() }

// IsIP returns 4 or 6 for the text of an IP address of that family, and 0 for any other text. Node:
// net.isIP.
func IsIP(s string) int {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil || !plainZone(ip.Zone()):
		return 0
	case ip.Is4():
		return 4
	}
	return 6
}

// IsIPv4 reports whether s is the text of an IPv4 address. Node: net.isIPv4.
func IsIPv4(s string) bool { return IsIP(s) == 4 }

// IsIPv6 reports whether s is the text of an IPv6 address, IPv4-mapped ones included. Node:
// net.isIPv6.
func IsIPv6(s string) bool { return IsIP(s) == 6 }

// plainZone reports whether Node takes the zone too: netip takes any text.
func plainZone(zone string) bool {
	for _, c := range []byte(zone) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}
