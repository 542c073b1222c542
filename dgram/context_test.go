package dgram_test

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The end of the context closes a socket that was never bound, as Node's signal does, before Run returns.
func TestContext_ClosesASocketThatWasNeverBound(t *testing.T) {
	for range 100 {
		for name, ends := range map[string]func(l *evnet.Loop, cancel func()){
			"before Run":           func(_ *evnet.Loop, cancel func()) { cancel() },
			"in the last callback": func(l *evnet.Loop, cancel func()) { l.Post(func() { l.Post(cancel) }) },
			"by a goroutine": func(l *evnet.Loop, cancel func()) {
				l.Ref()
				go func() { defer l.Unref(); cancel() }()
			},
		} {
			l := evnet.NewLoop()
			ctx, cancel := context.WithCancel(t.Context())
			s, closes := open(t, l, dgram.SocketOptions{Context: ctx}), 0
			s.On.Error(func(err error) { assert.NoError(t, err) })
			s.On.Close(func() { closes++ })
			run(t, l)
			assert.Zero(t, closes, "an unbound socket does not keep Run going")
			ends(l, cancel)
			run(t, l)
			assert.Equal(t, 1, closes, name)
			require.ErrorIs(t, s.Bind("", nil), dgram.ErrNotRunning)
		}
	}
}

// The context keeps no socket alive that the program has dropped, unless the program would see its Close.
func TestContext_KeepsNoUnboundSocket(t *testing.T) {
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(t.Context())
	var dropped []weak.Pointer[dgram.Socket]
	for range 100 {
		s := open(t, l, dgram.SocketOptions{Context: ctx})
		s.On.Message(func([]byte, netip.AddrPort) {})
		s.On.Listening(func() { _ = s.Close(nil) })
		dropped = append(dropped, weak.Make(s))
	}
	closes := 0
	kept := func() weak.Pointer[dgram.Socket] {
		s := open(t, l, dgram.SocketOptions{Context: ctx})
		s.On.Close(func() { closes++ })
		return weak.Make(s)
	}()
	deadline := time.Now().Add(patience)
	for _, s := range dropped {
		for s.Value() != nil {
			require.True(t, time.Now().Before(deadline), "the context keeps the socket alive")
			runtime.GC()
		}
	}
	assert.NotNil(t, kept.Value())
	l.Post(cancel)
	run(t, l)
	assert.Equal(t, 1, closes)
	for kept.Value() != nil {
		require.True(t, time.Now().Before(deadline), "the context keeps the socket alive after its Close")
		runtime.GC()
	}
}
