package evnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"evnet/internal/eventloop"
	"evnet/internal/listen"
	"evnet/internal/ratelimit"
)

// Server accepts connections and emits a Socket for each. CreateServer and NewServer make one; the zero value is
// not usable.
//
// Any goroutine and any callback may call the methods. Only Shutdown may block. No method runs a callback before
// it returns.
//
// An error of an accepted socket stays on that socket. A server ends by Close, by Shutdown or by the end of its
// context; its last event is Close. Until then it keeps Loop.Run from returning, unless Unref was called. A server
// may listen again afterwards.
//
// Node: net.Server.
type Server struct {
	// On registers callbacks for each time, Once for the next time only, and Prepend before
	// those already registered.
	On, Once, Prepend ServerEvents

	opts         ServerOptions
	loop         *Loop // of the server's own events
	settings     []*settings
	members      []eventloop.Member // in the loops of settings
	pendingDrops atomic.Int32       // Drop events queued on loop

	// The rate limits of the log, for records about accepted sockets and for records about accepting. They are
	// separate, so that a flood of the former does not suppress the latter.
	log, acceptLog ratelimit.Log

	mu               sync.Mutex // guards the fields below; taken before the lock of a socket or a loop
	events           listeners
	lis              *listening // nil unless the server listens
	addr             net.Addr
	max              int
	live             socketTable // the accepted sockets, until their Close event
	count            int         // sockets in live that are not destroyed
	closePending     bool        // Close is emitted once nothing is open
	queuedCloses     int         // Close events queued on loop
	closingAcceptors int         // acceptors whose Close has not returned
	unreferenced     bool

	addresses map[netip.Addr]*addressCount // of MaxConnectionsPerAddress, by peer; no count is 0
	rate      ratelimit.Bucket             // of MaxConnectionRate

	afterClose []func() // of Shutdown; called once Close was emitted
}

// NewServer returns a server that does not listen yet. Nil options mean all defaults.
//
// Node: new net.Server.
func NewServer(opts *ServerOptions) *Server {
	s := &Server{}
	if opts != nil {
		s.opts = *opts
	}
	for _, l := range s.opts.Loops {
		if l != nil {
			s.settings = append(s.settings, s.socketSettings(l))
		}
	}
	if len(s.settings) == 0 {
		s.settings = []*settings{s.socketSettings(DefaultLoop)}
	}
	s.loop, s.members = s.settings[0].Loop, make([]eventloop.Member, len(s.settings))
	s.max, s.rate = s.opts.MaxConnections, newRate(s.opts.MaxConnectionRate)
	s.On = ServerEvents{s, modeOn}
	s.Once = ServerEvents{s, modeOnce}
	s.Prepend = ServerEvents{s, modePrepend}
	return s
}

// Listen binds and listens synchronously, and returns any error. network is "tcp", "tcp4", "tcp6" or "unix".
// address is host:port or a path; without a host it means all addresses, and with port 0 the kernel chooses one.
// "tcp6" accepts no IPv4 connections. If it succeeds, Listening is emitted, and onListening is called once unless
// it is nil.
//
// A path creates a socket file. A socket file that exists already, as a crash leaves it, is replaced if no socket
// is bound to it. Any other file stays, and the error is EADDRINUSE. Close removes the file immediately, if it is
// still the one that this server created. A path that is too long is EINVAL. On Linux a path that begins with "@"
// or a NUL byte is an abstract name, which has no file; elsewhere it is errors.ErrUnsupported.
//
// If Listen fails, nothing is open and no event follows. The error is a *net.OpError with the address. Its cause
// is ErrServerAlreadyListening if the server listens.
//
// Node: server.listen.
func (s *Server) Listen(network, address string, onListening func()) error {
	return s.ListenContext(context.Background(), network, address, onListening)
}

// ListenContext is Listen with a context: when ctx ends, the server is closed as by Close. If ctx has ended
// already, nothing is opened and the cause of the error is ctx.Err().
//
// Node: the signal option of server.listen.
func (s *Server) ListenContext(ctx context.Context, network, address string, onListening func()) error {
	fail := func(err error) error {
		op := &net.OpError{Op: "listen", Net: network, Addr: textAddr{network, address}, Err: err}
		var inner *net.OpError
		if errors.As(err, &inner) {
			*op = *inner
			if op.Addr == nil {
				op.Addr = textAddr{network, address}
			}
		}
		return op
	}
	if ctx == nil {
		return fail(nilArgument("ListenContext", "context"))
	}
	if s.Listening() {
		return fail(ErrServerAlreadyListening)
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return fail(net.UnknownNetworkError(network))
	}
	if network == "unix" && address == "" {
		return fail(&net.AddrError{Err: "missing path", Addr: address}) // the kernel would choose one
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if err := checkServerConfig(s.opts.TLSConfig); err != nil {
		return fail(err)
	}
	if err := checkZone(network, address); err != nil {
		return fail(err)
	}
	ln, err := listen.Listen(ctx, network, address, listen.Config{
		ReusePort:  s.opts.ReusePort,
		SocketMode: s.opts.SocketMode,
	})
	if err != nil {
		return fail(err)
	}
	if err := s.serve(ctx, ln, onListening); err != nil {
		_ = ln.Close()
		return fail(err)
	}
	return nil
}

// Serve accepts from ln, a listener of any kind, which belongs to the server from then on. It returns immediately
// and emits Listening. If the program closes ln itself, the server ends as described at Listener.
//
// It fails with ErrServerAlreadyListening if the server listens, and with syscall.EINVAL if ln is a socket that
// does not listen. Then ln still belongs to the caller.
//
// Methods of the accepted conns may block. RemoteAddr may wait for a header of the PROXY protocol, for example. Other
// connections do not wait for them. Connection is emitted once LocalAddr and RemoteAddr have returned. If they take
// longer than FirstByteTimeout, or without it than HandshakeTimeout, the conn is closed without an event. At most 4,096
// conns wait at the same time.
//
// To serve a descriptor, pass it to net.FileListener. The listener that it returns does not remove the file of a
// Unix socket.
//
// Node: server.listen with a handle or an fd.
func (s *Server) Serve(ln net.Listener) error {
	if ln == nil {
		return nilArgument("Serve", "listener")
	}
	err := listen.CheckListening(ln)
	if err == nil {
		err = checkServerConfig(s.opts.TLSConfig)
	}
	if err == nil {
		err = s.serve(context.Background(), ln, nil)
	}
	if err != nil {
		return &net.OpError{Op: "listen", Net: network(ln.Addr()), Addr: ln.Addr(), Err: err}
	}
	return nil
}

// serve makes the server accept from ln until Close or the end of ctx.
func (s *Server) serve(ctx context.Context, ln net.Listener, onListening func()) error {
	addr := ln.Addr() // without the lock, because it may panic
	lis := newListening(s, ln, addr)
	s.mu.Lock()
	err := s.startLocked(lis, addr, onListening)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	// Without the lock, because ctx may run the user's code. Close may be called before lis.unwatch is set.
	unwatch := context.AfterFunc(ctx, func() { _ = s.stop(lis, nil) })
	s.mu.Lock()
	current := s.lis == lis
	if current {
		lis.unwatch = unwatch
	}
	s.mu.Unlock()
	if !current {
		unwatch()
	}
	return nil
}

// startLocked adds the server to its loops and starts accepting. It does both under the lock, so that a loop that ends
// cannot close the server in between.
func (s *Server) startLocked(lis *listening, addr net.Addr, onListening func()) error {
	if s.lis != nil {
		return ErrServerAlreadyListening
	}
	for i, set := range s.settings {
		if !set.Loop.core().Add((*serverHandle)(s), &s.members[i], !s.unreferenced) {
			s.leaveLoopsLocked()
			return ErrLoopStopped
		}
	}
	s.lis, s.addr, s.closePending = lis, addr, false
	lis.watchLoops()
	s.loop.core().Post(func() { s.emitListening(lis, onListening) })
	s.spawnAcceptor(lis)
	return nil
}

// emitListening emits Listening, unless Close was called meanwhile.
func (s *Server) emitListening(lis *listening, onListening func()) {
	list, current := s.emittingOf(lis)
	if !current {
		return
	}
	s.loop.trace(s, TraceEvent{Name: EventListening})
	for _, e := range list {
		if fn, ok := callback[func()](e, s, kindListening); ok {
			fn()
		}
	}
	if onListening != nil {
		onListening()
	}
}

// emitting returns the listeners of the server's events.
func (s *Server) emitting() listeners {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// emittingOf is emitting, and reports whether lis is still the current period of listening.
func (s *Server) emittingOf(lis *listening) (list listeners, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.lis == lis
}

// Sockets returns the accepted sockets that are open, in no order. It includes those whose TLS handshake is not
// done: data written to them is sent after it.
func (s *Server) Sockets() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	sockets := make([]*Socket, 0, s.count)
	s.live.each(func(c *Socket) {
		if c.active {
			sockets = append(sockets, c)
		}
	})
	return sockets
}

// Address returns the address at which the server listens, or nil. A Unix server keeps its path after Close.
//
// Node: server.address.
func (s *Server) Address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Listener returns the listener that Listen has made, or that was passed to Serve. It is nil unless the server listens.
// Any goroutine may call it. The listener still belongs to the server, which accepts from it and closes it.
//
// The listener of "tcp" is a *net.TCPListener. The listener of a Unix path has the methods of a *net.UnixListener. A new
// process can inherit the result of its method File, and pass it to net.FileListener and Serve. Call
// SetUnlinkOnClose(false) first if the new process is to keep the socket file.
//
// A program may close the listener to end accepting without losing a connection: the server emits Error, with
// net.ErrClosed as the cause, then, unlike after Close, Connection for those that are already accepted, and then Close.
//
// Node has no counterpart.
func (s *Server) Listener() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lis == nil {
		return nil
	}
	return s.lis.acceptor.Listener()
}

// Connections returns the number of accepted sockets that are open.
//
// Node: server.getConnections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Listening reports whether the server listens.
//
// Node: server.listening.
func (s *Server) Listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lis != nil
}

// SetMaxConnections changes ServerOptions.MaxConnections. Open sockets stay open.
//
// Node: server.maxConnections.
func (s *Server) SetMaxConnections(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = n
}

// Ref makes the server keep Loop.Run from returning, as it does from the start.
//
// Node: server.ref.
func (s *Server) Ref() { s.setRef(true) }

// Unref lets Loop.Run return although the server listens.
//
// Node: server.unref.
func (s *Server) Unref() { s.setRef(false) }

func (s *Server) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreferenced = !referenced
	for i, set := range s.settings {
		set.Loop.core().SetRef(&s.members[i], referenced)
	}
}

// socketTable is a set of sockets. Each has a number of its own, from 1 on. The table needs less memory than a map, and
// the garbage collector scans it faster. The zero value is empty.
type socketTable struct {
	list []*Socket // by number - 1; nil if the number is free
	free []int32   // the free numbers
}

// len returns the number of sockets.
func (t *socketTable) len() int { return len(t.list) - len(t.free) }

// add adds s and returns its number.
func (t *socketTable) add(s *Socket) int32 {
	if n := len(t.free); n > 0 {
		at := t.free[n-1]
		t.free = t.free[:n-1]
		t.list[at-1] = s
		return at
	}
	t.list = append(t.list, s)
	return int32(len(t.list))
}

// remove removes the socket with that number, and releases the memory of an empty table.
func (t *socketTable) remove(number int32) {
	t.list[number-1] = nil
	t.free = append(t.free, number)
	if t.len() == 0 {
		*t = socketTable{}
	}
}

// each calls fn for every socket.
func (t *socketTable) each(fn func(*Socket)) {
	for _, s := range t.list {
		if s != nil {
			fn(s)
		}
	}
}
