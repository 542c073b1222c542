package connect_test

import (
	"context"
	"net"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
)

// The context of a connected socket destroys it, even with queued data. The socket releases the context at its end.
func TestContextOfAConnectedSocket(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := evnet.NewLoop()
	server, address := kit.Serve(t, l, nil, kit.Consume)
	server.Unref()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx})
	var got kit.Notes
	kit.NoteEvents(s, &got)
	var dropped error
	s.On.Ready(func() {
		s.Cork()
		s.WriteThen([]byte("never sent"), func(err error) { dropped = err })
		cancel()
	})
	s.Connect("tcp", address)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"attempt tcp4 " + address + " 4", "connect", "ready", "error ABORT_ERR", "close true"}, got)
	assert.ErrorIs(t, s.Err(), context.Canceled)
	assert.ErrorIs(t, dropped, context.Canceled)
	assert.ErrorContains(t, s.Err(), address)
}

// A context that has already ended prevents any start, for sockets that connect and for wrapped conns.
func TestContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx, Resolver: evtest.NeverResolves{}})
	var got kit.Notes
	kit.NoteEvents(s, &got)
	s.Connect("tcp", "name.example:80")
	kit.Run(t, l)
	s.Connect("tcp", "127.0.0.1:80")
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"error ABORT_ERR", "close true", "error ABORT_ERR", "close true"}, got)

	here, there := net.Pipe()
	s = evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Context: ctx})
	got = nil
	kit.NoteEvents(s, &got)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"error ABORT_ERR", "close true"}, got)
	_, err := there.Write([]byte("x"))
	assert.Error(t, err, "the conn is closed")
}

// A context ends a pending connection, and has no effect on a socket that has closed before.
func TestContextWhileConnecting(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx, Resolver: evtest.NeverResolves{}})
	var got kit.Notes
	kit.NoteEvents(s, &got)
	s.Connect("tcp", "name.example:80")
	s.Destroy(evtest.Boom("mine"))
	kit.Run(t, l)
	s.Connect("tcp", "name.example:80")
	l.Post(cancel)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"error ", "close true", "error ABORT_ERR", "close true"}, got)
	assert.ErrorContains(t, s.Err(), "name.example:80")
}
