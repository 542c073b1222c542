package misuse_test

import (
	"io"
	"net"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A refused write returns the reason, queues nothing, and passes the same error to the callback.
func TestBadInputWrite(t *testing.T) {
	cases := map[string]struct {
		prepare func(s *evnet.Socket)
		kit.BadInput
	}{
		"before connect": {func(*evnet.Socket) {},
			kit.BadInput{Is: []error{evnet.ErrSocketClosed, net.ErrClosed}, Code: "ERR_SOCKET_CLOSED", Says: []string{"not connected"}}},
		"after end": {(*evnet.Socket).End,
			kit.BadInput{Is: []error{evnet.ErrWriteAfterEnd}, Code: "ERR_STREAM_WRITE_AFTER_END", Says: []string{"after end"}}},
		"after close": {func(s *evnet.Socket) { _ = s.Close() },
			kit.BadInput{Is: []error{evnet.ErrDestroyed, net.ErrClosed}, Code: "ERR_STREAM_DESTROYED", Says: []string{"destroyed"}}},
		"after destroy": {func(s *evnet.Socket) { s.Destroy(nil) },
			kit.BadInput{Is: []error{evnet.ErrDestroyed, net.ErrClosed}, Code: "ERR_STREAM_DESTROYED", Says: []string{"destroyed"}}},
		"after reset": {func(s *evnet.Socket) { s.On.Error(func(error) {}); s.Reset() },
			kit.BadInput{Is: []error{evnet.ErrDestroyed, net.ErrClosed}, Code: "ERR_STREAM_DESTROYED", Says: []string{"destroyed"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			s := kit.NewClient(l)
			c.prepare(s)
			n, err := s.Write([]byte("lost"))
			assert.Zero(t, n)
			c.Err = err
			c.Check(t)
			n, err = s.WriteString("lost")
			assert.Zero(t, n)
			assert.Equal(t, c.Err, err)
			var reported []error
			s.WriteThen([]byte("lost"), func(err error) { reported = append(reported, err) })
			s.WriteThen([]byte("lost"), nil)
			assert.Empty(t, reported, "no callback before WriteThen returns")
			copied, err := s.ReadFrom(evtest.EndlessReader{})
			assert.Zero(t, copied)
			assert.Error(t, err)
			kit.Run(t, l)
			assert.Equal(t, []error{c.Err}, reported)
			assert.Zero(t, s.BytesWritten())
			goleak.VerifyNone(t, before)
		})
	}
}

// Writes are refused after the end of this side, and after Close, on a socket that was connected.
func TestBadInputWriteOnceConnected(t *testing.T) {
	l := evnet.NewLoop()
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) {
		afterEnd := kit.BadInput{Is: []error{evnet.ErrWriteAfterEnd}, Code: "ERR_STREAM_WRITE_AFTER_END"}
		s.On.Connect(func() {
			_, _ = s.WriteString("hello")
			s.End()
			_, afterEnd.Err = s.WriteString("lost")
			afterEnd.Check(t)
		})
		got := ""
		s.On.Data(func(p []byte) { got += string(p) }) // the socket still reads
		s.On.Error(func(err error) { assert.NoError(t, err, "a refused write is not an error of the socket") })
		s.On.Close(func(bool) {
			assert.Equal(t, "hello", got)
			afterClose := kit.BadInput{Is: []error{evnet.ErrDestroyed, net.ErrClosed}, Code: "ERR_STREAM_DESTROYED"}
			_, afterClose.Err = s.WriteString("lost")
			afterClose.Check(t)
		})
	})
	kit.Meet(t, l, nil, func(s *evnet.Socket) {
		s.On.Connect(func() {
			assert.NoError(t, s.Close())
			_, err := s.WriteString("lost")
			kit.BadInput{Err: err, Is: []error{evnet.ErrWriteAfterEnd}, Code: "ERR_STREAM_WRITE_AFTER_END"}.Check(t)
		})
	})
	kit.Run(t, l)
}

// The callbacks of queued writes get the error of a connection that fails.
func TestBadInputWriteConnectionNeverCame(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	s.On.Error(func(error) {})
	s.Connect("tcp", net.JoinHostPort("127.0.0.1", evtest.FreePort(t)))
	var reported error
	s.WriteThen([]byte("lost"), func(err error) { reported = err })
	kit.Run(t, l)
	kit.BadInput{Err: reported, Is: []error{evnet.ErrClosedBeforeConnect, net.ErrClosed}, Code: "ERR_SOCKET_CLOSED_BEFORE_CONNECTION"}.Check(t)
}

func TestBadInputMaxWriteBuffer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	here, there := net.Pipe() // a write blocks until the peer reads
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: 10})
	n, err := s.WriteString("0123456789")
	assert.NoError(t, err)
	assert.Equal(t, 10, n)
	n, err = s.WriteString("x")
	assert.Zero(t, n)
	kit.BadInput{Err: err, Is: []error{evnet.ErrWriteBufferFull}, Code: "ENOBUFS", Says: []string{"full"}}.Check(t)
	_, err = s.Write(nil)
	assert.NoError(t, err, "an empty write always fits")
	assert.False(t, s.Destroyed(), "the socket stays open")
	s.End()
	got := make(chan string, 1)
	go func() {
		p, _ := io.ReadAll(there)
		got <- string(p)
	}()
	kit.Run(t, l)
	assert.Equal(t, "0123456789", <-got)
	goleak.VerifyNone(t, before)
}

// Within one callback writes are queued only to be sent together. Bytes that the kernel would accept do not
// count against the maximum.
func TestBadInputMaxWriteBufferInOneCallback(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { _ = server.Close(nil); s.Resume() })
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, MaxWriteBuffer: 10})
	s.On.Connect(func() {
		for range 3 {
			_, err := s.WriteString("0123456789")
			assert.NoError(t, err)
		}
		s.End()
	})
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.EqualValues(t, 30, s.BytesWritten())
}

func TestBadInputSocketMethods(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	for name, c := range map[string]kit.BadInput{
		"negative timeout": {Err: s.SetTimeout(-time.Second), Is: []error{evnet.ErrInvalidTimeout}, Code: "ERR_OUT_OF_RANGE", Says: []string{"-1s"}},
		"unknown encoding": {Err: s.SetEncoding("utf-7"), Is: []error{evnet.ErrUnknownEncoding}, Code: "ERR_UNKNOWN_ENCODING", Says: []string{"utf-7"}},
		"nil callback":     {Err: s.On.Data(nil).Err(), Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"nil"}},
	} {
		t.Run(name, c.Check)
	}
	assert.Zero(t, s.Timeout())
	assert.Empty(t, s.Encoding())

	s.Pipe(nil) // only logged
	assert.False(t, s.Paused())
	s.OnRead(nil)
	kit.Run(t, l)
	goleak.VerifyNone(t, before)
}

func TestBadInputNilReader(t *testing.T) {
	_, err := kit.NewClient(evnet.NewLoop()).ReadFrom(nil)
	kit.BadInput{Err: err, Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"reader"}}.Check(t)
}

func TestBadInputNilConn(t *testing.T) {
	l := evnet.NewLoop()
	s := evnet.Wrap(nil, &evnet.SocketOptions{Loop: l})
	var got kit.Notes
	kit.NoteEvents(s, &got)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"error ERR_INVALID_ARG_TYPE", "close true"}, got)
	kit.BadInput{Err: s.Err(), Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE", Says: []string{"conn"}}.Check(t)
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
