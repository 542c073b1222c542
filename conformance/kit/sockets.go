package kit

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TLSSockets are two sockets connected by TLS over TCP.
func TLSSockets(t testing.TB, l *evnet.Loop) (client, server *evnet.Socket) {
	c, s := evtest.TLSPair(t)
	opts := &evnet.SocketOptions{Loop: l}
	return evnet.Wrap(c, opts), evnet.Wrap(s, opts)
}

// Feed wraps a conn whose other end sends each part as one chunk, and then ends.
func Feed(l *evnet.Loop, parts ...string) *evnet.Socket {
	here, there := net.Pipe()
	go func() {
		for _, p := range parts {
			if _, err := io.WriteString(there, p); err != nil {
				break
			}
		}
		_ = there.Close()
	}()
	return evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
}

// Run runs the loop until nothing is open on it. A loop that never ends is a failure with every
// goroutine's stack.
func Run(t testing.TB, l *evnet.Loop) {
	t.Helper()
	hung := time.AfterFunc(evtest.Patience, func() { panic(t.Name() + ": Loop.Run does not return") })
	defer hung.Stop()
	l.Run()
	require.Zero(t, l.Buffered(), "buffered bytes are still accounted to the loop")
}

// Serve makes a server on l that listens on a free port of 127.0.0.1.
func Serve(t testing.TB, l *evnet.Loop, opts *evnet.ServerOptions, onConnection func(*evnet.Socket)) (*evnet.Server, string) {
	t.Helper()
	var o evnet.ServerOptions
	if opts != nil {
		o = *opts
	}
	if o.Loops == nil {
		o.Loops = []*evnet.Loop{l}
	}
	s := evnet.NewServer(&o)
	if onConnection != nil {
		s.On.Connection(onConnection)
	}
	require.NoError(t, s.Listen("tcp", "127.0.0.1:0", nil))
	return s, s.Address().String()
}

// NewClient makes a socket on l that is not connected yet.
func NewClient(l *evnet.Loop) *evnet.Socket {
	return evnet.NewSocket(&evnet.SocketOptions{Loop: l})
}

// AwaitRunning returns once each of the loops runs. A server passes connections only to loops that run.
func AwaitRunning(loops ...*evnet.Loop) {
	for _, l := range loops {
		running := make(chan struct{})
		l.Post(func() { close(running) })
		<-running
	}
}

// RunAll runs the loops until all of them return.
func RunAll(t *testing.T, loops []*evnet.Loop) {
	var others sync.WaitGroup
	for _, l := range loops[1:] {
		others.Go(func() { Run(t, l) })
	}
	Run(t, loops[0])
	others.Wait()
}

// Meet makes one connection on l, from a client to a server that accepts no other. Both callbacks may
// be nil; accepted is called on Connection, connecting before Connect.
func Meet(t testing.TB, l *evnet.Loop, accepted, connecting func(*evnet.Socket)) {
	t.Helper()
	var server *evnet.Server
	server, addr := Serve(t, l, nil, func(s *evnet.Socket) {
		_ = server.Close(nil)
		if accepted != nil {
			accepted(s)
		}
	})
	c := NewClient(l)
	if connecting != nil {
		connecting(c)
	}
	c.Connect("tcp", addr)
}

// Echo sends back what s receives.
func Echo(s *evnet.Socket) { s.Pipe(s) }

// ConnectPair calls ready on the loop once a client and the accepted socket are both connected. The server has
// stopped listening by then.
func ConnectPair(t testing.TB, l *evnet.Loop, of *evnet.SocketOptions, accepted *evnet.ServerOptions, ready func(c, a *evnet.Socket)) {
	t.Helper()
	var o evnet.SocketOptions
	if of != nil {
		o = *of
	}
	o.Loop = l
	c := evnet.NewSocket(&o)
	var a *evnet.Socket
	missing := 2
	arrive := func() {
		if missing--; missing == 0 {
			ready(c, a)
		}
	}
	var s *evnet.Server
	s, addr := Serve(t, l, accepted, func(x *evnet.Socket) {
		a = x
		assert.NoError(t, s.Close(nil))
		arrive()
	})
	c.Once.Ready(arrive)
	c.Connect("tcp", addr)
}

// Aside runs fn on its own goroutine. The loop waits for it.
func Aside(l *evnet.Loop, fn func()) {
	l.Ref()
	go func() {
		defer l.Unref()
		fn()
	}()
}

// Greeter is a server on l that sends name to each client.
func Greeter(l *evnet.Loop, name string, opts *evnet.ServerOptions) *evnet.Server {
	var o evnet.ServerOptions
	if opts != nil {
		o = *opts
	}
	o.Loops = []*evnet.Loop{l}
	s := evnet.NewServer(&o)
	s.On.Connection(func(c *evnet.Socket) {
		_, _ = c.WriteString(name)
		c.End()
	})
	return s
}

// Consume reads and discards what s receives.
func Consume(s *evnet.Socket) { s.On.Data(func([]byte) {}) }

// SetTracer calls fn for every event of the loop, with the arguments that a callback gets.
func SetTracer(l *evnet.Loop, fn func(emitter any, event string, args ...any)) {
	l.SetTracer(func(ev evnet.TraceEvent) {
		var args []any
		switch ev.Name {
		case evnet.EventConnection:
			args = []any{ev.Socket}
		case evnet.EventConnectionAttempt, evnet.EventConnectionAttemptTimeout:
			args = []any{ev.Attempt}
		case evnet.EventConnectionAttemptFailed:
			args = []any{ev.Attempt, ev.Err}
		case evnet.EventClose:
			if _, ok := ev.Source.(*evnet.Socket); ok {
				args = []any{ev.HadError}
			}
		case evnet.EventData:
			args = []any{ev.Chunk}
		case evnet.EventDrop:
			args = []any{ev.Drop}
		case evnet.EventError:
			args = []any{ev.Err}
		case evnet.EventLookup:
			args = []any{ev.Lookup}
		case evnet.EventTLSClientError:
			args = []any{ev.Err, ev.Socket}
		}
		fn(ev.Source, string(ev.Name), args...)
	})
}

// WrapPipe returns a socket over net.Pipe and its blocking peer.
func WrapPipe(l *evnet.Loop, of evnet.SocketOptions) (*evnet.Socket, net.Conn) {
	here, there := net.Pipe()
	of.Loop = l
	return evnet.Wrap(here, &of), there
}
