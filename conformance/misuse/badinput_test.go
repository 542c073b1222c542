package misuse_test

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
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func dnsError() any { return new(*net.DNSError) }

// An invalid Connect emits Error and then Close(true), never before it returns, and Err returns the
// cause.
func TestBadInputConnect(t *testing.T) {
	free := net.JoinHostPort("127.0.0.1", evtest.FreePort(t))
	missing := filepath.Join(t.TempDir(), "missing", "socket")
	notFound := &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}
	again := &net.DNSError{Err: "server misbehaving", Name: "nowhere.example", IsTemporary: true}
	broken := errors.New("resolver is broken")
	cases := map[string]struct {
		network, address string
		opts             evnet.SocketOptions
		ctx              context.Context
		kit.BadInput
	}{
		"unknown network": {network: "tpc", address: free,
			BadInput: kit.BadInput{As: []any{kit.OpError(), new(net.UnknownNetworkError)}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"tpc", free}}},
		"empty network": {address: free,
			BadInput: kit.BadInput{As: []any{kit.OpError(), new(net.UnknownNetworkError)}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{free}}},
		"udp": {network: "udp", address: free,
			BadInput: kit.BadInput{As: []any{new(net.UnknownNetworkError)}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"udp", free}}},
		"no port": {network: "tcp", address: "127.0.0.1",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_MISSING_ARGS", Says: []string{"127.0.0.1", "missing port"}}},
		"empty address": {network: "tcp",
			BadInput: kit.BadInput{As: []any{kit.AddrError()}, Code: "ERR_MISSING_ARGS", Says: []string{"missing port"}}},
		"port out of range": {network: "tcp", address: "127.0.0.1:65536",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_SOCKET_BAD_PORT", Says: []string{"127.0.0.1:65536", "invalid port"}}},
		"negative port": {network: "tcp", address: "127.0.0.1:-1",
			BadInput: kit.BadInput{As: []any{kit.AddrError()}, Code: "ERR_SOCKET_BAD_PORT", Says: []string{"127.0.0.1:-1", "invalid port"}}},
		"unknown service": {network: "tcp", address: "127.0.0.1:nonsense",
			BadInput: kit.BadInput{As: []any{kit.OpError(), dnsError()}, Code: "ERR_SOCKET_BAD_PORT", Says: []string{"127.0.0.1:nonsense"}}},
		"too many colons": {network: "tcp", address: "::1:80",
			BadInput: kit.BadInput{As: []any{kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"::1:80", "too many colons"}}},
		"wrong family": {network: "tcp6", address: free,
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"tcp6", "127.0.0.1"}}},
		"bad family": {network: "tcp", address: free, opts: evnet.SocketOptions{Family: 5},
			BadInput: kit.BadInput{As: []any{kit.OpError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"family", free}}},
		"refused": {network: "tcp", address: free,
			BadInput: kit.BadInput{Is: []error{syscall.ECONNREFUSED}, As: []any{kit.OpError(), new(*os.SyscallError)}, Code: "ECONNREFUSED", Says: []string{free}}},
		"refused twice": {network: "tcp", address: strings.Replace(free, "127.0.0.1", "two.example", 1),
			opts:     evnet.SocketOptions{Resolver: evtest.IPs("127.0.0.1", "127.0.0.2")},
			BadInput: kit.BadInput{Is: []error{syscall.ECONNREFUSED}, As: []any{kit.OpError(), new(*evnet.ConnectError)}, Code: "ECONNREFUSED", Says: []string{"two.example", free, "127.0.0.2"}}},
		"no such host": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.Resolver{Err: notFound}},
			BadInput: kit.BadInput{Is: []error{notFound}, As: []any{kit.OpError(), dnsError()}, Code: "ENOTFOUND", Says: []string{"nowhere.example"}}},
		"no answer": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.Resolver{}},
			BadInput: kit.BadInput{As: []any{kit.OpError(), dnsError()}, Code: "ENOTFOUND", Says: []string{"nowhere.example"}}},
		"try again": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.Resolver{Err: again}},
			BadInput: kit.BadInput{As: []any{kit.OpError(), dnsError()}, Code: "EAI_AGAIN", Says: []string{"nowhere.example"}}},
		"broken resolver": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.Resolver{Err: broken}},
			BadInput: kit.BadInput{Is: []error{broken}, As: []any{kit.OpError()}, Says: []string{"nowhere.example:80", "broken"}}},
		"junk answer": {network: "tcp", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.Resolver{Addrs: make([]netip.Addr, 1)}},
			BadInput: kit.BadInput{As: []any{kit.OpError()}, Code: "ERR_INVALID_IP_ADDRESS", Says: []string{"nowhere.example:80"}}},
		"answer of another family": {network: "tcp4", address: "nowhere.example:80", opts: evnet.SocketOptions{Resolver: evtest.IPs("::1")},
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"nowhere.example", "tcp4"}}},
		"empty path": {network: "unix",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"unix", "path"}}},
		"no such path": {network: "unix", address: missing,
			BadInput: kit.BadInput{Is: []error{syscall.ENOENT, os.ErrNotExist}, As: []any{kit.OpError()}, Code: "ENOENT", Says: []string{missing}}},
		"path too long": {network: "unix", address: strings.Repeat("x", 200),
			BadInput: kit.BadInput{Is: []error{syscall.EINVAL}, As: []any{kit.OpError()}, Code: "EINVAL", Says: []string{"unix"}}},
		"ended context": {network: "tcp", address: free, ctx: kit.Canceled(),
			BadInput: kit.BadInput{Is: []error{context.Canceled}, As: []any{kit.OpError()}, Code: "ABORT_ERR", Says: []string{free}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			c.opts.Loop = l
			s := evnet.NewSocket(&c.opts)
			var got kit.Notes
			kit.NoteEvents(s, &got)
			var err error
			s.On.Error(func(e error) { err = e })
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			s.ConnectContext(c.ctx, c.network, c.address)
			assert.Empty(t, got, "no event before Connect returns")
			kit.Run(t, l)
			require.GreaterOrEqual(t, len(got), 2)
			assert.Equal(t, kit.Notes{"error " + c.Code, "close true"}, got[len(got)-2:])
			assert.Equal(t, err, s.Err())
			c.Err = err
			c.Check(t)
			assert.Equal(t, evnet.StateClosed, s.ReadyState())
			goleak.VerifyNone(t, before)
		})
	}
	t.Run("nil context", func(t *testing.T) {
		l := evnet.NewLoop()
		s := kit.NewClient(l)
		s.On.Error(func(error) {})
		s.ConnectContext(evtest.NoContext, "tcp", free)
		kit.Run(t, l)
		kit.BadInput{Err: s.Err(), Is: []error{evnet.ErrNilArgument}, As: []any{kit.OpError()}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"context", free}}.Check(t)
	})
}

// countingResolver counts the lookups.
type countingResolver struct{ queries atomic.Int32 }

func (r *countingResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	r.queries.Add(1)
	return nil, nil
}

func TestBadInputEndedContextStartsNothing(t *testing.T) {
	l := evnet.NewLoop()
	resolver := &countingResolver{}
	for range 100 {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Resolver: resolver})
		s.On.Error(func(err error) { assert.ErrorIs(t, err, context.Canceled) })
		s.ConnectContext(kit.Canceled(), "tcp", "name.example:80")
	}
	kit.Run(t, l)
	assert.Zero(t, resolver.queries.Load())
}

func TestBadInputConnectTwice(t *testing.T) {
	for _, when := range []string{"connecting", "connected"} {
		t.Run(when, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			server, addr := kit.Serve(t, l, nil, nil)
			s := kit.NewClient(l)
			var got kit.Notes
			s.On.Connect(got.Say("connect"))
			s.On.Error(func(error) { got.Say("error")() })
			s.On.Close(func(bool) { got.Say("close")(); _ = server.Close(nil) })
			want := kit.Notes{"error", "close"}
			s.Connect("tcp", addr)
			if when == "connected" {
				s.On.Ready(func() { s.Connect("tcp", "elsewhere:1") })
				want = append(kit.Notes{"connect"}, want...)
			} else {
				s.Connect("tcp", "elsewhere:1")
			}
			kit.Run(t, l)
			assert.Equal(t, want, got)
			kit.BadInput{Err: s.Err(), Is: []error{evnet.ErrAlreadyConnected, syscall.EISCONN}, As: []any{kit.OpError()}, Code: "EISCONN", Says: []string{"elsewhere:1", "already"}}.Check(t)
			goleak.VerifyNone(t, before)
		})
	}
}

// A failed Listen opens nothing and emits no event.
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
		kit.BadInput
	}{
		"unknown network": {network: "tpc", address: "127.0.0.1:0",
			BadInput: kit.BadInput{As: []any{kit.OpError(), new(net.UnknownNetworkError)}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"tpc", "127.0.0.1:0"}}},
		"no port": {network: "tcp", address: "127.0.0.1",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_MISSING_ARGS", Says: []string{"127.0.0.1", "missing port"}}},
		"port out of range": {network: "tcp", address: "127.0.0.1:65536",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_SOCKET_BAD_PORT", Says: []string{"127.0.0.1:65536", "invalid port"}}},
		"port in use": {network: "tcp", address: taken,
			BadInput: kit.BadInput{Is: []error{syscall.EADDRINUSE}, As: []any{kit.OpError(), new(*os.SyscallError)}, Code: "EADDRINUSE", Says: []string{taken}}},
		"address of another machine": {network: "tcp", address: "192.0.2.1:0",
			BadInput: kit.BadInput{Is: []error{syscall.EADDRNOTAVAIL}, As: []any{kit.OpError()}, Code: "EADDRNOTAVAIL", Says: []string{"192.0.2.1"}}},
		"wrong family": {network: "tcp6", address: "127.0.0.1:0",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"127.0.0.1"}}},
		"empty path": {network: "unix",
			BadInput: kit.BadInput{As: []any{kit.OpError(), kit.AddrError()}, Code: "ERR_INVALID_ARG_VALUE", Says: []string{"unix", "path"}}},
		"missing directory": {network: "unix", address: missing,
			BadInput: kit.BadInput{Is: []error{syscall.ENOENT, os.ErrNotExist}, As: []any{kit.OpError()}, Code: "ENOENT", Says: []string{missing}}},
		"path of a file": {network: "unix", address: file,
			BadInput: kit.BadInput{Is: []error{syscall.EADDRINUSE}, As: []any{kit.OpError()}, Code: "EADDRINUSE", Says: []string{file}}},
		"path too long": {network: "unix", address: strings.Repeat("x", 200),
			BadInput: kit.BadInput{Is: []error{syscall.EINVAL}, As: []any{kit.OpError()}, Code: "EINVAL", Says: []string{"unix"}}},
		"ended context": {network: "tcp", address: "127.0.0.1:0", ctx: kit.Canceled(),
			BadInput: kit.BadInput{Is: []error{context.Canceled}, As: []any{kit.OpError()}, Code: "ABORT_ERR", Says: []string{"127.0.0.1:0"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
			var got kit.Notes
			server.On.Listening(got.Say("listening"))
			server.On.Error(func(error) { got.Say("error")() })
			server.On.Close(got.Say("close"))
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			c.Err = server.ListenContext(c.ctx, c.network, c.address, got.Say("callback"))
			c.Check(t)
			assert.False(t, server.Listening())
			assert.Nil(t, server.Address())
			if c.Err == nil {
				_ = server.Close(nil)
			}
			kit.Run(t, l)
			assert.Empty(t, got)
			goleak.VerifyNone(t, before)

			// The server still works afterwards.
			require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
			require.NoError(t, server.Close(nil))
			kit.Run(t, l)
		})
	}
	content, _ := os.ReadFile(file)
	assert.Equal(t, "precious", string(content))
}

func TestBadInputServer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	notRunning := kit.BadInput{Is: []error{evnet.ErrServerNotRunning}, Code: "ERR_SERVER_NOT_RUNNING", Says: []string{"not running"}}
	notRunning.Err = server.Close(func() { t.Error("called though Close failed") })
	notRunning.Check(t)
	notRunning.Err = server.Shutdown(context.Background())
	notRunning.Check(t)

	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	addr := server.Address().String()
	twice := kit.BadInput{Is: []error{evnet.ErrServerAlreadyListening}, As: []any{kit.OpError()}, Code: "ERR_SERVER_ALREADY_LISTEN", Says: []string{"already", addr}}
	twice.Err = server.Listen("tcp", addr, func() { t.Error("called though Listen failed") })
	twice.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	twice.Err, twice.Says = server.Serve(ln), []string{"already", ln.Addr().String()}
	twice.Check(t)
	assert.NoError(t, ln.Close(), "Serve has not closed it")
	assert.Equal(t, addr, server.Address().String())

	require.NoError(t, server.Close(nil))
	notRunning.Err = server.Close(nil)
	notRunning.Check(t)
	kit.Run(t, l)
	goleak.VerifyNone(t, before)
}

// The error names the nil argument.
func TestBadInputNilForServerAndLoop(t *testing.T) {
	l := evnet.NewLoop()
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
	isNil := kit.BadInput{Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"listener"}}
	isNil.Err = server.Serve(nil)
	isNil.Check(t)
	isNil.Says = []string{"context"}
	isNil.Err = server.Shutdown(evtest.NoContext)
	isNil.Check(t)
	isNil.Err = server.ListenContext(evtest.NoContext, "tcp", "127.0.0.1:0", nil)
	isNil.Check(t)
	isNil.Err = l.Serve(evtest.NoContext)
	isNil.Check(t)
	kit.Run(t, l)
}
