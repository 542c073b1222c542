package evnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"evnet/internal/fifo"
	"evnet/internal/listen"
	"evnet/internal/ratelimit"
)

// Server accepts connections and emits a Socket for each. CreateServer and NewServer make one; the
// zero value is not usable.
//
// Every method may be called from any goroutine and from inside any callback; none blocks (but for
// Shutdown, which says so), and none runs a callback before it returns. An error of an accepted
// socket stays on that socket. A server ends by Close, Shutdown or the end of its context; its last
// event is Close. Until then it keeps Loop.Run going, unless Unref was called. It may listen again
// afterwards. Node: net.Server.
type Server struct {
	// On registers callbacks for every time, Once for the next time only, and Prepend before
	// those registered already.
	On, Once, Prepend ServerEvents

	opts     ServerOptions
	loop     *Loop // of the server's own events
	settings []*settings
	drops    atomic.Int32 // that wait to be told

	// The limits of the records about accepted sockets, and of those about accepting, which no flood of
	// the former suppresses.
	log, acceptLog ratelimit.Log

	mu      sync.Mutex // guards everything below; taken before a socket's lock or a loop's, never after one
	events  listeners
	lis     *listening // nil unless listening
	addr    net.Addr
	max     int
	live    slots // accepted, until their Close
	count   int   // of those that are not destroyed
	closing bool  // Close is to be emitted when all is closed
	due     int   // Close events that the loop is to emit
	ending  int   // listeners that are being closed
	unref   bool

	addresses map[netip.Addr]*addressCount // of MaxConnectionsPerAddress: count by the peer, never 0
	rate      ratelimit.Bucket             // of MaxConnectionRate

	afterClose []func() // of Shutdown
}

// listening is one period of listening.
type listening struct {
	ln      net.Listener
	closed  chan struct{}
	unwatch func() bool
	waiting waiting
	arrive  []func() // for each of the loops
}

// NewServer makes a server that does not listen yet. nil means all defaults. Node: new net.Server.
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
	s.loop = s.settings[0].Loop
	s.max, s.rate = s.opts.MaxConnections, newRate(s.opts.MaxConnectionRate)
	s.On = ServerEvents{s, modeOn}
	s.Once = ServerEvents{s, modeOnce}
	s.Prepend = ServerEvents{s, modePrepend}
	return s
}

// Listen binds and listens before it returns. network is "tcp", "tcp4", "tcp6" or "unix"; address
// is host:port (no host: all addresses; port 0: one that is free) or the path. Then Listening is
// emitted, and onListening called once, if it is not nil. "tcp6" takes no IPv4 connections.
//
// A path makes a file. A socket file that is there already is replaced if nobody is bound to it, as
// one that a crash has left; anything else stays, and is EADDRINUSE. Closing removes the file at
// once, if it still is the one that this server has made. On Linux a path that begins with "@" or a
// NUL byte is an abstract name, which has no file; elsewhere it is errors.ErrUnsupported. A path that
// is too long is EINVAL.
//
// If it fails nothing is open and no event follows: the error names the address and is a
// *net.OpError, or ErrServerAlreadyListening. Node: server.listen.
func (s *Server) Listen(network, address string, onListening func()) error {
	return s.ListenContext(context.Background(), network, address, onListening)
}

// ListenContext is Listen with a context: when ctx ends the server is closed, as by Close. If it
// has ended already, nothing is opened and the error is ctx.Err(). Node: the signal option.
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
		return fail(&net.AddrError{Err: "missing path", Addr: address}) // the system would choose one
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if err := checkServes(s.opts.TLSConfig); err != nil {
		return fail(err)
	}
	ln, err := listen.Listen(ctx, network, address, listen.Config{ReusePort: s.opts.ReusePort, SocketMode: s.opts.SocketMode})
	if err != nil {
		return fail(err)
	}
	if err := s.serve(ctx, ln, onListening); err != nil {
		_ = ln.Close()
		return fail(err)
	}
	return nil
}

// Serve makes the server accept from ln, a listener of any kind, which belongs to it from then on.
// It returns at once; accepting goes on. Listening is emitted. If the server listens already, it
// returns ErrServerAlreadyListening, and if ln is a socket that does not listen an error that is
// syscall.EINVAL; then ln is left alone. To serve a descriptor, give it to net.FileListener, whose
// listener does not remove a Unix socket's file. Node: server.listen with a handle or an fd.
func (s *Server) Serve(ln net.Listener) error {
	if ln == nil {
		return nilArgument("Serve", "listener")
	}
	err := listen.CheckListens(ln)
	if err == nil {
		err = checkServes(s.opts.TLSConfig)
	}
	if err == nil {
		err = s.serve(context.Background(), ln, nil)
	}
	if err != nil {
		return &net.OpError{Op: "listen", Net: network(ln.Addr()), Addr: ln.Addr(), Err: err}
	}
	return nil
}

func (s *Server) serve(ctx context.Context, ln net.Listener, onListening func()) error {
	addr := ln.Addr() // without the lock, for it may panic
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lis != nil {
		return ErrServerAlreadyListening
	}
	for _, set := range s.settings {
		if !set.Loop.add(s, !s.unref) {
			s.leaveLoops()
			return ErrLoopStopped
		}
	}
	lis := &listening{ln: ln, closed: make(chan struct{})}
	lis.waiting.queues, lis.waiting.room = make([]fifo.Queue[net.Conn], len(s.settings)), make(chan struct{}, 1)
	for i := range s.settings {
		lis.arrive = append(lis.arrive, s.arrival(lis, i))
	}
	lis.unwatch = context.AfterFunc(ctx, func() { _ = s.stop(lis, nil) })
	s.lis, s.addr, s.closing = lis, addr, false
	s.loop.tick(func() { s.emitListening(lis, onListening) })
	s.spawnAccept(lis)
	return nil
}

// emitListening leaves out what Close has overtaken.
func (s *Server) emitListening(lis *listening, onListening func()) {
	s.mu.Lock()
	current := s.lis == lis
	list := s.events
	s.mu.Unlock()
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

// Sockets are the accepted sockets that are open, in no order, with those whose TLS handshake is not done
// yet: what is written to them leaves after it.
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

// Address is where the server listens, nil when it does not; a Unix server keeps its path after
// Close. Node: server.address.
func (s *Server) Address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Connections is how many accepted sockets are open. Node: server.getConnections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Listening reports whether the server listens. Node: server.listening.
func (s *Server) Listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lis != nil
}

// SetMaxConnections changes ServerOptions.MaxConnections; open sockets stay. Node:
// server.maxConnections.
func (s *Server) SetMaxConnections(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = n
}

// Ref makes the server keep Loop.Run going, which it does from the start. Node: server.ref.
func (s *Server) Ref() { s.setRef(true) }

// Unref lets Loop.Run return although the server listens. Node: server.unref.
func (s *Server) Unref() { s.setRef(false) }

func (s *Server) setRef(referenced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref = !referenced
	for _, set := range s.settings {
		set.Loop.setRef(s, referenced)
	}
}
