package evnet

import (
	"net"
	"unsafe"
)

// Event is the name of an event, for ListenerCount and RemoveAllListeners. It is the same as in Node.
type Event string

// The events of sockets and servers. Only servers emit Drop, Connection, Listening and TLSClientError. Both emit Close
// and Error. Only sockets emit the others.
const (
	EventClose                    Event = "close"
	EventConnect                  Event = "connect"
	EventConnection               Event = "connection"
	EventConnectionAttempt        Event = "connectionAttempt"
	EventConnectionAttemptFailed  Event = "connectionAttemptFailed"
	EventConnectionAttemptTimeout Event = "connectionAttemptTimeout"
	EventData                     Event = "data"
	EventDrain                    Event = "drain"
	EventDrop                     Event = "drop"
	EventEnd                      Event = "end"
	EventError                    Event = "error"
	EventFinish                   Event = "finish"
	EventListening                Event = "listening"
	EventLookup                   Event = "lookup"
	EventReady                    Event = "ready"
	EventSecureConnect            Event = "secureConnect"
	EventTimeout                  Event = "timeout"
	EventTLSClientError           Event = "tlsClientError"
)

// Listener is one registration of a callback. The zero value is a removed listener. A Listener is small and may be
// copied. Node has no such value: its off(name, fn) removes by function.
type Listener struct {
	entry *entry
	of    emitter
	err   error
}

// Off removes the callback immediately, even during an emit that has not reached it yet. Any goroutine may call it,
// more than once.
func (l Listener) Off() {
	if l.entry != nil {
		l.entry.off(l.of)
	}
}

// Err returns the reason that the callback was not registered, or nil: ErrNilArgument if the callback was nil,
// ErrConsumed if On.Data was called on a socket with an exclusive consumer.
func (l Listener) Err() error { return l.err }

// Lookup is an answer of the resolver, one for each address.
//
// Node: the arguments of lookup.
type Lookup struct {
	Err     error  // the reason that the host was not found; then Address is "" and Family 0
	Address string // the IP address
	Family  int    // 4 or 6
	Host    string // the host name that was looked up
}

// Attempt is one attempt to connect.
//
// Node: the arguments of connectionAttempt.
type Attempt struct {
	Network string // "tcp4", "tcp6" or "unix"
	Address string // host:port, or the path
	Family  int    // 4, 6, or 0 for a path
}

// Drop is a connection that a server has closed because it exceeds a limit.
//
// Node: the argument of drop, which has no reason because MaxConnections is the only limit.
type Drop struct {
	Local  net.Addr   // the server's end
	Remote net.Addr   // the client's end
	Reason DropReason // the limit that it exceeds
}

// SocketEvents registers callbacks for the events of a Socket. A socket has three of them: On registers a callback for
// every emit, Once for the next emit only, and Prepend before the callbacks already registered.
//
// Any goroutine may call the methods. The callbacks run on the socket's loop, one at a time, in order of registration.
// A callback added during an emit is not called for that emit. If one destroys the socket, the others are still called.
// A nil callback is not registered: see Listener.Err. To miss no event, register before Connect, inside a callback,
// before Run, or in Loop.Do.
//
// Node: socket.on, once and prependListener.
type SocketEvents struct {
	mode *mode // one of the socket's modes: it leads to the socket, and is smaller than a pointer plus a mode
}

// socket returns the socket that contains the mode.
func (v SocketEvents) socket() *Socket {
	first := unsafe.Add(unsafe.Pointer(v.mode), -int(*v.mode))
	return (*Socket)(unsafe.Add(first, -int(unsafe.Offsetof(Socket{}.modes))))
}

// ServerEvents registers callbacks for the events of a Server, as SocketEvents does for a Socket.
type ServerEvents struct {
	s    *Server
	mode mode
}

// Close is emitted once for each connection, as the last event, when the socket is closed. hadError reports whether an
// Error directly preceded it; Err returns the cause.
//
// Node: close.
func (v SocketEvents) Close(fn func(hadError bool)) Listener {
	return v.register(kindClose, fn == nil, fn)
}

// Connect is emitted when Connect has made the connection, never on accepted and wrapped sockets. Pending writes are
// sent after it.
//
// Node: connect.
func (v SocketEvents) Connect(fn func()) Listener {
	return v.register(kindConnect, fn == nil, fn)
}

// ConnectionAttempt is emitted before each attempt to reach an address. There is no attempt for a blocked address.
//
// Node: connectionAttempt.
func (v SocketEvents) ConnectionAttempt(fn func(Attempt)) Listener {
	return v.register(kindAttempt, fn == nil, fn)
}

// ConnectionAttemptFailed is emitted when an attempt has failed. The socket fails only when all attempts have failed.
//
// Node: connectionAttemptFailed.
func (v SocketEvents) ConnectionAttemptFailed(fn func(Attempt, error)) Listener {
	return v.register(kindAttemptFailed, fn == nil, fn)
}

// ConnectionAttemptTimeout is emitted when an attempt has taken SocketOptions.AttemptDelay and the next address is
// about to be attempted in parallel, unless that address is blocked.
//
// Node: connectionAttemptTimeout, at which Node aborts the attempt.
func (v SocketEvents) ConnectionAttemptTimeout(fn func(Attempt)) Listener {
	return v.register(kindAttemptTimeout, fn == nil, fn)
}

// Data is emitted for each received chunk. The first listener starts the flow, unless the socket was paused. When the
// last listener is removed, the socket buffers incoming data, as before the first.
//
// A chunk belongs to the receiver, which may keep it, change it and append to it. Several listeners of one socket get
// the same slice: each sees the changes of the listeners before it. If there are several, clone a chunk before changing
// it or appending to it. Destinations of Pipe get the chunk without these changes.
//
// A chunk has at most 64 KiB of received data or, after SetEncoding, complete characters as UTF-8 text. It may be longer
// if it contains data from Unshift, or data that was buffered for Scan.
//
// While OnRead, Scan, Chunks or BlockingConn is the consumer, nothing is registered and Listener.Err is ErrConsumed.
// Pipe is not exclusive.
//
// Node: data.
func (v SocketEvents) Data(fn func(chunk []byte)) Listener {
	if fn == nil {
		return Listener{err: ErrNilArgument}
	}
	s := v.socket()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.consumedLocked("On.Data"); err != nil {
		return Listener{err: err}
	}
	e := s.events.add(*v.mode, kindData, fn)
	s.consumerAddedLocked()
	return Listener{entry: e, of: s}
}

// Drain is emitted when the write queue has emptied after NeedDrain reported true. It is not emitted once End has been
// called.
//
// Node: drain.
func (v SocketEvents) Drain(fn func()) Listener {
	return v.register(kindDrain, fn == nil, fn)
}

// End is emitted once, when the peer has ended its side and everything it sent has been delivered. Without
// AllowHalfOpen the socket ends its own side after the listeners have run; they may still write.
//
// Node: end.
func (v SocketEvents) End(fn func()) Listener {
	return v.register(kindEnd, fn == nil, fn)
}

// Error is emitted at most once, directly before Close, when the socket has failed or was destroyed with an error.
// Without a listener the error is logged and nothing crashes.
//
// Node: error.
func (v SocketEvents) Error(fn func(err error)) Listener {
	return v.register(kindError, fn == nil, fn)
}

// Finish is emitted once, when everything written and the end of this side have been handed to the operating system. With TLS
// the end includes close_notify. If the end cannot be sent, Error is emitted instead.
//
// Node: finish.
func (v SocketEvents) Finish(fn func()) Listener {
	return v.register(kindFinish, fn == nil, fn)
}

// Lookup is emitted when a host name was resolved, once for each address, or could not be resolved.
//
// Node: lookup.
func (v SocketEvents) Lookup(fn func(Lookup)) Listener {
	return v.register(kindLookup, fn == nil, fn)
}

// Ready is emitted directly after Connect.
//
// Node: ready.
func (v SocketEvents) Ready(fn func()) Listener {
	return v.register(kindReady, fn == nil, fn)
}

// SecureConnect is emitted when the TLS handshake is done and TLS returns the negotiated state. Data is emitted after
// it, and data written before is sent after it. It follows Ready on a socket with TLSConfig, StartTLS on either side,
// and Wrap of a *tls.Conn. On a server with TLSConfig, Connection takes its place. It is never emitted without TLS.
//
// Node: secureConnect of tls.TLSSocket.
func (v SocketEvents) SecureConnect(fn func()) Listener {
	return v.register(kindSecureConnect, fn == nil, fn)
}

// Timeout is emitted when the socket was idle for the duration passed to SetTimeout. Nothing is closed. The next
// activity restarts the timer.
//
// Node: timeout.
func (v SocketEvents) Timeout(fn func()) Listener {
	return v.register(kindTimeout, fn == nil, fn)
}

// Close is emitted once, when the server has stopped listening and the last socket it accepted has emitted its own
// Close.
//
// Node: close.
func (v ServerEvents) Close(fn func()) Listener {
	return v.register(kindClose, fn == nil, fn)
}

// Connection is emitted for each accepted socket, on the loop of that socket. Nothing is read before the listeners have
// returned. With ServerOptions.TLSConfig it is emitted after the TLS handshake.
//
// Node: connection; secureConnection of tls.Server.
func (v ServerEvents) Connection(fn func(*Socket)) Listener {
	return v.register(kindConnection, fn == nil, fn)
}

// Drop is emitted, on the server's own loop, for a connection that was closed because it exceeds MaxConnections,
// MaxConnectionsPerAddress or MaxConnectionRate. While that loop is blocked, up to 16,384 drops of the server's other
// loops are queued; further ones are not emitted.
//
// Node: drop.
func (v ServerEvents) Drop(fn func(Drop)) Listener {
	return v.register(kindDrop, fn == nil, fn)
}

// Error is emitted when accepting has failed. The server continues to listen and retries after 5 ms, doubled up to 1 s
// while it fails. Without a listener the error is logged.
//
// Node: error.
func (v ServerEvents) Error(fn func(error)) Listener {
	return v.register(kindError, fn == nil, fn)
}

// Listening is emitted when the server has begun to listen, after Listen or Serve has returned.
//
// Node: listening.
func (v ServerEvents) Listening(fn func()) Listener {
	return v.register(kindListening, fn == nil, fn)
}

// TLSClientError is emitted when a connection to a server with TLSConfig has failed before Connection: the peer does
// not use TLS, is not trusted, has closed or reset the connection, or took too long. err has the reason and the
// addresses. s is destroyed, and only its Close is still to be emitted; the server continues.
//
// It replaces the socket's Error and runs on the loop of that socket. A handshake that this side aborts without an
// error, as CloseAllConnections does, is not reported. Without a listener the error is logged.
//
// Node: tlsClientError.
func (v ServerEvents) TLSClientError(fn func(err error, s *Socket)) Listener {
	return v.register(kindTLSClientError, fn == nil, fn)
}
