package connect_test

import (
	"context"
	"runtime"
	"testing"
	"time"
	"weak"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unconnected makes a socket with a context that was never connected, and notes its events.
func unconnected(l *evnet.Loop, ctx context.Context) (*evnet.Socket, *kit.Notes) {
	s, got := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx}), &kit.Notes{}
	kit.NoteEvents(s, got)
	return s, got
}

// The end of the context destroys a socket that was never connected, as Node's signal does, before Run returns.
func TestContext_EndsASocketThatWasNeverConnected(t *testing.T) {
	ended := kit.Notes{"error ABORT_ERR", "close true"}
	for range 100 {
		l := evnet.NewLoop()
		ctx, cancel := context.WithCancel(t.Context())
		before, got := unconnected(l, ctx)
		cancel()
		kit.Run(t, l)
		assert.Equal(t, ended, *got, "ended before Run")
		assert.ErrorIs(t, before.Err(), context.Canceled)
		assert.Equal(t, evnet.StateClosed, before.ReadyState())

		_, got = unconnected(l, ctx)
		kit.Run(t, l)
		assert.Equal(t, ended, *got, "ended before NewSocket")

		ctx, cancel = context.WithCancel(t.Context())
		_, got = unconnected(l, ctx)
		l.Post(cancel)
		kit.Run(t, l)
		assert.Equal(t, ended, *got, "ended by the last callback")

		ctx, cancel = context.WithCancel(t.Context())
		s, got := unconnected(l, ctx)
		l.Ref()
		s.On.Close(func(bool) { l.Unref() })
		go cancel()
		kit.Run(t, l)
		assert.Equal(t, ended, *got, "ended by a goroutine")

		ctx, cancel = context.WithCancel(t.Context())
		s, got = unconnected(l, ctx)
		s.End()
		l.Post(func() { l.Post(cancel) })
		kit.Run(t, l)
		assert.Equal(t, append(kit.Notes{"finish"}, ended...), *got, "ended after End")

		ctx, cancel = context.WithCancel(t.Context())
		_, got = unconnected(l, ctx)
		l.Post(cancel)
		assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
		assert.Equal(t, ended, *got, "the context of Serve")
	}
}

// A context that ends later has no effect on a socket that has closed, and a context that does not end keeps no Run going.
func TestContext_IgnoredByAnUnconnectedSocketThatHasClosed(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(t.Context())
	_, open := unconnected(l, ctx)
	s, got := unconnected(l, ctx)
	require.NoError(t, s.Close())
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"close false"}, *got)
	assert.Empty(t, *open)
	cancel()
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"close false"}, *got)
	assert.Equal(t, kit.Notes{"error ABORT_ERR", "close true"}, *open)
}

// The end of the context destroys a socket in each of its connections.
func TestContext_EndsALaterConnection(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ctx, cancel := context.WithCancel(t.Context())
		server, address := kit.Serve(t, l, nil, kit.Consume)
		server.Unref()
		s, got := unconnected(l, ctx)
		s.RemoveAllListeners(evnet.EventConnectionAttempt)
		s.Once.Ready(func() { s.Destroy(nil) })
		s.Once.Close(func(bool) {
			s.Once.Ready(cancel)
			s.Connect("tcp", address)
		})
		s.Connect("tcp", address)
		kit.Run(t, l)
		assert.Equal(t, kit.Notes{
			"connect", "ready", "close false", "connect", "ready", "error ABORT_ERR", "close true"}, *got)
	})
}

// The context keeps no socket alive that the program has dropped, unless the program would see its end.
func TestContext_KeepsNoUnconnectedSocket(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(t.Context())
	var dropped []weak.Pointer[evnet.Socket]
	for range 100 {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx})
		s.On.Data(func([]byte) { s.Destroy(nil) })
		dropped = append(dropped, weak.Make(s))
	}
	closed := 0
	kept := func() weak.Pointer[evnet.Socket] {
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Context: ctx})
		s.On.Error(func(error) {})
		s.On.Close(func(bool) { closed++ })
		return weak.Make(s)
	}()
	deadline := time.Now().Add(evtest.Patience)
	for _, s := range dropped {
		for s.Value() != nil {
			require.True(t, time.Now().Before(deadline), "the context keeps the socket alive")
			runtime.GC()
		}
	}
	assert.NotNil(t, kept.Value())
	l.Post(cancel)
	kit.Run(t, l)
	assert.Equal(t, 1, closed)
	for kept.Value() != nil {
		require.True(t, time.Now().Before(deadline), "the context keeps the socket alive after its Close")
		runtime.GC()
	}
}
