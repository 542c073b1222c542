package trust

import (
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every method is called in every callback. A new method or callback fails this test until it is added to the tables.
func TestEverywhereIsComplete(t *testing.T) {
	for _, name := range callbackMethods() {
		assert.True(t, isCovered(name, callbacks) || isCovered(name, tlsCallbacks), "no test for the callback of %s", name)
	}
	for _, m := range methods {
		of := reflect.TypeOf(m.of)
		for i := range of.NumMethod() {
			assert.Contains(t, m.calls, of.Method(i).Name, "%v", of)
		}
		assert.Equal(t, of.NumMethod(), len(m.calls), "%v", of)
	}
}

// callbacks are the callbacks in which a program's code runs on a loop. Each arranges that fn is called once from
// there. The socket is a client that sends 20,000 bytes and reads them back.
var callbacks = map[string]func(p *place, fn func()){
	"SocketEvents.Lookup":            func(p *place, fn func()) { p.s.On.Lookup(func(evnet.Lookup) { fn() }) },
	"SocketEvents.ConnectionAttempt": func(p *place, fn func()) { p.s.On.ConnectionAttempt(func(evnet.Attempt) { fn() }) },
	"SocketEvents.Connect":           func(p *place, fn func()) { p.s.On.Connect(fn) },
	"SocketEvents.Ready":             func(p *place, fn func()) { p.s.On.Ready(fn) },
	"SocketEvents.Data":              func(p *place, fn func()) { p.s.On.Data(func([]byte) { fn() }) },
	"SocketEvents.Drain":             func(p *place, fn func()) { p.s.On.Drain(fn) },
	"SocketEvents.Timeout": func(p *place, fn func()) {
		p.stays = true
		_ = p.s.SetTimeout(1)
		p.s.On.Timeout(func() { fn(); p.s.End() })
	},
	"SocketEvents.End":    func(p *place, fn func()) { p.s.On.End(fn) },
	"SocketEvents.Finish": func(p *place, fn func()) { p.s.On.Finish(fn) },
	"SocketEvents.Error": func(p *place, fn func()) {
		p.s.On.Error(func(error) { fn() })
		p.s.On.Data(func([]byte) { p.s.Destroy(io.EOF) })
	},
	"SocketEvents.Close": func(p *place, fn func()) { p.s.On.Close(func(bool) { fn() }) },
	"Socket.WriteThen":   func(p *place, fn func()) { p.s.On.Connect(func() { p.s.WriteThen([]byte("x"), func(error) { fn() }) }) },
	"Socket.Produce, next": func(p *place, fn func()) {
		p.stays = true
		p.s.On.Connect(func() { p.s.Produce(func() ([]byte, bool) { fn(); p.s.End(); return nil, false }, func(error) {}) })
	},
	"Socket.Produce, done": func(p *place, fn func()) {
		p.s.On.Connect(func() { p.s.Produce(func() ([]byte, bool) { return []byte("x"), false }, func(error) { fn() }) })
	},
	"Socket.OnRead":             func(p *place, fn func()) { _ = p.s.OnRead(func([]byte) bool { fn(); return true }) },
	"Socket.Scan, the function": func(p *place, fn func()) { _ = p.s.Scan(byBytes, 0, func([]byte) { fn() }) },
	"Socket.Scan, split": func(p *place, fn func()) {
		_ = p.s.Scan(func(d []byte, e bool) (int, []byte, error) { fn(); return byBytes(d, e) }, 0, func([]byte) {})
	},
	"Socket.Pipe":             func(p *place, fn func()) { p.s.Pipe(writer(func(b []byte) (int, error) { fn(); return len(b), nil })) },
	"Loop.Post":               func(p *place, fn func()) { p.l.Post(fn) },
	"Loop.AfterFunc":          func(p *place, fn func()) { p.timer = p.l.AfterFunc(0, fn); p.timer.Unref() },
	"ServerEvents.Listening":  func(p *place, fn func()) { p.server.On.Listening(fn) },
	"ServerEvents.Connection": func(p *place, fn func()) { p.server.On.Connection(func(*evnet.Socket) { fn() }) },
	"ServerEvents.Close":      func(p *place, fn func()) { p.server.On.Close(fn) },
	"Relay":                   func(p *place, fn func()) { relayed(p, fn) },
	"Loop.SetTracer":          func(p *place, fn func()) { p.l.SetTracer(func(evnet.TraceEvent) { fn() }) },
	"SocketEvents.ConnectionAttemptFailed": func(p *place, fn func()) {
		p.twoHosts(func(context.Context) error { return syscall.EHOSTUNREACH })
		p.s.On.ConnectionAttemptFailed(func(evnet.Attempt, error) { fn() })
	},
	"SocketEvents.ConnectionAttemptTimeout": func(p *place, fn func()) {
		p.options.AttemptDelay = 1
		reported, cancel := context.WithCancel(p.t.Context())
		p.twoHosts(func(ctx context.Context) error { // the attempt continues until its timeout was reported
			context.AfterFunc(ctx, cancel)
			<-reported.Done()
			return syscall.EHOSTUNREACH
		})
		p.s.On.ConnectionAttemptTimeout(func(evnet.Attempt) { fn(); cancel() })
	},
	"ServerEvents.Drop": func(p *place, fn func()) {
		p.server.SetMaxConnections(-1)
		p.server.On.Drop(func(evnet.Drop) { fn() })
	},
	"ServerEvents.Error": func(p *place, fn func()) {
		p.listen = func() error { return p.server.Serve(newFlaky(&stage{t: p.t})) }
		p.server.On.Error(func(error) { fn() })
	},
	"Server.Listen": func(p *place, fn func()) {
		p.listen = func() error { return p.server.Listen("tcp", "127.0.0.1:0", fn) }
	},
	"Server.ListenContext": func(p *place, fn func()) {
		p.listen = func() error { return p.server.ListenContext(p.t.Context(), "tcp", "127.0.0.1:0", fn) }
	},
	"Server.Close": func(p *place, fn func()) { p.s.On.Connect(func() { _ = p.server.Close(fn) }) },
	"Loop.Do":      func(p *place, fn func()) { p.l.Post(func() { p.l.Do(fn) }) },
	"Loop.OnPanic": func(p *place, fn func()) {
		p.l.OnPanic(func(*evnet.PanicError) { fn() })
		p.s.On.Data(func([]byte) { panic(errPanic) })
	},
}

// twoHosts makes the client try another address first. fn decides the result of that attempt. Then the client tries
// the server's address.
func (p *place) twoHosts(fn func(ctx context.Context) error) {
	p.options.Resolver = addresses{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")}
	p.options.Dialer = &net.Dialer{ControlContext: func(ctx context.Context, _, to string, _ syscall.RawConn) error {
		if strings.HasPrefix(to, "127.0.0.2:") {
			return fn(ctx)
		}
		return nil
	}}
	p.socket()
}

func byBytes(data []byte, _ bool) (int, []byte, error) {
	if len(data) == 0 {
		return 0, nil, nil
	}
	return len(data), data, nil
}

// relayed makes a relay whose peers close immediately.
func relayed(p *place, fn func()) {
	a, peerA := net.Pipe()
	b, peerB := net.Pipe()
	evnet.Relay(wrap(p.l, a), wrap(p.l, b), func(error) { fn() })
	_, _ = peerA.Close(), peerB.Close()
}

// Every method may be called in every callback.
func TestEverywhere(t *testing.T) {
	named := 0
	for _, m := range methods {
		named += len(m.calls)
	}
	t.Logf("%d callbacks, %d methods", len(callbacks), named)
	onEach(t, func(t *testing.T) { callAll(t, callbacks, nil) })
}

// callAll calls every method in every callback. The short form calls each pair on one transport only. It still tests
// every callback and every method on both transports.
func callAll(t *testing.T, callbacks map[string]func(*place, func()), config *tls.Config) {
	tests := map[string]func(t *testing.T){} // they mostly wait for their connections
	for i, where := range slices.Sorted(maps.Keys(callbacks)) {
		tests[where] = func(t *testing.T) {
			eachMethod(i, func(name string, call func(*place)) { callIn(t, where+": "+name, config, callbacks[where], call) })
		}
	}
	together(t, tests)
}

// eachMethod calls fn with each method to call in the i-th callback on the transport in use.
func eachMethod(i int, fn func(name string, call func(*place))) {
	if netpoll.Enabled {
		i++
	}
	for _, m := range methods {
		for _, name := range slices.Sorted(maps.Keys(m.calls)) {
			if i++; evtest.Long() || i%2 == 0 {
				fn(reflect.TypeOf(m.of).Elem().Name()+"."+name, m.calls[name])
			}
		}
	}
}

func callIn(t *testing.T, what string, config *tls.Config, arrange func(*place, func()), call func(*place)) {
	p, connect := newPlace(t, config)
	called := false
	arrange(p, func() {
		if !called {
			called = true
			call(p)
		}
	})
	events := watchEvents(p.s)
	connect()
	hung := time.AfterFunc(patience, func() { panic(what + ": Run does not return") })
	p.l.Run()
	hung.Stop()
	require.True(t, called, what)
	for _, trace := range strings.SplitAfter(*events, "z") { // a method may also connect the socket again in a callback
		require.True(t, trace == "" || grammar.MatchString(trace) || connected.MatchString(trace), "%s: %s", what, *events)
	}
	p.cancel()
}

// watchEvents records the events of a socket as letters.
func watchEvents(s *evnet.Socket) *string {
	events := new(string)
	note := func(letter string) func() { return func() { *events += letter } }
	s.On.Lookup(func(evnet.Lookup) { note("k")() })
	s.On.ConnectionAttempt(func(evnet.Attempt) { note("a")() })
	s.On.Connect(note("c"))
	s.On.Ready(note("r"))
	s.On.Drain(note("n"))
	s.On.Timeout(note("t"))
	s.On.End(note("e"))
	s.On.Finish(note("f"))
	s.On.Error(func(error) { note("x")() })
	s.On.Close(func(bool) { note("z")() })
	return events
}
