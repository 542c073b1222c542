// Package evnet implements the event model of Node's net module in Go, on top of any net.Conn.
//
// A [Socket] wraps a connection and emits typed events. A [Server] accepts sockets. A [Loop] runs every callback, one
// at a time. So callbacks need no locks, and code written for Node can be translated line by line. An echo server with
// a greeting:
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
//	evnet.Run() // returns when no server or socket is open, as a Node process ends
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
// # Overview
//
//   - Accept: [CreateServer], [NewServer], [Server.Listen], [Server.Serve] for any net.Listener, [Server.Close],
//     [Server.Shutdown].
//   - Connect: [Connect], or [NewSocket] and [Socket.Connect]; [Wrap] for an existing net.Conn.
//   - Handle events: the fields On, Once and Prepend of a socket ([SocketEvents]) and of a server ([ServerEvents]) have
//     one method for each event. Each method returns a [Listener] with Off.
//   - Read: On.Data, [Socket.Scan] for lines and frames, [Socket.OnRead], [Socket.Chunks] on a separate goroutine,
//     [Socket.SetEncoding], [Socket.Pause], [Socket.Unshift].
//   - Use TLS: TLSConfig in [SocketOptions] and [ServerOptions], [Socket.StartTLS] on a connected socket, [Socket.TLS]
//     for the negotiated state.
//   - Forward: [Socket.Pipe], [Relay], [Socket.ReadFrom].
//   - Use blocking code: [Socket.BlockingConn] is a net.Conn backed by the socket, [Socket.Detach] returns the conn
//     itself.
//   - Write: [Socket.Write], [Socket.WriteThen], [Socket.Produce], [Socket.NeedDrain], [Socket.Cork],
//     [Socket.End].
//   - Limit untrusted peers: [BlockList], in [ServerOptions] and [SocketOptions]; MaxConnections,
//     MaxConnectionsPerAddress, MaxConnectionRate, FirstByteTimeout, IdleTimeout, WriteTimeout, MaxLifetime.
//   - Close: [Socket.End], [Socket.Close], [Socket.Destroy], [Socket.Reset].
//   - Set timers: [Socket.SetTimeout], [Loop.AfterFunc].
//   - Observe: [Loop.SetTracer] reports every event; package evnet/watch turns them into log records and counters.
//   - Run: [Run], [Loop.Run], [Loop.Serve], [Loop.Post], [Loop.Do].
//   - Distinguish errors: errors.Is with system errors and the sentinels below, or [Code].
//
// # The order of events
//
// The events of one connection occur in this order:
//
//	lookup* (connectionAttempt | connectionAttemptTimeout | connectionAttemptFailed)*
//	connect drain? ready                   // only if Connect made the connection
//	secureConnect                          // only with TLS
//	(data | drain | timeout)*              // mixed with one end and one finish
//	error                                  // if the socket failed
//	close                                  // always, once, last
//
// A star means any number of times; the other events are emitted at most once. Timeout may be emitted at any point
// before error and close, also while connecting. End is emitted when everything the peer sent, and then its end, has
// been delivered. Finish is emitted when everything written, and then the end of this side, has been handed to the
// operating system. After both, the socket closes. After [Socket.Destroy] only Error and Close are emitted. No event is
// emitted before the method that causes it has returned.
//
// # Callbacks and goroutines
//
// All callbacks of the sockets, servers and timers of one loop run on the goroutine that called [Loop.Run], one after
// the other. Each happens before the next, so they may share variables without locks. Every method may be called from
// any goroutine and inside any callback. evnet holds no lock while a callback runs. A callback that blocks stops its
// loop.
//
// No callback runs before Run is called, so the setup before it cannot race with callbacks. On another goroutine, set
// up sockets in [Loop.Do], or register the callbacks before [Socket.Connect].
//
// # Who owns the bytes
//
// A chunk passed to On.Data or yielded by [Socket.Chunks] belongs to the receiver. The bytes that [Socket.OnRead] and
// [Socket.Scan] pass are borrowed: they are not copied, and are valid until the callback returns. The callback may change
// them in place. Written bytes may be reused once Write has returned, also with [Socket.BlockingConn]. [Socket.Detach]
// transfers the whole conn to the caller.
//
// # Backpressure
//
// Write never blocks and queues what the kernel does not accept. When [Socket.NeedDrain] reports true, stop writing and
// continue at On.Drain. Stop at an error of Write too, because NeedDrain is false once the socket has ended. Produce and
// Pipe do this automatically. At [SocketOptions].MaxWriteBuffer Write fails.
// [Loop.SetMaxBuffered] limits all sockets of a loop together, so that peers that never read cannot exhaust the memory
// of the process. WriteTimeout disconnects such a peer, whatever it sends.
//
// In the other direction, a socket that is paused or has no consumer leaves the bytes in the kernel, which slows the
// peer down. Without a consumer, at most one chunk is read ahead and buffered.
//
// # Half-open connections
//
// A connection has two sides. [Socket.End] ends this side, and data may still arrive. When the peer ends its side, End
// is emitted and the socket ends its own side after the listeners have run. With AllowHalfOpen it does not: the program
// may continue to write until it calls End.
//
// # Contexts
//
// These take a context: [Socket.ConnectContext] for connecting, [SocketOptions] for the whole life of a socket,
// [Server.ListenContext] for listening, [Server.Shutdown] for the time that connections get to finish, and [Loop.Serve]
// for the loop with everything on it.
//
// # Panics and errors
//
// An error with no On.Error listener is logged once and does not end the process. A panic in a callback unwinds out of
// Run, as in any Go program, unless [Loop.OnPanic] contains it.
//
// # Differences from Node
//
// Events, their order and their conditions are the same as in Node, except for the following; recorded traces prove
// that. For each line there is a scenario or a test.
//
//   - Errors without a listener: an error with no Error listener is logged and does not end the process. Err keeps it.
//   - Unread sockets: a socket without a consumer buffers one chunk, instead of reading up to the high-water mark, and
//     a paused socket reads nothing. As in Node, neither detects an end behind unread bytes. A reset is detected, where
//     the kernel reports it, unless unread bytes precede it. IdleTimeout and CloseTimeout limit the other cases, and
//     Server.Sockets lists the sockets.
//   - The last Data listener: when it is removed, the socket buffers incoming data instead of discarding it.
//   - Timeout callbacks: SetTimeout only sets the duration; callbacks are registered with On.Timeout.
//   - Connecting again: a closed socket starts without old bytes, and its timer works.
//   - The write queue: it is limited to MaxWriteBuffer plus one Write.
//   - Write callbacks: they run exactly once, in order, before Close. Unless the operating system accepted the bytes,
//     they get an error: the cause, or ErrDestroyed. End has no callback; use the Finish event.
//   - The argument of Close: it is always true or false; Err returns the cause.
//   - Writing too late: a Write after End, after the automatic end, or before Connect returns an error and has no other
//     effect: the socket continues to read.
//   - After Destroy: only Error and Close are emitted. An emit that has begun calls its other listeners, as in Node.
//   - Before a method returns: no event is emitted.
//   - After Close: neither data nor End is emitted; received data is discarded. destroySoon emits both until the socket
//     is destroyed.
//   - The closing phase: CloseTimeout can limit it.
//   - Closing early: if Close, Scan, FirstByteTimeout or a TLS handshake closes a kernel connection whose peer still
//     sends, the peer's data is discarded for up to a second, so that the peer receives what was written, and no reset.
//   - All connections: a server has Shutdown, CloseAllConnections and Sockets.
//   - Closing a server: Close is emitted once, after the Close of its last socket. On a server that is not listening,
//     Close returns ErrServerNotRunning and emits nothing.
//   - Listening: Listen binds synchronously and returns any bind error, whatever the host.
//   - Callbacks of a call: if Listen or Connect fails, its callback is removed.
//   - Several addresses: they race as in RFC 8305, even if all have one Family. A slow attempt is not aborted. The
//     error lists every attempt. An unavailable local address fails the attempt.
//   - Lookups and contexts: an empty or unusable answer of the resolver, and a context that has already ended, cause
//     Error and Close, and nothing is started. The answers of a Resolver are typed.
//   - Zones: a zone that names no network interface, as in fe80::1%nowhere, is EINVAL for every IP address. In Node it has no
//     effect unless the address is link-local.
//   - Keep-alive: keep-alive and TCP_NODELAY are on, as everywhere in Go. Durations are of type time.Duration. Setting
//     them on a conn that does not support them is errors.ErrUnsupported.
//   - Messages: as in Node, one Data event is not one message; Scan splits the stream into messages.
//   - Encodings: utf16le never emits half a character, and a second SetEncoding flushes what the first has buffered.
//   - Addresses: both remain available after Close.
//   - Failed writes: what was received before a write failed is delivered before Error, also if the loop was late. A
//     paused socket gets one second for Resume. Meanwhile Write returns ErrDestroyed. In Node, some of it may be lost. An
//     end that is only the consequence of a reset is not an End.
//   - Failures of a pipe: as in Node, Pipe does not forward failures. If one socket of a Relay
//     fails, Relay resets the other. A destination that is not a socket has no events: if writing
//     to it fails, the source fails, unless it has another consumer.
//   - Unix paths: Listen replaces a socket file at which no process answers, and no other file. Close removes only the
//     file that the server created. Errors come from the operating system unchanged. SocketMode sets the permissions
//     before any client can connect.
//   - Failed accepts: the server emits Error, backs off and continues.
//   - Iterating: Chunks does not own the socket. Leaving the loop keeps the socket open and loses nothing.
//   - A new socket: a socket that was never connected is in StateNew.
//   - MaxConnections: 0 means no limit; a negative value refuses all. Connections per address and per second can be
//     limited too, and Drop has the reason.
//   - Off: it takes effect immediately, also during an emit.
//   - Resets: if the connection does not support RST, Reset destroys it.
//   - What Run leaves: Run destroys the open sockets and servers that are not referenced before it returns; they emit
//     Close.
//   - Lengths: they count bytes. BufferedAmount counts queued bytes. BytesWritten counts the bytes that Write accepted,
//     including the ones that Destroy discarded.
//   - Getters: Connections returns its result immediately; Timeout is 0 if none was set.
//   - Listeners: emit is not public, and a socket works without any listeners.
//   - Putting back: Unshift after End returns an error and has no other effect.
//   - Consumers: OnRead, Scan, Chunks and BlockingConn are exclusive. A second consumer is refused, as is any of
//     these on a socket in a Relay.
//   - Block lists: a rule that blocks an IPv4 address also blocks its NAT64 (64:ff9b::/96) and 6to4 (2002::/16) forms.
//     UnmarshalJSON replaces the rules, and refuses a text that is not a rule.
//   - The end of TLS: if the peer closes the connection without close_notify, that is an Error, because a third party
//     may have truncated the stream. For a socket made from a *tls.Conn, package tls decides.
//   - Handshakes: a handshake that exceeds HandshakeTimeout destroys the socket, also on clients. In Node it is only
//     reported. TLSClientError does not report a handshake that this side aborts without an error.
package evnet

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"evnet/internal/transport"
)

// CreateServer returns a server on DefaultLoop. It calls onConnection, which may be nil, for each accepted socket.
//
// Node: net.createServer.
func CreateServer(onConnection func(*Socket)) *Server {
	s := NewServer(nil)
	if onConnection != nil {
		s.On.Connection(onConnection)
	}
	return s
}

// Connect creates a socket on DefaultLoop and connects it. It calls onConnect, which may be nil, once on Connect, and
// never if this attempt fails. Register further callbacks on the result before Run, or inside a callback. Error and
// Close report any failure, including invalid arguments.
//
// Node: net.connect, net.createConnection.
func Connect(network, address string, onConnect func()) *Socket {
	s := NewSocket(nil)
	if onConnect != nil {
		s.makeOpt().onConnect = s.Once.Connect(onConnect)
	}
	s.Connect(network, address)
	return s
}

// Wrap returns a socket for a connected conn of any type. The conn belongs to the socket from then on. Reading starts
// after the running callback, or when the loop runs.
//
// For a *tls.Conn the socket performs the handshake first; then SecureConnect is emitted. With SocketOptions.TLSConfig
// any other conn becomes the client side of TLS, as with the socket option of Node's tls.connect.
//
// If the conn has no CloseWrite method, it cannot be half open: End closes it completely once everything is written.
//
// On Linux the loop itself reads and writes a *net.TCPConn or a stream *net.UnixConn, and no other type, because a type
// that embeds such a conn may have its own methods. Any other conn, and every conn under TLS, has a goroutine that reads,
// unless the socket is paused, and one that writes while bytes are queued. Run waits for all of them to return.
//
// Methods of any other conn may block. If its LocalAddr and RemoteAddr take longer than 10 ms, the addresses of the
// socket are nil until they return.
//
// If a Read of the conn returns no bytes and no error, it is retried after a pause. An error that is Temporary and not a
// timeout is retried ten times. If a method panics, the socket fails with a *PanicError.
//
// For a nil conn the socket fails with ErrNilArgument.
//
// Node: new net.Socket with the fd option.
func Wrap(conn net.Conn, opts *SocketOptions) *Socket {
	s := newSocket(newSettings(opts))
	if conn == nil {
		s.Destroy(nilArgument("Wrap", "conn"))
		return s
	}
	id := identify(s.loop(), conn)
	at := id.known()
	s.mu.Lock()
	ok := s.registerLocked()
	s.attachLocked(conn, at, transport.Client)
	epoch := s.epoch
	s.mu.Unlock()
	s.adopt(id)
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

// Run runs DefaultLoop until no server, socket, timer or reference is open on it, as a Node process does.
func Run() { DefaultLoop.Run() }

// IsIP returns 4 or 6 if s is the text of an IP address of that family, and 0 otherwise.
//
// Node: net.isIP.
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

// IsIPv4 reports whether s is the text of an IPv4 address.
//
// Node: net.isIPv4.
func IsIPv4(s string) bool { return IsIP(s) == 4 }

// IsIPv6 reports whether s is the text of an IPv6 address, including IPv4-mapped ones.
//
// Node: net.isIPv6.
func IsIPv6(s string) bool { return IsIP(s) == 6 }

// checkZone returns syscall.EINVAL for an IP address whose zone is neither the name nor the index of a network interface. The
// kernel would ignore the zone, except for a link-local address.
func checkZone(network, address string) error {
	host, _, err := net.SplitHostPort(address)
	if network == "unix" || err != nil {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() == "" {
		return nil
	}
	if index, numeric := strconv.Atoi(ip.Zone()); numeric == nil {
		_, err = net.InterfaceByIndex(index)
	} else {
		_, err = net.InterfaceByName(ip.Zone())
	}
	if err != nil {
		return fmt.Errorf("no network interface %q: %w", ip.Zone(), syscall.EINVAL)
	}
	return nil
}

// plainZone reports whether Node accepts the zone too; netip accepts any text.
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
