package evnet_test

import (
	"io"
	"net"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Each write that cannot be made says why, takes nothing, and calls back with the same error.
func TestBadInputWrite(t *testing.T) {
	cases := map[string]struct {
		prepare func(s *evnet.Socket)
		badInput
	}{
		"before connect": {func(*evnet.Socket) {},
			badInput{is: []error{evnet.ErrSocketClosed, net.ErrClosed}, code: "ERR_SOCKET_CLOSED", says: []string{"not connected"}}},
		"after end": {(*evnet.Socket).End,
			badInput{is: []error{evnet.ErrWriteAfterEnd}, code: "ERR_STREAM_WRITE_AFTER_END", says: []string{"after end"}}},
		"after close": {func(s *evnet.Socket) { _ = s.Close() },
			badInput{is: []error{evnet.ErrDestroyed, net.ErrClosed}, code: "ERR_STREAM_DESTROYED", says: []string{"destroyed"}}},
		"after destroy": {func(s *evnet.Socket) { s.Destroy(nil) },
			badInput{is: []error{evnet.ErrDestroyed, net.ErrClosed}, code: "ERR_STREAM_DESTROYED", says: []string{"destroyed"}}},
		"after reset": {func(s *evnet.Socket) { s.On.Error(func(error) {}); s.Reset() },
			badInput{is: []error{evnet.ErrDestroyed, net.ErrClosed}, code: "ERR_STREAM_DESTROYED", says: []string{"destroyed"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			s := client(l)
			c.prepare(s)
			n, err := s.Write([]byte("lost"))
			assert.Zero(t, n)
			c.err = err
			c.check(t)
			n, err = s.WriteString("lost")
			assert.Zero(t, n)
			assert.Equal(t, c.err, err)
			var told []error
			s.WriteThen([]byte("lost"), func(err error) { told = append(told, err) })
			s.WriteThen([]byte("lost"), nil)
			assert.Empty(t, told, "no callback before WriteThen returns")
			copied, err := s.ReadFrom(neverEnding{})
			assert.Zero(t, copied)
			assert.Error(t, err)
			run(t, l)
			assert.Equal(t, []error{c.err}, told)
			assert.Zero(t, s.BytesWritten())
			goleak.VerifyNone(t, before)
		})
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// After the end of this side, and after Close, on a socket that is connected.
func TestBadInputWriteOnceConnected(t *testing.T) {
	l := evnet.NewLoop()
	meet(t, l, echo, func(s *evnet.Socket) {
		afterEnd := badInput{is: []error{evnet.ErrWriteAfterEnd}, code: "ERR_STREAM_WRITE_AFTER_END"}
		s.On.Connect(func() {
			_, _ = s.WriteString("hello")
			s.End()
			_, afterEnd.err = s.WriteString("lost")
			afterEnd.check(t)
		})
		got := ""
		s.On.Data(func(p []byte) { got += string(p) }) // it goes on reading
		s.On.Error(func(err error) { assert.NoError(t, err, "a refused write is no failure of the socket") })
		s.On.Close(func(bool) {
			assert.Equal(t, "hello", got)
			afterClose := badInput{is: []error{evnet.ErrDestroyed, net.ErrClosed}, code: "ERR_STREAM_DESTROYED"}
			_, afterClose.err = s.WriteString("lost")
			afterClose.check(t)
		})
	})
	meet(t, l, nil, func(s *evnet.Socket) {
		s.On.Connect(func() {
			assert.NoError(t, s.Close())
			_, err := s.WriteString("lost")
			badInput{err: err, is: []error{evnet.ErrWriteAfterEnd}, code: "ERR_STREAM_WRITE_AFTER_END"}.check(t)
		})
	})
	run(t, l)
}

// What was queued for a connection that never came is told so.
func TestBadInputWriteConnectionNeverCame(t *testing.T) {
	l := evnet.NewLoop()
	s := client(l)
	s.On.Error(func(error) {})
	s.Connect("tcp", net.JoinHostPort("127.0.0.1", freePort(t)))
	var told error
	s.WriteThen([]byte("lost"), func(err error) { told = err })
	run(t, l)
	badInput{err: told, is: []error{evnet.ErrClosedBeforeConnect, net.ErrClosed}, code: "ERR_SOCKET_CLOSED_BEFORE_CONNECTION"}.check(t)
}

func TestBadInputMaxWriteBuffer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe() // takes nothing until it is read
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: 10})
	n, err := s.WriteString("0123456789")
	assert.NoError(t, err)
	assert.Equal(t, 10, n)
	n, err = s.WriteString("x")
	assert.Zero(t, n)
	badInput{err: err, is: []error{evnet.ErrWriteBufferFull}, code: "ENOBUFS", says: []string{"full"}}.check(t)
	_, err = s.Write(nil)
	assert.NoError(t, err, "nothing always fits")
	assert.False(t, s.Destroyed(), "the socket lives on")
	s.End()
	got := make(chan string, 1)
	go func() {
		p, _ := io.ReadAll(there)
		got <- string(p)
	}()
	run(t, l)
	assert.Equal(t, "0123456789", <-got)
	goleak.VerifyNone(t, before)
}

// Within one callback writes wait only to leave together: what the kernel would take does not count
// against the maximum.
func TestBadInputMaxWriteBufferInOneCallback(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	server, addr := serve(t, l, nil, func(s *evnet.Socket) { _ = server.Close(nil); s.Resume() })
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, MaxWriteBuffer: 10})
	s.On.Connect(func() {
		for range 3 {
			_, err := s.WriteString("0123456789")
			assert.NoError(t, err)
		}
		s.End()
	})
	s.Connect("tcp", addr)
	run(t, l)
	assert.EqualValues(t, 30, s.BytesWritten())
}

func TestBadInputSocketMethods(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	s := client(l)
	for name, c := range map[string]badInput{
		"negative time-out": {err: s.SetTimeout(-time.Second), is: []error{evnet.ErrInvalidTimeout}, code: "ERR_OUT_OF_RANGE", says: []string{"-1s"}},
		"unknown encoding":  {err: s.SetEncoding("utf-7"), is: []error{evnet.ErrUnknownEncoding}, code: "ERR_UNKNOWN_ENCODING", says: []string{"utf-7"}},
		"nil callback":      {err: s.On.Data(nil).Err(), is: []error{evnet.ErrNilArgument}, code: "ERR_INVALID_ARG_TYPE", says: []string{"nil"}},
	} {
		t.Run(name, c.check)
	}
	assert.Zero(t, s.Timeout())
	assert.Empty(t, s.Encoding())

	s.Pipe(nil) // logged, and nothing else
	assert.False(t, s.Paused())
	s.OnRead(nil)
	run(t, l)
	goleak.VerifyNone(t, before)
}

func TestBadInputNilReader(t *testing.T) {
	_, err := client(evnet.NewLoop()).ReadFrom(nil)
	badInput{err: err, is: []error{evnet.ErrNilArgument}, code: "ERR_INVALID_ARG_TYPE", says: []string{"reader"}}.check(t)
}

func TestBadInputNilConn(t *testing.T) {
	l := evnet.NewLoop()
	s := evnet.Wrap(nil, &evnet.SocketOptions{Loop: l})
	var got notes
	watch(s, &got)
	run(t, l)
	assert.Equal(t, notes{"error ERR_INVALID_ARG_TYPE", "close true"}, got)
	badInput{err: s.Err(), is: []error{evnet.ErrNilArgument}, code: "ERR_INVALID_ARG_TYPE", says: []string{"conn"}}.check(t)
}

// nil options mean all defaults.
func TestBadInputNilOptions(t *testing.T) {
	assert.Same(t, evnet.DefaultLoop, evnet.NewSocket(nil).Loop())
	server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{nil}})
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", nil))
	var client *evnet.Socket
	server.On.Connection(func(s *evnet.Socket) {
		assert.Same(t, evnet.DefaultLoop, s.Loop())
		_ = server.Close(nil)
		s.End()
		client.End()
	})
	client = evnet.Connect("tcp", server.Address().String(), nil)
	evnet.CreateServer(nil).SetMaxConnections(1)
	here, there := net.Pipe()
	_ = there.Close()
	wrapped := evnet.Wrap(here, nil)
	evnet.Run()
	assert.True(t, client.Destroyed())
	assert.True(t, wrapped.Destroyed())
}
