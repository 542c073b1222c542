package trust

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"evnet"

	"github.com/stretchr/testify/require"
)

// effect is what a panic in a callback affects.
type effect int

const (
	live     effect = iota // a live socket: it is destroyed, and the panic is its error
	ended                  // a socket that has ended or failed: its error stays
	noSocket               // no socket
	supplied               // a socket: the callback runs on another goroutine, and its panic is always contained
)

// callbackKind is one kind of callback. arrange makes it call st.boom.
type callbackKind struct {
	effect    effect
	onDefault bool // it only works with DefaultLoop
	arrange   func(st *stage)
}

var errCause = errors.New("a cause")

// kinds are all kinds of callbacks, by the type and method that sets them.
var kinds = map[string]callbackKind{
	"SocketEvents.Close": {effect: ended, arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.On.Close(func(bool) { st.boom() })
		st.victim.Destroy(nil)
	}},
	"SocketEvents.Connect": {arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{})
		st.victim = s
		s.On.Connect(st.boom)
		s.Connect("tcp", address)
	}},
	"SocketEvents.ConnectionAttempt": {arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{})
		st.victim = s
		s.On.ConnectionAttempt(func(evnet.Attempt) { st.boom() })
		s.Connect("tcp", address)
	}},
	"SocketEvents.ConnectionAttemptFailed": {arrange: func(st *stage) {
		st.victim = st.socket(evnet.SocketOptions{})
		st.victim.On.ConnectionAttemptFailed(func(evnet.Attempt, error) { st.boom() })
		st.victim.Connect("tcp", refusedAddress(st.t))
	}},
	"SocketEvents.ConnectionAttemptTimeout": {arrange: func(st *stage) {
		st.victim = st.socket(evnet.SocketOptions{Resolver: loopback(2), AttemptDelay: 1, Dialer: &net.Dialer{
			ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error { <-ctx.Done(); return ctx.Err() },
		}})
		st.victim.On.ConnectionAttemptTimeout(func(evnet.Attempt) { st.boom() })
		st.victim.Connect("tcp", "name.example:9")
	}},
	"SocketEvents.Data": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		s.On.Data(func([]byte) { st.boom() })
		_, _ = peer.WriteString("x")
	}},
	"SocketEvents.Drain": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.On.Drain(st.boom)
		_, _ = st.victim.Write(make([]byte, 8<<20))
	}},
	"SocketEvents.End": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		s.Resume()
		s.On.End(st.boom)
		peer.End()
	}},
	"SocketEvents.Error": {effect: ended, arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.On.Error(func(error) { st.boom() })
		st.victim.Destroy(errCause)
	}},
	"SocketEvents.Finish": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.On.Finish(st.boom)
		st.victim.End()
	}},
	"SocketEvents.Lookup": {arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{Resolver: loopback(1)})
		st.victim = s
		s.On.Lookup(func(evnet.Lookup) { st.boom() })
		s.Connect("tcp", named(address))
	}},
	"SocketEvents.Ready": {arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{})
		st.victim = s
		s.On.Ready(st.boom)
		s.Connect("tcp", address)
	}},
	"SocketEvents.SecureConnect": {arrange: func(st *stage) {
		st.victim = secure(st, func() {})
		st.victim.On.SecureConnect(st.boom)
	}},
	"SocketEvents.Timeout": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.On.Timeout(st.boom)
		require.NoError(st.t, st.victim.SetTimeout(1))
	}},

	"ServerEvents.Close": {effect: noSocket, arrange: func(st *stage) {
		server, _ := st.server(evnet.ServerOptions{}, func(*evnet.Socket) {})
		server.On.Close(st.boom)
		_ = server.Close(nil)
	}},
	"ServerEvents.Connection": {arrange: func(st *stage) {
		_, address := st.server(evnet.ServerOptions{}, func(s *evnet.Socket) { st.victim = s; st.boom() })
		st.socket(evnet.SocketOptions{}).Connect("tcp", address)
	}},
	"ServerEvents.Drop": {effect: noSocket, arrange: func(st *stage) {
		server, address := st.server(evnet.ServerOptions{MaxConnections: -1}, func(*evnet.Socket) {})
		server.On.Drop(func(evnet.Drop) { st.boom() })
		st.socket(evnet.SocketOptions{}).Connect("tcp", address)
	}},
	"ServerEvents.Error": {effect: noSocket, arrange: func(st *stage) {
		server := st.bare(evnet.ServerOptions{})
		server.On.Error(func(error) { st.boom() })
		require.NoError(st.t, server.Serve(newFlaky(st)))
	}},
	"ServerEvents.TLSClientError": {effect: ended, arrange: func(st *stage) {
		server, address := st.server(evnet.ServerOptions{TLSConfig: selfSigned()}, func(*evnet.Socket) {})
		server.On.TLSClientError(func(_ error, s *evnet.Socket) { st.victim = s; st.boom() })
		s := st.socket(evnet.SocketOptions{})
		s.On.Connect(func() { _, _ = s.WriteString("plain text") })
		s.Connect("tcp", address)
	}},
	"ServerEvents.Connection, after a handshake": {arrange: func(st *stage) {
		_, address := st.server(evnet.ServerOptions{TLSConfig: selfSigned()}, func(s *evnet.Socket) { st.victim = s; st.boom() })
		st.socket(evnet.SocketOptions{TLSConfig: &tls.Config{InsecureSkipVerify: true}}).Connect("tcp", address)
	}},
	"SocketEvents.SecureConnect, after StartTLS": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		s.On.SecureConnect(st.boom)
		require.NoError(st.t, errors.Join(s.StartTLS(&tls.Config{InsecureSkipVerify: true}), peer.StartTLSServer(selfSigned())))
	}},
	"ServerEvents.Listening": {effect: noSocket, arrange: func(st *stage) {
		server := st.bare(evnet.ServerOptions{})
		server.On.Listening(st.boom)
		require.NoError(st.t, server.Listen("tcp", "127.0.0.1:0", nil))
	}},

	"Server.Listen": {effect: noSocket, arrange: func(st *stage) {
		require.NoError(st.t, st.bare(evnet.ServerOptions{}).Listen("tcp", "127.0.0.1:0", st.boom))
	}},
	"Server.ListenContext": {effect: noSocket, arrange: func(st *stage) {
		require.NoError(st.t, st.bare(evnet.ServerOptions{}).ListenContext(context.Background(), "tcp", "127.0.0.1:0", st.boom))
	}},
	"Server.Close": {effect: noSocket, arrange: func(st *stage) {
		server, _ := st.server(evnet.ServerOptions{}, func(*evnet.Socket) {})
		_ = server.Close(st.boom)
	}},
	"Socket.OnRead": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		require.NoError(st.t, s.OnRead(func([]byte) bool { st.boom(); return true }))
		_, _ = peer.WriteString("x")
	}},
	"Socket.Scan, the function": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		require.NoError(st.t, s.Scan(nil, 0, func([]byte) { st.boom() }))
		_, _ = peer.WriteString("a\nb\n")
	}},
	"Socket.Scan, split": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		split := func(data []byte, atEOF bool) (int, []byte, error) { st.boom(); return bufio.ScanLines(data, atEOF) }
		require.NoError(st.t, s.Scan(split, 0, func([]byte) {}))
		_, _ = peer.WriteString("a\nb\n")
	}},
	"Socket.WriteThen": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.WriteThen([]byte("x"), func(error) { st.boom() })
	}},
	"Socket.Produce, next": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.Produce(func() ([]byte, bool) { st.boom(); return nil, false }, nil)
	}},
	"Socket.Produce, done": {arrange: func(st *stage) {
		st.victim, _ = st.pair()
		st.victim.Produce(func() ([]byte, bool) { return nil, false }, func(error) { st.boom() })
	}},
	"Socket.Pipe": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		s.Pipe(writer(func(p []byte) (int, error) { st.boom(); return len(p), nil }))
		_, _ = peer.WriteString("x")
	}},
	"Loop.SetTracer": {arrange: func(st *stage) {
		s, peer := st.pair()
		st.victim = s
		s.Resume()
		st.l.SetTracer(func(ev evnet.TraceEvent) {
			if ev.Source == s && ev.Name == evnet.EventData {
				st.l.SetTracer(nil)
				st.boom()
			}
		})
		_, _ = peer.WriteString("x")
	}},
	"Loop.Post": {effect: noSocket, arrange: func(st *stage) { st.l.Post(st.boom) }},
	"Loop.Do": {effect: noSocket, arrange: func(st *stage) {
		began := make(chan struct{})
		st.l.Post(func() { close(began) })
		aside(st.l, func() { <-began; st.l.Do(st.boom) })
	}},
	"Loop.Do, in a callback": {effect: noSocket, arrange: func(st *stage) { st.l.Post(func() { st.l.Do(st.boom) }) }},
	"Loop.AfterFunc":         {effect: noSocket, arrange: func(st *stage) { st.l.AfterFunc(time.Millisecond, st.boom) }},

	"Relay": {effect: noSocket, arrange: func(st *stage) {
		a, _ := st.pair()
		b, _ := st.pair()
		evnet.Relay(a, b, func(error) { st.boom() })
		a.Destroy(nil)
	}},
	"Connect": {onDefault: true, arrange: func(st *stage) {
		_, address := st.server(evnet.ServerOptions{}, func(*evnet.Socket) {})
		st.victim = evnet.Connect("tcp", address, st.boom)
		st.victim.On.Error(func(error) {})
		st.later(func() { st.victim.Destroy(nil) })
	}},
	"CreateServer": {onDefault: true, arrange: func(st *stage) {
		server := evnet.CreateServer(func(s *evnet.Socket) {
			st.victim = s
			s.On.Error(func(error) {})
			st.boom()
		})
		require.NoError(st.t, server.Listen("tcp", "127.0.0.1:0", nil))
		st.later(func() { _ = server.Close(nil); server.CloseAllConnections() })
		st.socket(evnet.SocketOptions{}).Connect("tcp", server.Address().String())
	}},

	"Resolver": {effect: supplied, arrange: func(st *stage) {
		st.victim = st.socket(evnet.SocketOptions{Resolver: answers(func(ctx context.Context) ([]netip.Addr, error) {
			st.boom()
			return loopback(1)(ctx)
		})})
		st.victim.Connect("tcp", "name.example:9")
	}},
	"Dialer.Control": {effect: supplied, arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{Dialer: &net.Dialer{
			Control: func(string, string, syscall.RawConn) error { st.boom(); return nil },
		}})
		st.victim = s
		s.Connect("tcp", address)
	}},
	"Dialer.ControlContext": {effect: supplied, arrange: func(st *stage) {
		s, address := st.client(evnet.SocketOptions{Dialer: &net.Dialer{
			ControlContext: func(context.Context, string, string, syscall.RawConn) error { st.boom(); return nil },
		}})
		st.victim = s
		s.Connect("tcp", address)
	}},
	"tls.Config, in the handshake": {effect: supplied, arrange: func(st *stage) { st.victim = secure(st, st.boom) }},

	"Logger of a socket that failed": {effect: ended, arrange: func(st *stage) {
		st.victim = st.socket(evnet.SocketOptions{Logger: logging(st.boom).logger()})
		st.victim.Destroy(errCause)
	}},
	"Logger of a pipe that failed": {arrange: func(st *stage) {
		a, b := pair(st.t)
		st.victim = evnet.Wrap(a, &evnet.SocketOptions{Loop: st.l, Logger: logging(st.boom).logger()})
		st.victim.On.Error(func(error) {})
		st.victim.On.Data(func([]byte) {}) // otherwise the socket fails, and nothing is logged
		peer := wrap(st.l, b)
		st.later(func() { st.victim.Destroy(nil); peer.Destroy(nil) })
		st.victim.Pipe(writer(func([]byte) (int, error) { return 0, errCause }))
		_, _ = peer.WriteString("x")
	}},
	"Logger of a server that cannot accept": {effect: noSocket, arrange: func(st *stage) {
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{st.l}, Logger: logging(st.boom).logger()})
		st.later(func() { _ = server.Close(nil) })
		require.NoError(st.t, server.Serve(newFlaky(st)))
	}},
	"Logger of a server that cannot close": {effect: noSocket, arrange: func(st *stage) {
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{st.l}, Logger: logging(st.boom).logger()})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(st.t, err)
		require.NoError(st.t, server.Serve(failingClose{ln}))
		st.l.Post(func() { _ = server.Close(nil) })
	}},
	"BlockList, checking a peer's address": {effect: noSocket, arrange: func(st *stage) {
		server := st.bare(evnet.ServerOptions{BlockList: new(evnet.BlockList)})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(st.t, err)
		require.NoError(st.t, server.Serve(hookedAddrListener{ln, st.boom}))
		s := st.socket(evnet.SocketOptions{})
		s.Connect("tcp", ln.Addr().String())
	}},
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// secure returns a socket whose handshake calls a function.
func secure(st *stage, shake func()) *evnet.Socket {
	a, b := pair(st.t)
	s, peer := wrap(st.l, shaking{a, shake}), wrap(st.l, b)
	st.later(func() { s.Destroy(nil); peer.Destroy(nil) })
	s.On.Error(func(error) {})
	return s
}

// shaking is a conn with a handshake, like *tls.Conn.
type shaking struct {
	net.Conn
	shake func()
}

func (c shaking) HandshakeContext(context.Context) error { c.shake(); return nil }

// flaky is a listener whose first Accept fails.
type flaky struct {
	net.Listener
	once sync.Once
}

func newFlaky(st *stage) *flaky {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(st.t, err)
	return &flaky{Listener: ln}
}

func (ln *flaky) Accept() (conn net.Conn, err error) {
	ln.once.Do(func() { err = syscall.EMFILE })
	if err != nil {
		return nil, err
	}
	return ln.Listener.Accept()
}

// failingClose is a listener that closes, but returns an error.
type failingClose struct{ net.Listener }

func (ln failingClose) Close() error { return errors.Join(errCause, ln.Listener.Close()) }

// hookedAddrListener accepts conns whose remote address calls a function in its String method.
type hookedAddrListener struct {
	net.Listener
	hook func()
}

func (ln hookedAddrListener) Accept() (net.Conn, error) {
	c, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return hookedAddrConn{c, ln.hook}, nil
}

type hookedAddrConn struct {
	net.Conn
	hook func()
}

func (c hookedAddrConn) RemoteAddr() net.Addr { return hookedAddr{c.Conn.RemoteAddr(), c.hook} }

type hookedAddr struct {
	net.Addr
	hook func()
}

func (a hookedAddr) String() string { a.hook(); return a.Addr.String() }
