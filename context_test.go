package evnet_test

import (
	"context"
	"net"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
)

// The context of a connected socket destroys it, whatever is queued, and is let go at its end.
func TestContextOfAConnectedSocket(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := evnet.NewLoop()
	server, address := serve(t, l, nil, consume)
	server.Unref()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx})
	var got notes
	watch(s, &got)
	var dropped error
	s.On.Ready(func() {
		s.Cork()
		s.WriteThen([]byte("never sent"), func(err error) { dropped = err })
		cancel()
	})
	s.Connect("tcp", address)
	run(t, l)
	assert.Equal(t, notes{"attempt tcp4 " + address + " 4", "connect", "ready", "error ABORT_ERR", "close true"}, got)
	assert.ErrorIs(t, s.Err(), context.Canceled)
	assert.ErrorIs(t, dropped, context.Canceled)
	assert.ErrorContains(t, s.Err(), address)
}

// A context that has ended starts nothing, however the socket comes to its conn.
func TestContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx, Resolver: mute{}})
	var got notes
	watch(s, &got)
	s.Connect("tcp", "name.example:80")
	run(t, l)
	s.Connect("tcp", "127.0.0.1:80")
	run(t, l)
	assert.Equal(t, notes{"error ABORT_ERR", "close true", "error ABORT_ERR", "close true"}, got)

	here, there := net.Pipe()
	s = evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Context: ctx})
	got = nil
	watch(s, &got)
	run(t, l)
	assert.Equal(t, notes{"error ABORT_ERR", "close true"}, got)
	_, err := there.Write([]byte("x"))
	assert.Error(t, err, "the conn is closed")
}

// It ends a connection that is not made yet, and has no say over a socket that has closed before.
func TestContextWhileConnecting(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx, Resolver: mute{}})
	var got notes
	watch(s, &got)
	s.Connect("tcp", "name.example:80")
	s.Destroy(boom("mine"))
	run(t, l)
	s.Connect("tcp", "name.example:80")
	l.Post(cancel)
	run(t, l)
	assert.Equal(t, notes{"error ", "close true", "error ABORT_ERR", "close true"}, got)
	assert.ErrorContains(t, s.Err(), "name.example:80")
}
