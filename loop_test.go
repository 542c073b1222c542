package evnet_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// sayOnce sends one line and ends when it has received it back.
func sayOnce(s *evnet.Socket) {
	s.On.Connect(func() { _, _ = s.WriteString("hello\n") })
	s.On.Data(func([]byte) { s.End() })
}

func TestLoopRunLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	kit.Run(t, l) // nothing at all is open
	kit.Meet(t, l, kit.Echo, sayOnce)
	l.AfterFunc(time.Hour, func() { t.Error("an unreferenced timer ran") }).Unref()
	kit.Run(t, l)
	goleak.VerifyNone(t, before)

	// Run may be called again.
	closed := false
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) {
		sayOnce(s)
		s.On.Close(func(bool) { closed = true })
	})
	kit.Run(t, l)
	assert.True(t, closed)
	goleak.VerifyNone(t, before)
}

func TestLoopServeEndsByContext(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	ctx, cancel := context.WithCancel(context.Background())
	var closes []string
	server, _ := kit.Serve(t, l, nil, nil)
	server.On.Close(func() { closes = append(closes, "server") })
	_, addr := kit.Serve(t, l, nil, nil)
	s := kit.NewClient(l)
	s.On.Close(func(hadError bool) {
		assert.False(t, hadError)
		closes = append(closes, "socket")
	})
	s.On.Connect(func() { cancel() })
	s.Connect("tcp", addr)
	l.AfterFunc(time.Hour, func() { t.Error("a timer ran on a loop that was stopped") })
	require.ErrorIs(t, l.Serve(ctx), context.Canceled)
	assert.ElementsMatch(t, []string{"server", "socket"}, closes)
	assert.True(t, s.Destroyed())
	assert.False(t, server.Listening())
	goleak.VerifyNone(t, before)

	assert.ErrorIs(t, l.Serve(ctx), context.Canceled, "a context that has ended already")
	assert.ErrorIs(t, l.Serve(evtest.NoContext), evnet.ErrNilArgument)
}

func TestLoopServe_ContinuesWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		ran := false
		time.AfterFunc(time.Minute, func() { l.Post(func() { ran = true }) })
		began := time.Now()
		assert.ErrorIs(t, l.Serve(ctx), context.DeadlineExceeded)
		assert.Equal(t, time.Hour, time.Since(began))
		assert.True(t, ran, "posted while the loop was idle")
	})
}

// A callback that starts new work whenever some ends must not keep Serve from returning. The callbacks give up
// after a while, so that a failure is not a hang.
func TestLoopServe_EndsDespitePendingCallbacks(t *testing.T) {
	cases := map[string]func(l *evnet.Loop, addr string, more func() bool){
		"post": func(l *evnet.Loop, _ string, more func() bool) {
			var again func()
			again = func() {
				if more() {
					l.Post(again)
				}
			}
			l.Post(again)
		},
		"same socket": func(l *evnet.Loop, addr string, more func() bool) {
			s := kit.NewClient(l)
			s.On.Error(func(error) {})
			s.On.Close(func(bool) {
				if more() {
					s.Connect("tcp", addr)
				}
			})
			s.Connect("tcp", addr)
		},
		"new socket": func(l *evnet.Loop, addr string, more func() bool) {
			var again func()
			again = func() {
				s := kit.NewClient(l)
				s.On.Error(func(error) {})
				s.On.Close(func(bool) {
					if more() {
						again()
					}
				})
				s.Connect("tcp", addr)
			}
			again()
		},
		"timer": func(l *evnet.Loop, _ string, more func() bool) {
			var again func()
			again = func() {
				if more() {
					l.AfterFunc(0, again)
				}
			}
			l.AfterFunc(0, again)
		},
	}
	for name, start := range cases {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			l := evnet.NewLoop()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, addr := kit.Serve(t, l, nil, nil)
			given, gaveUp := time.Now(), false
			start(l, addr, func() bool { gaveUp = time.Since(given) > evtest.Patience; return !gaveUp })
			l.AfterFunc(time.Millisecond, cancel)
			require.ErrorIs(t, l.Serve(ctx), context.Canceled)
			assert.False(t, gaveUp, "Serve waited for the callbacks to give up")
			goleak.VerifyNone(t, before)
		})
	}
}

func TestLoopRefs(t *testing.T) {
	l := evnet.NewLoop()
	ran := false
	l.Ref()
	go l.Post(func() { ran = true; l.Unref() })
	kit.Run(t, l)
	assert.True(t, ran, "Ref keeps Run going")

	server, addr := kit.Serve(t, l, nil, nil)
	server.Unref()
	closed := 0
	server.On.Close(func() { closed++ })
	kit.Run(t, l)
	assert.False(t, server.Listening(), "an unreferenced server is closed when Run returns")
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)

	here, there := net.Pipe()
	defer there.Close()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Unref()
	s.On.Close(func(hadError bool) { closed++; assert.False(t, hadError) })
	kit.Run(t, l)
	assert.Equal(t, 2, closed, "with Close events")

	// Each of them keeps Run going once it is referenced again.
	server, _ = kit.Serve(t, l, nil, nil)
	server.Unref()
	server.Ref()
	here, there = net.Pipe()
	s = evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Unref()
	s.Ref()
	timer := l.AfterFunc(0, func() { go func() { l.Post(func() { _ = server.Close(nil) }); _ = there.Close() }() })
	timer.Unref()
	timer.Ref()
	server.On.Close(func() { closed++ })
	s.On.End(func() { closed++ })
	kit.Run(t, l)
	assert.Equal(t, 4, closed)
}

// An unreferenced socket must not keep Run going by connecting again repeatedly.
func TestLoopRunEndsThoughUnreferencedSocketReconnects(t *testing.T) {
	const forEver = 20_000
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, (*evnet.Socket).Unref) // the socket may be accepted before Run checks
	server.Unref()
	s, n := kit.NewClient(l), 0
	s.Unref()
	s.On.Error(func(error) {})
	s.On.Close(func(bool) {
		if n++; n < forEver {
			s.Connect("tcp", addr)
		}
	})
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Less(t, n, forEver, "Run waited for the callback to give up")
}

func TestLoopRun_TwiceConcurrently(t *testing.T) {
	l := evnet.NewLoop()
	busy := func(how string) {
		assert.ErrorIs(t, l.Serve(context.Background()), evnet.ErrLoopRunning, how)
		assert.PanicsWithValue(t, evnet.ErrLoopRunning, l.Run, how)
	}
	ran := false
	l.Post(func() {
		busy("inside a callback")
		done := make(chan struct{})
		go func() { defer close(done); busy("on another goroutine") }()
		evtest.WaitFor(t, "ErrLoopRunning", done)
		ran = true
	})
	kit.Run(t, l)
	assert.True(t, ran)
	l.Do(func() { busy("inside Do") })

	l.Post(l.Run) // the panic unwinds through the outer Run
	assert.PanicsWithValue(t, evnet.ErrLoopRunning, l.Run)
	kit.Run(t, l)
}

func TestLoopDefault(t *testing.T) {
	var got []string
	server := evnet.CreateServer(func(s *evnet.Socket) {
		assert.Same(t, evnet.DefaultLoop, s.Loop())
		_, _ = s.WriteString("hello\r\n")
		s.Pipe(s)
	})
	listening := false
	require.NoError(t, server.Listen("tcp", "127.0.0.1:0", func() { listening = true }))
	c := evnet.Connect("tcp", server.Address().String(), func() { got = append(got, "connect") })
	c.On.Data(func(p []byte) { got = append(got, string(p)); c.End(); _ = server.Close(nil) })
	evnet.Run()
	assert.True(t, listening)
	assert.Equal(t, []string{"connect", "hello\r\n"}, got)
}

// Every kind of callback uses one counter without a lock: the race detector finds callbacks that overlap or are not
// ordered by happens-before.
func TestLoopCallbacksNeverOverlap(t *testing.T) {
	l := evnet.NewLoop()
	n, inside, left := 0, false, 30
	count := func() {
		assert.False(t, inside)
		inside = true
		n++
		runtime.Gosched()
		inside = false
	}
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		count()
		s.On.Data(func(p []byte) { count(); _, _ = s.Write(p) })
		s.On.Finish(count)
		s.On.Close(func(bool) { count() })
	})
	for range left {
		s := kit.NewClient(l)
		s.On.Connect(func() { count(); s.WriteThen(make([]byte, 300_000), func(error) { count() }) })
		got := 0
		s.On.Data(func(p []byte) {
			count()
			if got += len(p); got == 300_000 {
				s.End()
			}
		})
		s.On.Drain(count)
		s.On.Close(func(bool) {
			count()
			if left--; left == 0 {
				_ = server.Close(count)
			}
		})
		s.Connect("tcp", addr)
		l.AfterFunc(time.Millisecond, count)
		go l.Do(count)
	}
	kit.Run(t, l)
	assert.Greater(t, n, 30*8)
}

// A socket that is referenced and connects again while Run is about to return keeps Run going. Unreferenced
// sockets may then be used again.
func TestLoopRun_ContinuesForNewWorkAtItsEnd(t *testing.T) {
	l := evnet.NewLoop()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // not a server of the loop, which would close it
	require.NoError(t, err)
	defer ln.Close()
	addr := ln.Addr().String()
	s, closed, reached := kit.NewClient(l), 0, false
	s.Unref()
	s.On.Close(func(bool) {
		if closed++; closed == 1 { // closed by Run, which has nothing referenced
			s.Ref()
			s.Connect("tcp", addr)
		}
	})
	s.On.Ready(func() {
		if closed == 0 {
			return
		}
		other := kit.NewClient(l)
		other.Unref()
		other.On.Ready(func() { reached = true; other.Destroy(nil) })
		other.On.Error(func(err error) { assert.NoError(t, err) })
		other.On.Close(func(bool) { s.Destroy(nil) })
		other.Connect("tcp", addr)
	})
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, 2, closed)
	assert.True(t, reached)
}

// The end of the context stops Serve even while the loop checks which sockets are ready.
func TestServe_EndsWhilePolling(t *testing.T) {
	hung := time.AfterFunc(evtest.Patience, func() { panic("Loop.Serve does not return") })
	defer hung.Stop()
	for round := range evtest.Pick(1000, 3000) {
		l := evnet.NewLoop()
		here, there := evtest.TCPPair(t)
		evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		ctx, cancel := context.WithCancel(t.Context())
		l.Post(func() {
			go func() {
				for range round % 10 {
					runtime.Gosched()
				}
				cancel()
			}()
		})
		assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
		_ = there.Close()
	}
}
