package dgram_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"evnet"
	"evnet/dgram"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scenes makes sockets. The callback that the key names calls blow.
var scenes = map[string]func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket{
	"message": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		s.On.Message(func([]byte, netip.AddrPort) { blow() })
		require.NoError(t, s.Bind("127.0.0.1:0", func() { _ = s.SendTo(nil, s.Address(), nil) }))
		return s
	},
	"onread": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		require.NoError(t, s.OnRead(func([]byte, netip.AddrPort) { blow() }))
		require.NoError(t, s.Bind("127.0.0.1:0", func() { _ = s.SendTo(nil, s.Address(), nil) }))
		return s
	},
	"listening": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		s.On.Listening(blow)
		require.NoError(t, s.Bind("127.0.0.1:0", nil))
		return s
	},
	"sent": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		require.NoError(t, s.Send(nil, "127.0.0.1:9", func(error) { blow() }))
		return s
	},
	"connect": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		require.NoError(t, s.Connect("127.0.0.1:9", func(error) { blow() }))
		return s
	},
	"error": func(t *testing.T, l *evnet.Loop, blow func()) *dgram.Socket {
		s := open(t, l, dgram.SocketOptions{})
		s.Once.Error(func(error) { blow() })
		require.NoError(t, s.Send(nil, "[::1]:9", nil))
		return s
	},
}

// With OnPanic a panic in a callback closes its socket, the hook gets the panic, and other sockets continue.
func TestPanicIsContained(t *testing.T) {
	each(t, func(t *testing.T) {
		for name, scene := range scenes {
			l := evnet.NewLoop()
			var hooked *evnet.PanicError
			l.OnPanic(func(err *evnet.PanicError) { hooked = err })
			s := scene(t, l, func() { panic(errOwn) })
			other := bound(t, l, dgram.SocketOptions{})
			var emitted error
			var events []string
			s.On.Error(func(err error) { emitted = err })
			s.On.Close(func() {
				events = append(events, "close")
				_ = other.SendTo([]byte("on"), other.Address(), nil)
			})
			other.On.Message(func([]byte, netip.AddrPort) {
				events = append(events, "other")
				closed(other)
			})
			for range 3 { // callbacks run exactly once, also of a socket that has panicked
				_ = s.Send(nil, "127.0.0.1:9", func(error) { events = append(events, "done") })
			}
			run(t, l)
			require.NotNil(t, hooked, name)
			require.ErrorIs(t, hooked, errOwn, name)
			require.ErrorIs(t, emitted, errOwn, name)
			assert.Contains(t, string(hooked.Stack), "panic_test.go", name)
			assert.Equal(t, []string{"done", "done", "done", "close", "other"}, events, name)
		}
	})
}

// Without OnPanic the panic unwinds out of Run, and the socket is closed when Run is called again.
func TestPanicUnwinds(t *testing.T) {
	each(t, func(t *testing.T) {
		for name, scene := range scenes {
			l := evnet.NewLoop()
			s := scene(t, l, func() { panic(errOwn) })
			closes := 0
			s.On.Close(func() { closes++ })
			s.On.Error(func(error) {})
			assert.PanicsWithError(t, errOwn.Error(), func() { run(t, l) }, name)
			assert.Zero(t, closes, name)
			run(t, l)
			assert.Equal(t, 1, closes, name)
		}
	})
}

func TestGoexitInACallback(t *testing.T) {
	each(t, func(t *testing.T) {
		for name, scene := range scenes {
			l := evnet.NewLoop()
			s := scene(t, l, runtime.Goexit)
			closes := 0
			s.On.Close(func() { closes++ })
			s.On.Error(func(error) {})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				l.Run()
				t.Error("Run has returned")
			}()
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatal("Run has not ended")
			}
			run(t, l)
			assert.Equal(t, 1, closes, name)
		}
	})
}

// After a panic in a Close listener the callback of Close still runs.
func TestPanicInClose(t *testing.T) {
	each(t, func(t *testing.T) {
		l := evnet.NewLoop()
		hooked := 0
		l.OnPanic(func(*evnet.PanicError) { hooked++ })
		s := bound(t, l, dgram.SocketOptions{})
		s.On.Close(func() { panic(errOwn) })
		after := false
		require.NoError(t, s.Close(func() { after = true }))
		run(t, l)
		assert.Equal(t, 1, hooked)
		assert.True(t, after)
	})
}
