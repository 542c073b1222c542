package conformance_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing connects and returns the error of the socket.
func failing(t *testing.T, network, address string, opts evnet.SocketOptions) error {
	l := evnet.NewLoop()
	opts.Loop = l
	s := evnet.NewSocket(&opts)
	s.On.Error(func(error) {})
	s.Connect(network, address)
	kit.Run(t, l)
	return s.Err()
}

// answering returns a Dialer whose system calls fail with errno.
func answering(errno syscall.Errno) *net.Dialer {
	return &net.Dialer{Control: func(string, string, syscall.RawConn) error { return os.NewSyscallError("connect", errno) }}
}

// Each error has Node's code, wraps the kernel's error, and names the address and the call.
func TestErrorsCode(t *testing.T) {
	dir := evtest.SocketDir(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	taken := ln.Addr().String()
	listen := func(t *testing.T, network, address string) error {
		l := evnet.NewLoop()
		s := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}})
		err := s.Listen(network, address, nil)
		if err == nil {
			_ = s.Close(nil)
		}
		kit.Run(t, l)
		return err
	}
	simulated := func(errno syscall.Errno) func(t *testing.T) error { // for errors that a test cannot cause
		return func(t *testing.T) error {
			return failing(t, "tcp", "192.0.2.1:80", evnet.SocketOptions{Dialer: answering(errno)})
		}
	}
	type situation struct {
		provoke func(t *testing.T) error
		code    string
		is      error
		says    []string
	}
	cases := map[string]situation{
		"refused": {func(t *testing.T) error {
			return failing(t, "tcp", "127.0.0.1:"+evtest.FreePort(t), evnet.SocketOptions{})
		},
			"ECONNREFUSED", syscall.ECONNREFUSED, []string{"connect", "127.0.0.1:"}},
		"no such path": {func(t *testing.T) error { return failing(t, "unix", filepath.Join(dir, "x"), evnet.SocketOptions{}) },
			"ENOENT", syscall.ENOENT, []string{"connect", dir}},
		"path through a file": {func(t *testing.T) error {
			file := filepath.Join(dir, "file")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			return failing(t, "unix", filepath.Join(file, "x"), evnet.SocketOptions{})
		}, "ENOTDIR", syscall.ENOTDIR, []string{"connect", dir}},
		"listening twice": {func(t *testing.T) error { return listen(t, "tcp", taken) },
			"EADDRINUSE", syscall.EADDRINUSE, []string{"listen", "bind", taken}},
		"busy local port": {func(t *testing.T) error {
			return failing(t, "tcp", "127.0.0.1:1", evnet.SocketOptions{Dialer: &net.Dialer{LocalAddr: ln.Addr()}})
		}, "EADDRINUSE", syscall.EADDRINUSE, []string{"dial", "bind", taken}},
		"listening elsewhere": {func(t *testing.T) error { return listen(t, "tcp", "192.0.2.1:0") },
			"EADDRNOTAVAIL", syscall.EADDRNOTAVAIL, []string{"listen", "bind", "192.0.2.1"}},
		"reading a reset": {func(t *testing.T) error {
			l := evnet.NewLoop()
			var read error
			kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
				c.Resume()
				c.On.Error(func(err error) { read = err })
				a.Reset()
			})
			kit.Run(t, l)
			return read
		}, "ECONNRESET", syscall.ECONNRESET, []string{"read", "127.0.0.1:"}},
		"writing to a closed conn": {func(t *testing.T) error {
			l := evnet.NewLoop()
			here, there := evtest.UnixPair(t)
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			s.Pause()
			s.On.Error(func(error) {})
			require.NoError(t, there.Close())
			_, _ = s.WriteString("x")
			kit.Run(t, l)
			return s.Err()
		}, "EPIPE", syscall.EPIPE, []string{"write", "unix"}},
		"no such host": {func(t *testing.T) error {
			return failing(t, "tcp", "nowhere.example:80", evnet.SocketOptions{Resolver: evtest.Resolver{}})
		}, "ENOTFOUND", nil, []string{"nowhere.example"}},
		"name server out of order": {func(t *testing.T) error {
			err := &net.DNSError{Err: "read udp: connection refused", UnwrapErr: syscall.ECONNREFUSED, Name: "nowhere.example", IsTemporary: true}
			return failing(t, "tcp", "nowhere.example:80", evnet.SocketOptions{Resolver: evtest.Resolver{Err: err}})
		}, "EAI_AGAIN", nil, []string{"nowhere.example"}},
		"name server too slow": {func(t *testing.T) error {
			err := &net.DNSError{Err: "i/o timeout", UnwrapErr: context.DeadlineExceeded, Name: "nowhere.example", IsTimeout: true}
			return failing(t, "tcp", "nowhere.example:80", evnet.SocketOptions{Resolver: evtest.Resolver{Err: err}})
		}, "EAI_AGAIN", nil, []string{"nowhere.example"}},
		"name server refuses": {func(t *testing.T) error {
			err := &net.DNSError{Err: "server failure", Name: "nowhere.example"}
			return failing(t, "tcp", "nowhere.example:80", evnet.SocketOptions{Resolver: evtest.Resolver{Err: err}})
		}, "EAI_FAIL", nil, []string{"nowhere.example"}},
		"lookup cancelled by itself": {func(t *testing.T) error {
			err := &net.DNSError{Err: "canceled", UnwrapErr: context.Canceled, Name: "nowhere.example"}
			return failing(t, "tcp", "nowhere.example:80", evnet.SocketOptions{Resolver: evtest.Resolver{Err: err}})
		}, "ABORT_ERR", context.Canceled, []string{"nowhere.example"}},
		"cancelled": {func(t *testing.T) error {
			l := evnet.NewLoop()
			s := kit.NewClient(l)
			s.On.Error(func(error) {})
			ctx, cancel := context.WithCancel(context.Background())
			s.On.ConnectionAttempt(func(evnet.Attempt) { cancel() })
			s.ConnectContext(ctx, "tcp", taken)
			kit.Run(t, l)
			return s.Err()
		}, "ABORT_ERR", context.Canceled, []string{"dial", taken}},
		"cancelled listening": {func(t *testing.T) error {
			return evnet.NewServer(nil).ListenContext(kit.Canceled(), "tcp", "127.0.0.1:0", nil)
		}, "ABORT_ERR", context.Canceled, []string{"listen", "127.0.0.1:0"}},
		"attempt too slow": {func(t *testing.T) error {
			d := evtest.UnresponsiveDialer()
			d.Timeout = time.Millisecond
			return failing(t, "tcp", "127.0.0.3:80", evnet.SocketOptions{Dialer: d})
		}, "ETIMEDOUT", nil, []string{"dial", "127.0.0.3:80"}},
		"connection too slow": {func(t *testing.T) error {
			return failing(t, "tcp", "127.0.0.3:80", evnet.SocketOptions{Dialer: evtest.UnresponsiveDialer(), IdleTimeout: 10 * time.Millisecond})
		}, "ERR_SOCKET_CONNECTION_TIMEOUT", os.ErrDeadlineExceeded, []string{"dial", "127.0.0.3:80", "timeout"}},
		"idle": {func(t *testing.T) error {
			l := evnet.NewLoop()
			here, there := evtest.TCPPair(t)
			defer there.Close()
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, IdleTimeout: time.Millisecond})
			s.On.Error(func(error) {})
			kit.Run(t, l)
			return s.Err()
		}, "ETIMEDOUT", os.ErrDeadlineExceeded, []string{"idle", "127.0.0.1:"}},
		"no descriptor": {func(t *testing.T) error {
			_, err := net.FileListener(aFile(t, dir))
			return err
		}, "ENOTSOCK", syscall.ENOTSOCK, []string{"socket"}},
		"handle without the method": {func(t *testing.T) error {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			defer peer.Close()
			defer kit.Run(t, l)
			defer s.Destroy(nil)
			return s.SetNoDelay(true)
		}, "ENOTSUP", errors.ErrUnsupported, []string{"set", "pipe"}},
		"access":       {simulated(syscall.EACCES), "EACCES", syscall.EACCES, []string{"connect", "192.0.2.1:80"}},
		"permission":   {simulated(syscall.EPERM), "EPERM", syscall.EPERM, []string{"connect", "192.0.2.1:80"}},
		"timed out":    {simulated(syscall.ETIMEDOUT), "ETIMEDOUT", syscall.ETIMEDOUT, []string{"connect", "192.0.2.1:80"}},
		"no network":   {simulated(syscall.ENETUNREACH), "ENETUNREACH", syscall.ENETUNREACH, []string{"connect", "192.0.2.1:80"}},
		"no host":      {simulated(syscall.EHOSTUNREACH), "EHOSTUNREACH", syscall.EHOSTUNREACH, []string{"connect", "192.0.2.1:80"}},
		"host down":    {simulated(syscall.EHOSTDOWN), "EHOSTDOWN", syscall.EHOSTDOWN, []string{"connect", "192.0.2.1:80"}},
		"network down": {simulated(syscall.ENETDOWN), "ENETDOWN", syscall.ENETDOWN, []string{"connect", "192.0.2.1:80"}},
		"descriptors":  {simulated(syscall.EMFILE), "EMFILE", syscall.EMFILE, []string{"connect", "192.0.2.1:80"}},
		"buffers":      {simulated(syscall.ENOBUFS), "ENOBUFS", syscall.ENOBUFS, []string{"connect", "192.0.2.1:80"}},
		"no family":    {simulated(syscall.EAFNOSUPPORT), "EAFNOSUPPORT", syscall.EAFNOSUPPORT, []string{"connect", "192.0.2.1:80"}},
		"canceled":     {simulated(syscall.ECANCELED), "ECANCELED", syscall.ECANCELED, []string{"connect", "192.0.2.1:80"}},
		"invalid":      {simulated(syscall.EINVAL), "EINVAL", syscall.EINVAL, []string{"connect", "192.0.2.1:80"}},
		"already":      {simulated(syscall.EALREADY), "EALREADY", syscall.EALREADY, []string{"connect", "192.0.2.1:80"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.provoke(t)
			require.Error(t, err)
			assert.Equal(t, c.code, evnet.Code(err), "%v", err)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
			for _, text := range c.says {
				assert.ErrorContains(t, err, text)
			}
		})
	}
	assert.Empty(t, evnet.Code(nil))
	assert.Empty(t, evnet.Code(io.ErrUnexpectedEOF), "Node has no code for it")
}

func aFile(t *testing.T, dir string) *os.File {
	f, err := os.Create(filepath.Join(dir, "no socket"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// If several attempts fail, errors.Is finds each error, and the first one gives the code.
func TestErrorsCodeOfSeveral(t *testing.T) {
	p := evtest.FreePort(t)
	d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		switch host, _, _ := net.SplitHostPort(address); host {
		case "127.0.0.2":
			return os.NewSyscallError("connect", syscall.EHOSTUNREACH)
		case "127.0.0.3":
			return os.NewSyscallError("connect", syscall.ETIMEDOUT)
		}
		return nil
	}}
	err := failing(t, "tcp", "name.example:"+p, evnet.SocketOptions{Dialer: d, Resolver: evtest.IPs("127.0.0.2", "127.0.0.1", "127.0.0.3")})
	assert.Equal(t, "EHOSTUNREACH", evnet.Code(err))
	for _, errno := range []error{syscall.EHOSTUNREACH, syscall.ECONNREFUSED, syscall.ETIMEDOUT} {
		assert.ErrorIs(t, err, errno)
	}
	assert.NotErrorIs(t, err, syscall.ENETUNREACH)
	for _, address := range []string{"name.example", "127.0.0.1:" + p, "127.0.0.2:" + p, "127.0.0.3:" + p} {
		assert.ErrorContains(t, err, address)
	}
	var all *evnet.ConnectError
	require.ErrorAs(t, err, &all)
	assert.Len(t, all.Errs, 3)
}
