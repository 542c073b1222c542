package evnet

import (
	"net"
	"unsafe"
)

// Event names an event, for ListenerCount and RemoveAllListeners. The names are Node's.
type Event string

// The events of sockets and servers. Drop, Connection, Listening and TLSClientError are a server's alone; Close
// and Error are on both; the rest are a socket's.
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

// Listener is one registration of a callback. The zero value is one that is off. It is small: copy
// it freely. Node has no such value; off(name, fn) removes by function.
type Listener struct {
	entry *entry
	of    emitter
	err   error
}

// Off removes the callback, at once, also during an emit that has not reached it yet. It may be
// called from any goroutine, and again.
func (l Listener) Off() {
	if l.entry != nil {
		l.entry.off(l.of)
	}
}

// Err says why nothing was registered: ErrNilArgument when the callback was nil, ErrConsumed when
// On.Data found a consumer that does not share; else it is nil.
func (l Listener) Err() error { return l.err }

// Lookup is the answer of the resolver, one for each address. Node: the arguments of lookup.
type Lookup struct {
	Err     error  // why the host was not found; then Address is "" and Family 0
	Address string // the IP address
	Family  int    // 4 or 6
	Host    string // the host name that was looked up
}

// Attempt is one attempt to connect. Node: the arguments of connectionAttempt.
type Attempt struct {
	Network string // "tcp4", "tcp6" or "unix"
	Address string // host:port, or the path
	Family  int    // 4, 6, or 0 for a path
}

// Drop is a connection that a server has closed because it exceeds a limit. Node: the argument of drop,
// which has no reason: there MaxConnections is the only limit.
type Drop struct {
	Local  net.Addr   // the server's end
	Remote net.Addr   // the client's end
	Reason DropReason // the limit that it exceeds
}

// SocketEvents registers callbacks for the events of a Socket. A socket has three: On registers
// for every time, Once for the next time only, Prepend before those already registered.
//
// Any goroutine may call the methods; the callbacks run on the socket's loop, in order of
// registration, one at a time. A callback added during an emit is not called for that emit. A nil
// callback is not registered: see Listener.Err. To miss nothing, register before Connect, inside a
// callback, before Run, or in Loop.Do. Node: socket.on, once and prependListener.
type SocketEvents struct {
	mode *mode // one of the socket's modes: it leads to the socket, and takes less room in it
}

// socket is whose events these are: the one that the mode is a part of.
func (v SocketEvents) socket() *Socket {
	first := unsafe.Add(unsafe.Pointer(v.mode), -int(*v.mode))
	return (*Socket)(unsafe.Add(first, -int(unsafe.Offsetof(Socket{}.modes))))
}

// ServerEvents registers callbacks for the events of a Server, as SocketEvents does for a Socket.
type ServerEvents struct {
	s    *Server
	mode mode
}

// Close is emitted once for each connection, last, when the socket is closed for good. hadError
// tells whether an Error came right before it; Err has the cause. Node: close.
func (v SocketEvents) Close(fn func(hadError bool)) Listener {
	return v.register(kindClose, fn == nil, fn)
}

// Connect is emitted when Connect has made the connection, never on accepted and wrapped sockets.
// Writes that were waiting leave after it. Node: connect.
func (v SocketEvents) Connect(fn func()) Listener {
	return v.register(kindConnect, fn == nil, fn)
}

// ConnectionAttempt is emitted before each attempt to reach an address; a blocked one is not tried.
// Node: connectionAttempt.
func (v SocketEvents) ConnectionAttempt(fn func(Attempt)) Listener {
	return v.register(kindAttempt, fn == nil, fn)
}

// ConnectionAttemptFailed is emitted when an attempt has failed; the socket fails only when all
// have. Node: connectionAttemptFailed.
func (v SocketEvents) ConnectionAttemptFailed(fn func(Attempt, error)) Listener {
	return v.register(kindAttemptFailed, fn == nil, fn)
}

// ConnectionAttemptTimeout is emitted when an attempt has taken SocketOptions.AttemptDelay and the
// next address is about to be tried beside it, unless it is blocked. Node, which gives the attempt up:
// connectionAttemptTimeout.
func (v SocketEvents) ConnectionAttemptTimeout(fn func(Attempt)) Listener {
	return v.register(kindAttemptTimeout, fn == nil, fn)
}

// Data is emitted for each chunk that arrives; the first listener starts the flow, unless the
// socket was paused. A chunk belongs to the receiver, who may keep and change it; several listeners
// of one socket share it. It holds at most 64 KiB of what came, or, after SetEncoding, whole
// characters as UTF-8 text. When the last listener has gone the socket holds what comes, as before
// the first. What Unshift has put back, and what Scan has left, may be longer. While OnRead, Scan,
// Chunks or BlockingConn is the consumer, nothing is registered and Listener.Err is ErrConsumed; Pipe
// shares. Node: data.
func (v SocketEvents) Data(fn func(chunk []byte)) Listener {
	if fn == nil {
		return Listener{err: ErrNilArgument}
	}
	s := v.socket()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.consumed("On.Data"); err != nil {
		return Listener{err: err}
	}
	e := s.events.add(*v.mode, kindData, fn)
	s.consumerAdded()
	return Listener{entry: e, of: s}
}

// Drain is emitted when the write queue has emptied after NeedDrain had become true, and not once
// End has been called. Node: drain.
func (v SocketEvents) Drain(fn func()) Listener {
	return v.register(kindDrain, fn == nil, fn)
}

// End is emitted once when the peer has ended its side and everything it sent was delivered. A
// socket without AllowHalfOpen ends its own side after the listeners have run; they may still
// write. Node: end.
func (v SocketEvents) End(fn func()) Listener {
	return v.register(kindEnd, fn == nil, fn)
}

// Error is emitted at most once, right before Close, when the socket failed or was destroyed with
// an error. With no listener, the error is logged and nothing crashes. Node: error.
func (v SocketEvents) Error(fn func(err error)) Listener {
	return v.register(kindError, fn == nil, fn)
}

// Finish is emitted once when this side has been ended and everything written was handed to the
// system. Node: finish.
func (v SocketEvents) Finish(fn func()) Listener {
	return v.register(kindFinish, fn == nil, fn)
}

// Lookup is emitted when a host name was resolved, once for each address, or has failed to
// resolve. Node: lookup.
func (v SocketEvents) Lookup(fn func(Lookup)) Listener {
	return v.register(kindLookup, fn == nil, fn)
}

// Ready is emitted directly after Connect. Node: ready.
func (v SocketEvents) Ready(fn func()) Listener {
	return v.register(kindReady, fn == nil, fn)
}

// SecureConnect is emitted when the TLS handshake is done, and TLS has what was agreed on; data comes after
// it, and what was written before leaves. It comes after Ready on a socket with TLSConfig, after StartTLS on
// either side, and on a wrapped *tls.Conn. On a server with TLSConfig Connection stands for it. Never
// without TLS. Node: secureConnect of tls.TLSSocket.
func (v SocketEvents) SecureConnect(fn func()) Listener {
	return v.register(kindSecureConnect, fn == nil, fn)
}

// Timeout is emitted when the socket was idle for the time given to SetTimeout. Nothing is closed;
// the next activity starts the time again. Node: timeout.
func (v SocketEvents) Timeout(fn func()) Listener {
	return v.register(kindTimeout, fn == nil, fn)
}

// Close is emitted once the server has stopped listening and the last socket it accepted has
// emitted its own Close. Node: close.
func (v ServerEvents) Close(fn func()) Listener {
	return v.register(kindClose, fn == nil, fn)
}

// Connection is emitted for each accepted socket, on that socket's loop. Nothing is read before the
// listeners have returned. With ServerOptions.TLSConfig it comes after the TLS handshake. Node: connection;
// secureConnection of tls.Server.
func (v ServerEvents) Connection(fn func(*Socket)) Listener {
	return v.register(kindConnection, fn == nil, fn)
}

// Drop is emitted for a connection that was closed because it exceeds MaxConnections,
// MaxConnectionsPerAddress or MaxConnectionRate, on the server's own loop. While that loop is blocked, up to
// 16,384 drops of the server's other loops wait for it; further ones are not emitted. Node: drop.
func (v ServerEvents) Drop(fn func(Drop)) Listener {
	return v.register(kindDrop, fn == nil, fn)
}

// Error is emitted when accepting failed. The server goes on listening and tries again after 5 ms,
// doubled up to 1 s while it fails. With no listener, the error is logged. Node: error.
func (v ServerEvents) Error(fn func(error)) Listener {
	return v.register(kindError, fn == nil, fn)
}

// Listening is emitted when the server has begun to listen, once Listen or Serve has returned.
// Node: listening.
func (v ServerEvents) Listening(fn func()) Listener {
	return v.register(kindListening, fn == nil, fn)
}

// TLSClientError is emitted when a connection to a server with TLSConfig has come to nothing before
// Connection: the peer does not speak TLS, is not trusted, has closed or reset the connection, or took
// too long; err says why and names the addresses. s is destroyed, and has but its Close to come; the server
// goes on. It comes in place of the socket's Error, on that socket's loop. A handshake that this side
// breaks off without an error, as CloseAllConnections does, is not told. With no listener, the error is
// logged. Node: tlsClientError.
func (v ServerEvents) TLSClientError(fn func(err error, s *Socket)) Listener {
	return v.register(kindTLSClientError, fn == nil, fn)
}
