package evnet_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// badInput is a mistake and what its error must be good for.
type badInput struct {
	err  error
	is   []error  // errors.Is
	as   []any    // errors.As
	code string   // Code
	says []string // what the text names
}

func (b badInput) check(t *testing.T) {
	t.Helper()
	require.Error(t, b.err)
	for _, target := range b.is {
		assert.ErrorIs(t, b.err, target)
	}
	for _, target := range b.as {
		assert.ErrorAs(t, b.err, target)
	}
	assert.Equal(t, b.code, evnet.Code(b.err), "%v", b.err)
	for _, text := range b.says {
		assert.Contains(t, b.err.Error(), text)
	}
	assert.NotContains(t, b.err.Error(), "%!")
}

func opError() any   { return new(*net.OpError) }
func addrError() any { return new(*net.AddrError) }
func dnsError() any  { return new(*net.DNSError) }

// noContext is the nil that a user may pass.
var noContext context.Context

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A bad Connect is always told by Error and then Close(true), never before it returns, and Err
// keeps the cause.
func TestBadInputConnect(t *testing.T) {
	free := net.JoinHostPort("127.0.0.1", freePort(t))
	missing := filepath.Join(t.TempDir(), "missing", "socket")
	notFound := &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}
	again := &net.DNSError{Err: "server misbehaving", Name: "nowhere.example", IsTemporary: true}
	broken := errors.New("resolver is broken")
	cases := map[string]struct {
		network, address string
		opts             evnet.SocketOptions
		ctx              context.Context
		badInput
	}{
		"unknown network": {network: "tpc", address: free,
			badInput: badInput{as: []any{opError(), new(net.UnknownNetworkError)}, code: "ERR_INVALID_ARG_VALUE", says: []string{"tpc", free}}},
		"empty network": {address: free,
			badInput: badInput{as: []any{opError(), new(net.UnknownNetworkError)}, code: "ERR_INVALID_ARG_VALUE", says: []string{free}}},
		"udp": {network: "udp", address: free,
			badInput: badInput{as: []any{new(net.UnknownNetworkError)}, code: "ERR_INVALID_ARG_VALUE", says: []string{"udp", free}}},
		"no port": {network: "tcp", address: "127.0.0.1",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_MISSING_ARGS", says: []string{"127.0.0.1", "missing port"}}},
		"empty address": {network: "tcp",
			badInput: badInput{as: []any{addrError()}, code: "ERR_MISSING_ARGS", says: []string{"missing port"}}},
		"port out of range": {network: "tcp", address: "127.0.0.1:65536",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_SOCKET_BAD_PORT", says: []string{"127.0.0.1:65536", "invalid port"}}},
		"negative port": {network: "tcp", address: "127.0.0.1:-1",
			badInput: badInput{as: []any{addrError()}, code: "ERR_SOCKET_BAD_PORT", says: []string{"127.0.0.1:-1", "invalid port"}}},
		"unknown service": {network: "tcp", address: "127.0.0.1:nonsense",
			badInput: badInput{as: []any{opError(), dnsError()}, code: "ERR_SOCKET_BAD_PORT", says: []string{"127.0.0.1:nonsense"}}},
		"too many colons": {network: "tcp", address: "::1:80",
			badInput: badInput{as: []any{addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"::1:80", "too many colons"}}},
		"wrong family": {network: "tcp6", address: free,
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"tcp6", "127.0.0.1"}}},
		"bad family": {network: "tcp", address: free, opts: evnet.SocketOptions{Family: 5},
			badInput: badInput{as: []any{opError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"family", free}}},
		"refused": {network: "tcp", address: free,
			badInput: badInput{is: []error{syscall.ECONNREFUSED}, as: []any{opError(), new(*os.SyscallError)}, code: "ECONNREFUSED", says: []string{free}}},
		"refused twice": {network: "tcp", address: strings.Replace(free, "127.0.0.1", "two.example", 1),
			opts:     evnet.SocketOptions{Resolver: ips("127.0.0.1", "127.0.0.2")},
			badInput: badInput{is: []error{syscall.ECONNREFUSED}, as: []any{opError(), new(*evnet.ConnectError)}, code: "ECONNREFUSED", says: []string{"two.example", free, "127.0.0.2"}}},
		"no such host": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: fakeResolver{err: notFound}},
			badInput: badInput{is: []error{notFound}, as: []any{opError(), dnsError()}, code: "ENOTFOUND", says: []string{"nowhere.example"}}},
		"no answer": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: fakeResolver{}},
			badInput: badInput{as: []any{opError(), dnsError()}, code: "ENOTFOUND", says: []string{"nowhere.example"}}},
		"try again": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: fakeResolver{err: again}},
			badInput: badInput{as: []any{opError(), dnsError()}, code: "EAI_AGAIN", says: []string{"nowhere.example"}}},
		"broken resolver": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: fakeResolver{err: broken}},
			badInput: badInput{is: []error{broken}, as: []any{opError()}, says: []string{"nowhere.example:80", "broken"}}},
		"junk answer": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: fakeResolver{addrs: make([]netip.Addr, 1)}},
			badInput: badInput{as: []any{opError()}, code: "ERR_INVALID_IP_ADDRESS", says: []string{"nowhere.example:80"}}},
		"answer of another family": {network: "tcp4", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: ips("::1")},
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"nowhere.example", "tcp4"}}},
		"empty path": {network: "unix",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"unix", "path"}}},
		"no such path": {network: "unix", address: missing,
			badInput: badInput{is: []error{syscall.ENOENT, os.ErrNotExist}, as: []any{opError()}, code: "ENOENT", says: []string{missing}}},
		"path too long": {network: "unix", address: strings.Repeat("x", 200),
			badInput: badInput{is: []error{syscall.EINVAL}, as: []any{opError()}, code: "EINVAL", says: []string{"unix"}}},
		"ended context": {network: "tcp", address: free, ctx: canceled(),
			badInput: badInput{is: []error{context.Canceled}, as: []any{opError()}, code: "ABORT_ERR", says: []string{free}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			c.opts.Loop = l
			s := evnet.NewSocket(&c.opts)
			var got notes
			watch(s, &got)
			var err error
			s.On.Error(func(e error) { err = e })
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			s.ConnectContext(c.ctx, c.network, c.address)
			assert.Empty(t, got, "no event before Connect returns")
			run(t, l)
			require.GreaterOrEqual(t, len(got), 2)
			assert.Equal(t, notes{"error " + c.code, "close true"}, got[len(got)-2:])
			assert.Equal(t, err, s.Err())
			c.err = err
			c.check(t)
			assert.Equal(t, evnet.StateClosed, s.ReadyState())
			goleak.VerifyNone(t, before)
		})
	}
	t.Run("nil context", func(t *testing.T) {
		l := evnet.NewLoop()
		s := client(l)
		s.On.Error(func(error) {})
		s.ConnectContext(noContext, "tcp", free)
		run(t, l)
		badInput{err: s.Err(), is: []error{evnet.ErrNilArgument}, as: []any{opError()}, code: "ERR_INVALID_ARG_TYPE", says: []string{"context", free}}.check(t)
	})
}

// countingResolver counts the questions.
type countingResolver struct{ asked atomic.Int32 }

func (r *countingResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	r.asked.Add(1)
	return nil, nil
}

func TestBadInputEndedContextStartsNothing(t *testing.T) {
	l := evnet.NewLoop()
	resolver := &countingResolver{}
	for range 100 {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: resolver})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, context.Canceled) })
		s.ConnectContext(canceled(), "tcp", "name.example:80")
	}
	run(t, l)
	assert.Zero(t, resolver.asked.Load())
}

func TestBadInputConnectTwice(t *testing.T) {
	for _, when := range []string{"connecting", "connected"} {
		t.Run(when, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			server, addr := serve(t, l, nil, nil)
			s := client(l)
			var got notes
			s.On.Connect(got.say("connect"))
			s.On.Error(func(error) { got.say("error")() })
			s.On.Close(func(bool) { got.say("close")(); _ = server.Close(nil) })
			want := notes{"error", "close"}
			s.Connect("tcp", addr)
			if when == "connected" {
				s.On.Ready(func() { s.Connect("tcp", "elsewhere:1") })
				want = append(notes{"connect"}, want...)
			} else {
				s.Connect("tcp", "elsewhere:1")
			}
			run(t, l)
			assert.Equal(t, want, got)
			badInput{err: s.Err(), is: []error{evnet.ErrAlreadyConnected, syscall.EISCONN}, as: []any{opError()}, code: "EISCONN", says: []string{"elsewhere:1", "already"}}.check(t)
			goleak.VerifyNone(t, before)
		})
	}
}

// A Listen that fails opens nothing, and no event follows.
func TestBadInputListen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	taken := ln.Addr().String()
	dir := t.TempDir()
	missing, file := filepath.Join(dir, "missing", "socket"), filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	cases := map[string]struct {
		network, address string
		ctx              context.Context
		badInput
	}{
		"unknown network": {network: "tpc", address: "127.0.0.1:0",
			badInput: badInput{as: []any{opError(), new(net.UnknownNetworkError)}, code: "ERR_INVALID_ARG_VALUE", says: []string{"tpc", "127.0.0.1:0"}}},
		"no port": {network: "tcp", address: "127.0.0.1",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_MISSING_ARGS", says: []string{"127.0.0.1", "missing port"}}},
		"port out of range": {network: "tcp", address: "127.0.0.1:65536",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_SOCKET_BAD_PORT", says: []string{"127.0.0.1:65536", "invalid port"}}},
		"port in use": {network: "tcp", address: taken,
			badInput: badInput{is: []error{syscall.EADDRINUSE}, as: []any{opError(), new(*os.SyscallError)}, code: "EADDRINUSE", says: []string{taken}}},
		"address of another machine": {network: "tcp", address: "192.0.2.1:0",
			badInput: badInput{is: []error{syscall.EADDRNOTAVAIL}, as: []any{opError()}, code: "EADDRNOTAVAIL", says: []string{"192.0.2.1"}}},
		"wrong family": {network: "tcp6", address: "127.0.0.1:0",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"127.0.0.1"}}},
		"empty path": {network: "unix",
			badInput: badInput{as: []any{opError(), addrError()}, code: "ERR_INVALID_ARG_VALUE", says: []string{"unix", "path"}}},
		"missing directory": {network: "unix", address: missing,
			badInput: badInput{is: []error{syscall.ENOENT, os.ErrNotExist}, as: []any{opError()}, code: "ENOENT", says: []string{missing}}},
		"path of a file": {network: "unix", address: file,
			badInput: badInput{is: []error{syscall.EADDRINUSE}, as: []any{opError()}, code: "EADDRINUSE", says: []string{file}}},
		"path too long": {network: "unix", address: strings.Repeat("x", 200),
			badInput: badInput{is: []error{syscall.EINVAL}, as: []any{opError()}, code: "EINVAL", says: []string{"unix"}}},
		"ended context": {network: "tcp", address: "127.0.0.1:0", ctx: canceled(),
			badInput: badInput{is: []error{context.Canceled}, as: []any{opError()}, code: "ABORT_ERR", says: []string{"127.0.0.1:0"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			var got notes
			server.On.Listening(got.say("listening"))
			server.On.Error(func(error) { got.say("error")() })
			server.On.Close(got.say("close"))
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			c.err = server.ListenContext(c.ctx, c.network, c.address, got.say("callback"))
			c.check(t)
			assert.False(t, server.Listening())
			assert.Nil(t, server.Address())
			if c.err == nil {
				_ = server.Close(nil)
			}
			run(t, l)
			assert.Empty(t, got)
			goleak.VerifyNone(t, before)

			// The server is none the worse for it.
			require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
			require.NoError(t, server.Close(nil))
			run(t, l)
		})
	}
	content, _ := os.ReadFile(file)
	assert.Equal(t, "precious", string(content))
}

func TestBadInputServer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	notRunning := badInput{is: []error{evnet.ErrServerNotRunning}, code: "ERR_SERVER_NOT_RUNNING", says: []string{"not running"}}
	notRunning.err = server.Close(func() { t.Error("called though Close failed") })
	notRunning.check(t)
	notRunning.err = server.Shutdown(context.Background())
	notRunning.check(t)

	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	addr := server.Address().String()
	twice := badInput{is: []error{evnet.ErrServerAlreadyListening}, as: []any{opError()}, code: "ERR_SERVER_ALREADY_LISTEN", says: []string{"already", addr}}
	twice.err = server.Listen("tcp", addr, func() { t.Error("called though Listen failed") })
	twice.check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	twice.err, twice.says = server.Serve(ln), []string{"already", ln.Addr().String()}
	twice.check(t)
	assert.NoError(t, ln.Close(), "Serve left it alone")
	assert.Equal(t, addr, server.Address().String())

	require.NoError(t, server.Close(nil))
	notRunning.err = server.Close(nil)
	notRunning.check(t)
	run(t, l)
	goleak.VerifyNone(t, before)
}

// The error says what was nil.
func TestBadInputNilForServerAndLoop(t *testing.T) {
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	isNil := badInput{is: []error{evnet.ErrNilArgument}, code: "ERR_INVALID_ARG_TYPE", says: []string{"listener"}}
	isNil.err = server.Serve(nil)
	isNil.check(t)
	isNil.says = []string{"context"}
	isNil.err = server.Shutdown(noContext)
	isNil.check(t)
	isNil.err = server.ListenContext(noContext, "tcp", "127.0.0.1:0", nil)
	isNil.check(t)
	isNil.err = l.Serve(noContext)
	isNil.check(t)
	run(t, l)
}
