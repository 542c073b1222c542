package evnet

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"evnet/internal/eventloop"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The epoll transport serves only kernel streams, and no conn that may override methods.
func TestChoiceOfTransport(t *testing.T) {
	onPoll(t)
	type embedsTCP struct{ *net.TCPConn }
	type embedsUnix struct{ *net.UnixConn }
	dir := t.TempDir()
	for name, c := range map[string]struct {
		conn func() net.Conn
		poll bool
	}{
		"tcp":  {func() net.Conn { c, _ := tcpPair(t); return c }, true},
		"unix": {func() net.Conn { c, _ := unixPair(t); return c }, true},
		"unix by path": {func() net.Conn {
			ln, err := net.Listen("unix", dir+"/s")
			require.NoError(t, err)
			defer ln.Close()
			c, err := net.Dial("unix", dir+"/s")
			require.NoError(t, err)
			a, err := ln.Accept()
			require.NoError(t, err)
			t.Cleanup(func() { _, _ = a.Close(), c.Close() })
			return a
		}, true},
		"embeds tcp":  {func() net.Conn { c, _ := tcpPair(t); return embedsTCP{c} }, false},
		"embeds unix": {func() net.Conn { c, _ := unixPair(t); return &embedsUnix{c} }, false},
		"unixgram":    {func() net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_DGRAM); return c }, false},
		"unixpacket":  {func() net.Conn { c, _ := evtest.SocketPair(t, syscall.SOCK_SEQPACKET); return c }, false},
		"pipe":        {func() net.Conn { c, _ := net.Pipe(); return c }, false},
		"tls":         {func() net.Conn { c, _ := tcpPair(t); return tls.Client(c, &tls.Config{ServerName: "x"}) }, false},
		"zero tcp":    {func() net.Conn { return &net.TCPConn{} }, false},
		"zero unix":   {func() net.Conn { return &net.UnixConn{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoop()
			s := onLoop(l, c.conn())
			s.On.Error(func(error) {})
			assert.Equal(t, c.poll, usesEpoll(s))
			s.Destroy(nil)
			runs(t, l)
		})
	}
}

// The environment variable that selects the transport is read once, when the program starts.
func TestSwitchInTheEnvironment(t *testing.T) {
	const child = "EVNET_TEST_SWITCH"
	if os.Getenv(child) != "" {
		if netpoll.Enabled {
			os.Exit(10)
		}
		os.Exit(11)
	}
	for value, code := range map[string]int{"": 10, "poll": 10, "goroutine": 11} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSwitchInTheEnvironment$")
		cmd.Env = append(os.Environ(), child+"=1", "EVNET_TRANSPORT="+value)
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &exit)
		assert.Equal(t, code, exit.ExitCode(), "EVNET_TRANSPORT=%s", value)
	}
	evtest.UseEpoll(t, false)
	l := NewLoop()
	here, _ := tcpPair(t)
	s := onLoop(l, here)
	assert.False(t, usesEpoll(s))
	s.Destroy(nil)
	runs(t, l)
}

// refuse makes the kernel refuse to watch the descriptor of s: it adds the descriptor to the epoll set for another
// slot. s must not be watched yet.
func refuse(t testing.TB, s *Socket) {
	raw, err := s.Conn().(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, s.loop().Watch(raw, new(eventloop.Member), false, netpoll.EdgeTriggered))
}

// If the kernel refuses to watch a descriptor, the goroutine transport continues with all pending data.
func TestRefusedDescriptor(t *testing.T) {
	const total = 4 << 20
	want := bytes.Repeat([]byte("0123456789abcdef"), total/16)
	for name, act := range map[string]func(s *Socket){
		"at the beginning": func(*Socket) {},
		"with a queue":     func(s *Socket) { _, _ = s.Write(want) },
		"on the loop":      func(s *Socket) { s.Loop().Do(func() { _, _ = s.Write(want) }) },
	} {
		t.Run(name, func(t *testing.T) {
			onPoll(t)
			before := pollers(t)
			l := NewLoop()
			here, there := tcpPair(t)
			s := Wrap(here, &SocketOptions{Loop: l, AllowHalfOpen: true, MaxWriteBuffer: -1})
			require.True(t, usesEpoll(s))
			refuse(t, s)
			act(s)
			var got bytes.Buffer
			s.On.Data(func(p []byte) { got.Write(p) })
			s.On.End(func() {
				assert.False(t, usesEpoll(s))
				if name == "at the beginning" {
					_, _ = s.Write(want)
				}
				s.End()
			})
			var answer []byte
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = there.Write(want[:1<<20])
				_ = there.CloseWrite()
				answer, _ = io.ReadAll(there)
			}()
			runs(t, l)
			<-done
			assert.NoError(t, s.Err())
			assert.True(t, bytes.Equal(want[:1<<20], got.Bytes()))
			assert.True(t, bytes.Equal(want, answer))
			assert.Equal(t, before, pollers(t))
		})
	}
}

// If no epoll descriptor is available, the goroutine transport serves the socket.
func TestNoDescriptorForEpoll(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	here, there := tcpPair(t)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	s := onLoop(l, here)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	assert.False(t, usesEpoll(s))
	s.Pipe(s)
	_, err := there.Write([]byte("echo"))
	require.NoError(t, err)
	require.NoError(t, there.CloseWrite())
	var got []byte
	done := make(chan struct{})
	go func() { got, _ = io.ReadAll(there); close(done) }()
	runs(t, l)
	<-done
	assert.Equal(t, "echo", string(got))
}

// Closing the conn without the socket is at the caller's risk. The socket's next operation fails with
// net.ErrClosed, and the socket can be destroyed.
func TestConnClosedBehindTheSocket(t *testing.T) {
	for name, act := range map[string]func(s *Socket){
		"write":   func(s *Socket) { _, _ = s.WriteString("x") },
		"big":     func(s *Socket) { _, _ = s.Write(make([]byte, 1<<20)) },
		"end":     func(s *Socket) { s.End() },
		"pause":   func(s *Socket) { s.Pause(); rounds(t, s.Loop(), 3, func() { s.Resume(); s.End() }) },
		"destroy": func(s *Socket) { s.Destroy(net.ErrClosed) },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				l := NewLoop()
				here, _ := tcpPair(t)
				s := onLoop(l, here)
				s.On.Data(func([]byte) {})
				var reported error
				s.On.Error(func(err error) { reported = err })
				rounds(t, l, 1, func() {
					_ = s.Conn().Close()
					act(s)
				})
				runs(t, l)
				assert.ErrorIs(t, reported, net.ErrClosed)
			})
		})
	}
}

// A socket on the epoll transport ignores a deadline that was set on the conn.
func TestDeadlineOnAPolledConn(t *testing.T) {
	onPoll(t)
	l := NewLoop()
	here, there := tcpPair(t)
	require.NoError(t, here.SetDeadline(time.Unix(1, 0)))
	s := onLoop(l, here)
	s.Pipe(s)
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, there.CloseWrite())
	runs(t, l)
	assert.NoError(t, s.Err())
	got, err := io.ReadAll(there)
	require.NoError(t, err)
	assert.Equal(t, "x", string(got))
}
