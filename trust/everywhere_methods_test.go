package trust

import (
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
	"strings"
	"sync"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// place is where a method is called: one socket, its server and its loop.
type place struct {
	t      testing.TB
	l      *evnet.Loop
	server *evnet.Server
	s      *evnet.Socket
	cancel func()
	stays  bool // the client does not end by itself

	options  evnet.SocketOptions
	listen   func() error // default: listens on a free port
	timer    *evnet.Timer // of one hour; it does not keep Run going
	listener evnet.Listener
}

// These tables call every method of a type, by name. TestEverywhereIsComplete checks that none is missing.
var (
	socketMethods = map[string]func(p *place){
		"AllowHalfOpen":      func(p *place) { p.s.AllowHalfOpen() },
		"AttemptedAddresses": func(p *place) { p.s.AttemptedAddresses() },
		"BlockingConn":       func(p *place) { _, _ = p.s.BlockingConn(); p.later(p.end) },
		"BufferedAmount":     func(p *place) { p.s.BufferedAmount() },
		"BytesRead":          func(p *place) { p.s.BytesRead() },
		"BytesWritten":       func(p *place) { p.s.BytesWritten() },
		"Chunks": func(p *place) {
			for range p.s.Chunks() { // it yields an error, or has ended
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
		"Produce":            func(p *place) { p.s.Produce(func() ([]byte, bool) { return []byte("last"), false }, nil) },
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
		"Listener":            func(p *place) { p.server.Listener() },
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
		"Serve":              func(p *place) { _ = p.server.Serve(listenerOf()); p.later(p.end) },
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
		"Buffered":       func(p *place) { _ = p.l.Buffered() },
		"MaxBuffered":    func(p *place) { _ = p.l.MaxBuffered() },
		"SetMaxBuffered": func(p *place) { p.l.SetMaxBuffered(1000); p.later(p.end) },
		"AfterFunc":      func(p *place) { p.l.AfterFunc(0, func() {}).Reset(1) },
		"Do":             func(p *place) { p.l.Do(func() {}) },
		"OnPanic":        func(p *place) { p.l.OnPanic(nil) },
		"SetTracer":      func(p *place) { p.l.SetTracer(func(evnet.TraceEvent) {}) },
		"Post":           func(p *place) { p.l.Post(func() {}) },
		"Ref":            func(p *place) { p.l.Ref(); p.l.Unref() },
		"Run":            func(p *place) { assert.PanicsWithError(p.t, evnet.ErrLoopRunning.Error(), p.l.Run) },
		"Serve":          func(p *place) { assert.ErrorIs(p.t, p.l.Serve(p.t.Context()), evnet.ErrLoopRunning) },
		"Unref":          func(p *place) { p.l.Ref(); p.l.Unref() },
	}
	timerMethods = map[string]func(p *place){
		"Ref":   func(p *place) { p.timer.Ref(); p.later(p.timer.Unref) },
		"Reset": func(p *place) { p.timer.Reset(time.Hour) },
		"Stop":  func(p *place) { p.timer.Stop() },
		"Unref": func(p *place) { p.timer.Unref() },
	}
	listenerMethods = map[string]func(p *place){
		"Err": func(p *place) { _ = p.listener.Err() },
		"Off": func(p *place) { p.listener.Off() },
	}
	methods = []struct {
		of    any
		calls map[string]func(p *place)
	}{
		{(*evnet.Socket)(nil), socketMethods}, {(*evnet.Server)(nil), serverMethods}, {(*evnet.Loop)(nil), loopMethods},
		{(*evnet.Timer)(nil), timerMethods}, {(*evnet.Listener)(nil), listenerMethods},
	}
)

// later runs fn after a short delay.
func (p *place) later(fn func()) { p.l.AfterFunc(time.Millisecond/10, fn) }

// end closes everything, so that Run returns.
func (p *place) end() {
	_ = p.server.Close(nil)
	p.server.CloseAllConnections()
	p.s.Destroy(nil)
}

// selfSigned returns a server's config with a certificate that no client trusts.
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

// newPlace makes a server, and a client that is not connected yet. They use TLS if config is not nil.
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
	p.timer = p.l.AfterFunc(time.Hour, func() {})
	p.timer.Unref()
	p.listen = func() error { return p.server.Listen("tcp", "127.0.0.1:0", nil) }
	p.options = evnet.SocketOptions{
		Loop: p.l, Logger: quiet, Context: ctx, HighWaterMark: 1, TLSConfig: trusting,
		Resolver: addresses{netip.MustParseAddr("127.0.0.1")},
	}
	p.socket()
	return p, func() {
		require.NoError(t, p.listen())
		_, port, _ := net.SplitHostPort(p.server.Address().String())
		if p.s.ListenerCount(evnet.EventData) == 0 && !p.s.Flowing() {
			_ = p.s.OnRead(func([]byte) bool { return true }) // unless there is already a consumer
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

// socket replaces the client by a new socket with the current options.
func (p *place) socket() {
	p.s = evnet.NewSocket(&p.options)
	p.listener = p.s.On.Lookup(func(evnet.Lookup) {})
}
