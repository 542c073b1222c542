package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// place is where a method is called from: one socket, its server and its loop.
type place struct {
	t      testing.TB
	l      *evnet.Loop
	server *evnet.Server
	s      *evnet.Socket
	cancel func()
	stays  bool // the socket does not end by itself
}

// methods call every method of a type, by name. TestEverywhereIsComplete sees to it that none is missing.
var (
	socketMethods = map[string]func(p *place){
		"AllowHalfOpen":      func(p *place) { p.s.AllowHalfOpen() },
		"AttemptedAddresses": func(p *place) { p.s.AttemptedAddresses() },
		"BlockingConn":       func(p *place) { _, _ = p.s.BlockingConn(); p.later(p.end) },
		"BufferedAmount":     func(p *place) { p.s.BufferedAmount() },
		"BytesRead":          func(p *place) { p.s.BytesRead() },
		"BytesWritten":       func(p *place) { p.s.BytesWritten() },
		"Chunks": func(p *place) {
			for range p.s.Chunks() { // refused, or ended
				break
			}
		},
		"Close":              func(p *place) { _ = p.s.Close() },
		"Closed":             func(p *place) { p.s.Closed() },
		"Conn":               func(p *place) { p.s.Conn() },
		"Connect":            func(p *place) { p.s.Connect("tcp", "127.0.0.1:1") },
		"ConnectContext":     func(p *place) { p.s.ConnectContext(p.t.Context(), "tcp", "nonsense") },
		"Connecting":         func(p *place) { p.s.Connecting() },
		"Cork":               func(p *place) { p.s.Cork(); p.l.AfterFunc(0, p.s.Uncork) },
		"Corked":             func(p *place) { p.s.Corked() },
		"Destroy":            func(p *place) { p.s.Destroy(errors.New("on purpose")) },
		"Destroyed":          func(p *place) { p.s.Destroyed() },
		"Detach":             func(p *place) { detach(p) },
		"Encoding":           func(p *place) { p.s.Encoding() },
		"End":                func(p *place) { p.s.End() },
		"Err":                func(p *place) { _ = p.s.Err() },
		"Flowing":            func(p *place) { p.s.Flowing() },
		"HighWaterMark":      func(p *place) { p.s.HighWaterMark() },
		"ListenerCount":      func(p *place) { p.s.ListenerCount(evnet.EventData) },
		"LocalAddr":          func(p *place) { p.s.LocalAddr() },
		"Loop":               func(p *place) { p.s.Loop() },
		"NeedDrain":          func(p *place) { p.s.NeedDrain() },
		"OnRead":             func(p *place) { _ = p.s.OnRead(func([]byte) bool { return true }) },
		"Pause":              func(p *place) { p.s.Pause(); p.l.AfterFunc(0, p.s.Resume) },
		"Paused":             func(p *place) { p.s.Paused() },
		"Pending":            func(p *place) { p.s.Pending() },
		"Pipe":               func(p *place) { p.s.Pipe(io.Discard) },
		"ReadFrom":           func(p *place) { _, _ = p.s.ReadFrom(strings.NewReader("read from")) },
		"ReadableEnded":      func(p *place) { p.s.ReadableEnded() },
		"Readable":           func(p *place) { p.s.Readable() },
		"ReadableLength":     func(p *place) { p.s.ReadableLength() },
		"ReadyState":         func(p *place) { p.s.ReadyState() },
		"Ref":                func(p *place) { p.s.Ref() },
		"RemoteAddr":         func(p *place) { p.s.RemoteAddr() },
		"RemoveAllListeners": func(p *place) { p.s.RemoveAllListeners(evnet.EventLookup) },
		"Reset":              func(p *place) { p.s.Reset() },
		"Resume":             func(p *place) { p.s.Resume() },
		"Scan":               func(p *place) { _ = p.s.Scan(nil, 1<<20, func([]byte) {}) },
		"Server":             func(p *place) { p.s.Server() },
		"SetAllowHalfOpen":   func(p *place) { p.s.SetAllowHalfOpen(false) },
		"SetEncoding":        func(p *place) { _ = p.s.SetEncoding(evnet.Latin1) },
		"SetKeepAlive":       func(p *place) { _ = p.s.SetKeepAlive(true, time.Second) },
		"SetNoDelay":         func(p *place) { _ = p.s.SetNoDelay(true) },
		"SetTimeout":         func(p *place) { _ = p.s.SetTimeout(time.Millisecond) },
		"StartTLS":           func(p *place) { _ = p.s.StartTLS(&tls.Config{InsecureSkipVerify: true}); p.later(p.end) },
		"StartTLSServer":     func(p *place) { _ = p.s.StartTLSServer(selfSigned()); p.later(p.end) },
		"TLS":                func(p *place) { p.s.TLS() },
		"Timeout":            func(p *place) { p.s.Timeout() },
		"Uncork":             func(p *place) { p.s.Uncork() },
		"Unpipe":             func(p *place) { p.s.Unpipe(nil); p.l.AfterFunc(0, p.s.Resume) },
		"Unref":              func(p *place) { p.s.Unref() },
		"Unshift":            func(p *place) { _ = p.s.Unshift([]byte("again")) },
		"Writable":           func(p *place) { p.s.Writable() },
		"WritableEnded":      func(p *place) { p.s.WritableEnded() },
		"WritableFinished":   func(p *place) { p.s.WritableFinished() },
		"Write":              func(p *place) { _, _ = p.s.Write([]byte("write")) },
		"WriteString":        func(p *place) { _, _ = p.s.WriteString("write") },
		"WriteThen":          func(p *place) { p.s.WriteThen([]byte("write"), func(error) {}) },
	}
	serverMethods = map[string]func(p *place){
		"Address":             func(p *place) { p.server.Address() },
		"Close":               func(p *place) { _ = p.server.Close(func() {}) },
		"CloseAllConnections": func(p *place) { p.server.CloseAllConnections() },
		"Connections":         func(p *place) { p.server.Connections() },
		"Listen":              func(p *place) { _ = p.server.Listen("tcp", "127.0.0.1:0", nil); p.later(p.end) },
		"ListenContext": func(p *place) {
			ctx, cancel := context.WithCancel(p.t.Context())
			_ = p.server.ListenContext(ctx, "tcp", "127.0.0.1:0", nil)
			cancel()
			p.later(p.end)
		},
		"ListenerCount":      func(p *place) { p.server.ListenerCount(evnet.EventClose) },
		"Listening":          func(p *place) { p.server.Listening() },
		"Ref":                func(p *place) { p.server.Ref() },
		"RemoveAllListeners": func(p *place) { p.server.RemoveAllListeners(evnet.EventDrop) },
		"Serve":              func(p *place) { _ = p.server.Serve(give()); p.later(p.end) },
		"SetMaxConnections":  func(p *place) { p.server.SetMaxConnections(100) },
		"Shutdown": func(p *place) {
			ctx, cancel := context.WithTimeout(p.t.Context(), time.Millisecond)
			_ = p.server.Shutdown(ctx)
			p.later(cancel)
		},
		"Sockets": func(p *place) { p.server.Sockets() },
		"Unref":   func(p *place) { p.server.Unref() },
	}
	loopMethods = map[string]func(p *place){
		"AfterFunc": func(p *place) { p.l.AfterFunc(0, func() {}).Reset(1) },
		"Do":        func(p *place) { p.l.Do(func() {}) },
		"OnPanic":   func(p *place) { p.l.OnPanic(nil) },
		"SetTracer": func(p *place) { p.l.SetTracer(func(evnet.TraceEvent) {}) },
		"Post":      func(p *place) { p.l.Post(func() {}) },
		"Ref":       func(p *place) { p.l.Ref(); p.l.Unref() },
		"Run":       func(p *place) { assert.PanicsWithError(p.t, evnet.ErrLoopRunning.Error(), p.l.Run) },
		"Serve":     func(p *place) { assert.ErrorIs(p.t, p.l.Serve(p.t.Context()), evnet.ErrLoopRunning) },
		"Unref":     func(p *place) {},
	}
	methods = []struct {
		of    any
		calls map[string]func(p *place)
	}{{(*evnet.Socket)(nil), socketMethods}, {(*evnet.Server)(nil), serverMethods}, {(*evnet.Loop)(nil), loopMethods}}
)

func (p *place) later(fn func()) { p.l.AfterFunc(time.Millisecond/10, fn) }

// end makes Run return.
func (p *place) end() {
	_ = p.server.Close(nil)
	p.server.CloseAllConnections()
	p.s.Destroy(nil)
}

// selfSigned is a config for a server that nobody trusts.
var selfSigned = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

func detach(p *place) {
	if conn, _, err := p.s.Detach(); err == nil {
		_ = conn.Close()
	}
}

func TestEverywhereIsComplete(t *testing.T) {
	for _, m := range methods {
		of := reflect.TypeOf(m.of)
		for i := range of.NumMethod() {
			assert.Contains(t, m.calls, of.Method(i).Name, "%v", of)
		}
		assert.Equal(t, of.NumMethod(), len(m.calls), "%v", of)
	}
}

// callbacks are where a program's code runs on a loop. Each arranges for fn to be called once from there.
// The socket is a client's, which sends and gets back a megabyte.
var callbacks = map[string]func(p *place, fn func()){
	"Lookup":            func(p *place, fn func()) { p.s.On.Lookup(func(evnet.Lookup) { fn() }) },
	"ConnectionAttempt": func(p *place, fn func()) { p.s.On.ConnectionAttempt(func(evnet.Attempt) { fn() }) },
	"Connect":           func(p *place, fn func()) { p.s.On.Connect(fn) },
	"Ready":             func(p *place, fn func()) { p.s.On.Ready(fn) },
	"Data":              func(p *place, fn func()) { p.s.On.Data(func([]byte) { fn() }) },
	"Drain":             func(p *place, fn func()) { p.s.On.Drain(fn) },
	"Timeout": func(p *place, fn func()) {
		p.stays = true
		_ = p.s.SetTimeout(1)
		p.s.On.Timeout(func() { fn(); p.s.End() })
	},
	"End":    func(p *place, fn func()) { p.s.On.End(fn) },
	"Finish": func(p *place, fn func()) { p.s.On.Finish(fn) },
	"Error": func(p *place, fn func()) {
		p.s.On.Error(func(error) { fn() })
		p.s.On.Data(func([]byte) { p.s.Destroy(io.EOF) })
	},
	"Close":           func(p *place, fn func()) { p.s.On.Close(func(bool) { fn() }) },
	"WriteThen":       func(p *place, fn func()) { p.s.On.Connect(func() { p.s.WriteThen([]byte("x"), func(error) { fn() }) }) },
	"OnRead":          func(p *place, fn func()) { _ = p.s.OnRead(func([]byte) bool { fn(); return true }) },
	"Scan's function": func(p *place, fn func()) { _ = p.s.Scan(byBytes, 0, func([]byte) { fn() }) },
	"Scan's split": func(p *place, fn func()) {
		_ = p.s.Scan(func(d []byte, e bool) (int, []byte, error) { fn(); return byBytes(d, e) }, 0, func([]byte) {})
	},
	"a writer of Pipe": func(p *place, fn func()) { p.s.Pipe(writer(func(b []byte) (int, error) { fn(); return len(b), nil })) },
	"Post":             func(p *place, fn func()) { p.l.Post(fn) },
	"AfterFunc":        func(p *place, fn func()) { p.l.AfterFunc(0, fn) },
	"Listening":        func(p *place, fn func()) { p.server.On.Listening(fn) },
	"Connection":       func(p *place, fn func()) { p.server.On.Connection(func(*evnet.Socket) { fn() }) },
	"server's Close":   func(p *place, fn func()) { p.server.On.Close(fn) },
	"Relay's done":     func(p *place, fn func()) { relayed(p, fn) },
	"Tracer":           func(p *place, fn func()) { p.l.SetTracer(func(evnet.TraceEvent) { fn() }) },
}

// tlsCallbacks are those that only TLS has, as callbacks.
var tlsCallbacks = map[string]func(p *place, fn func()){
	"SecureConnect": func(p *place, fn func()) { p.s.On.SecureConnect(fn) },
	"Connection":    func(p *place, fn func()) { p.server.On.Connection(func(*evnet.Socket) { fn() }) },
	"Data":          func(p *place, fn func()) { p.s.On.Data(func([]byte) { fn() }) },
	"TLSClientError": func(p *place, fn func()) {
		p.server.On.TLSClientError(func(error, *evnet.Socket) { fn(); p.s.Destroy(nil) })
		p.s.On.Ready(func() { _, _ = p.s.Conn().(*tls.Conn).NetConn().Write([]byte("no TLS at all")) })
	},
	"Ready": func(p *place, fn func()) { p.s.On.Ready(fn) }, // in the midst of the handshake
}

// Every method may be called in every callback under TLS.
func TestEverywhereTLS(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for where, arrange := range tlsCallbacks {
			for _, m := range methods {
				for name, call := range m.calls {
					callIn(t, where+": "+reflect.TypeOf(m.of).Elem().Name()+"."+name, selfSigned(), arrange, call)
				}
			}
		}
	})
}

func byBytes(data []byte, _ bool) (int, []byte, error) {
	if len(data) == 0 {
		return 0, nil, nil
	}
	return len(data), data, nil
}

// relayed makes a relay that ends.
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
	onEach(t, func(t *testing.T) {
		for where, arrange := range callbacks {
			for _, m := range methods {
				for name, call := range m.calls {
					callIn(t, where+": "+reflect.TypeOf(m.of).Elem().Name()+"."+name, nil, arrange, call)
				}
			}
		}
	})
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
	for _, trace := range strings.SplitAfter(*events, "z") { // of Connect in a callback too
		require.True(t, trace == "" || grammar.MatchString(trace) || connected.MatchString(trace), "%s: %s", what, *events)
	}
	p.cancel()
}

// newPlace makes a server, and a client that is still to connect, by TLS if config is not nil.
func newPlace(t testing.TB, config *tls.Config) (p *place, connect func()) {
	p = &place{t: t, l: evnet.NewLoop()}
	p.server = evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{p.l}, Logger: quiet, TLSConfig: config})
	var trusting *tls.Config
	if config != nil {
		trusting = &tls.Config{InsecureSkipVerify: true}
	}
	p.server.On.Connection(func(s *evnet.Socket) { s.Pipe(s) })
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(t.Context())
	p.s = evnet.NewSocket(&evnet.SocketOptions{
		Loop: p.l, Logger: quiet, Context: ctx, HighWaterMark: 1, TLSConfig: trusting,
		Resolver: addresses{netip.MustParseAddr("127.0.0.1")},
	})
	return p, func() {
		require.NoError(t, p.server.Listen("tcp", "127.0.0.1:0", nil))
		_, port, _ := net.SplitHostPort(p.server.Address().String())
		if p.s.ListenerCount(evnet.EventData) == 0 && !p.s.Flowing() {
			_ = p.s.OnRead(func([]byte) bool { return true }) // unless there is a consumer
		}
		p.s.On.Close(func(bool) { p.later(p.end) })
		p.s.Connect("tcp", net.JoinHostPort("name.test", port))
		_, _ = p.s.Write(make([]byte, 20_000))
		p.s.On.Ready(func() {
			if !p.stays {
				p.s.End()
			}
		})
	}
}

// watchEvents notes the events of a socket by their letters.
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

// Every method may be called from any goroutine, at any time: while a connection is made, used and
// closed, from eight at once.
func TestEverywhereAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for range 20 {
			p, connect := newPlace(t, nil)
			p.l.Ref()
			connect()
			var callers sync.WaitGroup
			start := make(chan struct{})
			for i := range 8 {
				callers.Go(func() {
					<-start
					for range 2 {
						for _, m := range methods {
							for name, call := range m.calls {
								switch {
								case name == "Run" || name == "Serve" || name == "Unref" && m.of != nil || name == "RemoveAllListeners":
								case i > 0 && (name == "Chunks" || name == "Shutdown"): // which wait
								case i < 7 && (name == "Close" || name == "Destroy" || name == "Reset" || name == "End" || name == "Detach" || strings.HasPrefix(name, "StartTLS") || name == "CloseAllConnections"):
								default:
									call(p)
								}
							}
						}
					}
				})
			}
			go func() {
				callers.Wait()
				p.l.Do(p.end)
				p.l.Unref()
			}()
			p.l.Post(func() { close(start) })
			run(t, p.l)
			callers.Wait()
			run(t, p.l) // what was begun after the end
			p.cancel()
		}
	})
}

// Two loops, each with a socket at either end of the same pair of connections, write to each other's
// sockets, and pipe and relay across, and neither waits for the other.
func TestEverywhereTwoLoops(t *testing.T) {
	onEach(t, func(t *testing.T) {
		text := bytes.Repeat([]byte("across the loops "), 1<<16)
		a, b := evnet.NewLoop(), evnet.NewLoop()
		a.Ref()
		b.Ref()
		firstA, peerA := pair(t)
		firstB, peerB := pair(t)
		secondA, peerC := pair(t)
		secondB, peerD := pair(t)
		evnet.Relay(wrap(a, firstA), wrap(b, firstB), nil)
		wrap(a, secondA).Pipe(wrap(b, secondB))

		// Each loop writes to a socket of the other in its callbacks.
		thirdA, peerE := pair(t)
		thirdB, peerF := pair(t)
		x, y := wrap(a, thirdA), wrap(b, thirdB)
		x.On.Data(func(p []byte) { _, _ = y.Write(p) })
		y.On.Data(func(p []byte) { _, _ = x.Write(p) })
		x.On.End(func() { y.End() })
		y.On.End(func() { x.End() })
		x.SetAllowHalfOpen(true)
		y.SetAllowHalfOpen(true)

		var peers sync.WaitGroup
		send := func(c *net.TCPConn) {
			peers.Go(func() { _, _ = c.Write(text); _ = c.CloseWrite() })
		}
		receive := func(c *net.TCPConn) {
			peers.Go(func() {
				got, err := io.ReadAll(c)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(text, got), "%d of %d", len(got), len(text))
			})
		}
		for _, c := range []*net.TCPConn{peerA, peerB, peerC, peerE, peerF} {
			send(c)
		}
		for _, c := range []*net.TCPConn{peerA, peerB, peerD, peerE, peerF} {
			receive(c)
		}
		var loops sync.WaitGroup
		for _, l := range []*evnet.Loop{a, b} {
			loops.Go(func() { run(t, l) })
		}
		peers.Wait()
		_, _ = peerC.Close(), peerD.Close()
		a.Unref()
		b.Unref()
		loops.Wait()
		for _, c := range []*net.TCPConn{peerA, peerB, peerC, peerD, peerE, peerF} {
			_ = c.Close()
		}
	})
}
