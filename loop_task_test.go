package evnet_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
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

func TestLoopPostRunsBeforeTheNextEvent(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	pending, events, left := 0, 0, 20
	event := func() {
		assert.Zero(t, pending, "an event ran before an earlier posted function")
		events++
		for i := range 3 {
			pending++
			l.Post(func() {
				pending--
				assert.Equal(t, 2-i, pending, "posted functions run in order")
			})
		}
		assert.Positive(t, pending, "Post does not run the function itself")
	}
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		event()
		s.On.Data(func(p []byte) { event(); _, _ = s.Write(p) })
		s.On.End(event)
	})
	for range left {
		s, rounds := kit.NewClient(l), 20
		s.On.Connect(func() { event(); _, _ = s.WriteString("ping") })
		s.On.Data(func(p []byte) {
			event()
			if rounds--; rounds == 0 {
				s.End()
				return
			}
			_, _ = s.Write(p)
		})
		s.On.Close(func(bool) {
			event()
			if left--; left == 0 {
				_ = server.Close(nil)
			}
		})
		s.Connect("tcp", addr)
	}
	kit.Run(t, l)
	assert.Greater(t, events, 20*20)
}

func TestLoopPostFromManyGoroutines(t *testing.T) {
	const posters, each = 8, 1000
	l := evnet.NewLoop()
	var got [posters]int // no lock: the race detector checks that each callback happens before the next
	left := posters * each
	l.Ref()
	for i := range posters {
		go func() {
			for n := range each {
				l.Post(func() {
					assert.Equal(t, n, got[i], "in the order of posting")
					got[i]++
					if left--; left == 0 {
						l.Unref()
					}
				})
			}
		}()
	}
	kit.Run(t, l)
	assert.Zero(t, left)
}

func TestLoopPost_EndlessPostingDoesNotStarveEvents(t *testing.T) {
	l := evnet.NewLoop()
	done := false
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) {
		sayOnce(s)
		s.On.Close(func(bool) { done = true })
	})
	var again func()
	again = func() {
		if !done {
			l.Post(again)
		}
	}
	l.Post(again)
	kit.Run(t, l)
	assert.True(t, done)
}

func TestLoopDo(t *testing.T) {
	l := evnet.NewLoop()
	n := 0
	l.Do(func() { // the loop does not run
		n++
		l.Do(func() { n++ }) // on the loop: runs immediately
		assert.Equal(t, 2, n)
	})
	assert.Equal(t, 2, n)

	l.Ref()
	go func() { // from another goroutine, while the loop runs
		l.Do(func() { n++; l.Do(func() { n++ }) })
		l.Do(l.Unref)
	}()
	kit.Run(t, l)
	assert.Equal(t, 4, n)

	l.Do(nil) // logged, not run
	l.Post(nil)
	kit.Run(t, l)
}

// Do runs its function exactly once, whether the loop runs it or stops before.
func TestLoopDoWhileTheLoopStops(t *testing.T) {
	const callers, each = 8, 300
	l := evnet.NewLoop()
	n := 0
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				mine := false
				l.Do(func() { n++; mine = true })
				if !mine {
					t.Error("Do returned before its function ran")
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for stop := false; !stop; {
		kit.Run(t, l) // it returns repeatedly, while the callers are in Do
		ctx, cancel := context.WithCancel(context.Background())
		l.Post(cancel)
		_ = l.Serve(ctx)
		select {
		case <-done:
			stop = true
		default:
		}
	}
	assert.Equal(t, callers*each, n)
}

func TestLoopPanicUnwindsOutOfRun(t *testing.T) {
	l := evnet.NewLoop()
	var bad *evnet.Socket
	kit.Meet(t, l, func(s *evnet.Socket) { s.On.Data(func([]byte) { bad = s; panic("data") }) }, sayOnce)
	assert.PanicsWithValue(t, "data", l.Run)
	ended := false
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) {
		sayOnce(s)
		s.On.End(func() { ended = true; bad.Destroy(nil) })
	})
	kit.Run(t, l)
	assert.True(t, ended, "everything else continues when Run is called again")
}

// The socket whose callback panicked does not block the next Run.
func TestLoopPanic_SocketsContinueToRead(t *testing.T) {
	for _, where := range []string{"connection", "connect", "ready", "data", "end", "finish", "close"} {
		t.Run(where, func(t *testing.T) {
			l := evnet.NewLoop()
			boom := func(here string) func() {
				return func() {
					if here == where {
						panic("boom")
					}
				}
			}
			var sockets []*evnet.Socket
			kit.Meet(t, l, func(s *evnet.Socket) {
				sockets = append(sockets, s)
				kit.Echo(s)
				boom("connection")()
			}, func(s *evnet.Socket) {
				sockets = append(sockets, s)
				s.On.Connect(func() { _, _ = s.WriteString("hello"); s.End() })
				s.On.Connect(boom("connect"))
				s.On.Ready(boom("ready"))
				s.On.Data(func([]byte) { boom("data")() })
				s.On.End(boom("end"))
				s.On.Finish(boom("finish"))
				s.On.Close(func(bool) { boom("close")() })
			})
			assert.PanicsWithValue(t, "boom", l.Run)
			rescue := l.AfterFunc(evtest.Patience/2, func() {
				t.Error("a socket neither reads nor ends any more")
				for _, s := range sockets {
					s.Destroy(nil)
				}
			})
			rescue.Unref()
			kit.Run(t, l)
		})
	}
}

func TestLoopOnPanicContains(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := evnet.NewLoop()
	cause := errors.New("bad callback")
	var reported []*evnet.PanicError
	l.OnPanic(func(err *evnet.PanicError) { reported = append(reported, err) })
	var bad *evnet.Socket
	var events []string
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) {
		bad = s
		sayOnce(s)
		s.On.Connect(func() { panic(cause) })
		s.On.Error(func(err error) {
			events = append(events, "error")
			assert.ErrorIs(t, err, cause)
		})
		s.On.Close(func(hadError bool) { events = append(events, "close"); assert.True(t, hadError) })
	})
	ended := false
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) { sayOnce(s); s.On.End(func() { ended = true }) })
	l.Post(func() { panic("post") })
	l.AfterFunc(0, func() { panic("timer") })
	kit.Run(t, l)

	assert.True(t, ended, "other sockets continue")
	assert.Equal(t, []string{"error", "close"}, events)
	require.Len(t, reported, 3)
	for _, err := range reported {
		assert.Contains(t, string(err.Stack), "TestLoopOnPanicContains", "the stack of the callback")
		if err.Value != cause {
			assert.Contains(t, []any{"post", "timer"}, err.Value)
			assert.Nil(t, err.Socket, "%v belongs to no socket", err.Value)
			continue
		}
		assert.Same(t, bad, err.Socket)
		assert.Equal(t, error(err), bad.Err())
		assert.ErrorIs(t, err, cause)
	}
	goleak.VerifyNone(t, before)

	l.OnPanic(func(*evnet.PanicError) { panic("hook") })
	l.Post(func() { panic("post") })
	assert.PanicsWithValue(t, "hook", l.Run, "a panic in the hook unwinds")
	l.OnPanic(nil)
	l.Post(func() { panic("post") })
	assert.PanicsWithValue(t, "post", l.Run)
}

// Data that is buffered when a consumer is added is delivered in a separate task. A failure here ends the process,
// so the test runs in a child process.
func TestLoopContainsPanicOverHeldData(t *testing.T) {
	if !inChild(t) {
		return
	}
	l := evnet.NewLoop()
	contained := 0
	l.OnPanic(func(*evnet.PanicError) { contained++ })
	here, there := net.Pipe()
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.On.Error(func(error) {})
	go func() { _, _ = there.Write([]byte("held")); _ = there.Close() }()
	var wait func()
	wait = func() {
		if s.ReadableLength() == 0 {
			l.Post(wait)
			return
		}
		s.On.Data(func([]byte) { panic("data") })
	}
	l.Post(wait)
	kit.Run(t, l)
	require.Equal(t, 1, contained)
}

// inChild runs the calling test in a child process. It returns true in the child, and false in the parent once
// the child has ended.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv("EVNET_TEST_CHILD") == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "EVNET_TEST_CHILD="+t.Name())
	out, err := cmd.CombinedOutput()
	if len(out) > 2000 {
		out = out[:2000]
	}
	assert.NoError(t, err, "%s", out)
	return false
}

func TestLoopGoexitInCallback(t *testing.T) {
	l := evnet.NewLoop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Post(runtime.Goexit)
		l.Run()
		t.Error("Run returned from Goexit")
	}()
	evtest.WaitFor(t, "the end of Run", done)
	ended := false
	kit.Meet(t, l, kit.Echo, func(s *evnet.Socket) { sayOnce(s); s.On.End(func() { ended = true }) })
	kit.Run(t, l)
	assert.True(t, ended, "the loop can be run again")
}

func TestLoopAfterFunc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		began := time.Now()
		type tick struct {
			name string
			at   time.Duration
		}
		var got []tick
		note := func(name string) func() {
			return func() { got = append(got, tick{name, time.Since(began)}) }
		}
		l.AfterFunc(3*time.Second, note("three"))
		l.AfterFunc(time.Second, note("one"))
		l.AfterFunc(-time.Second, note("immediate"))
		stopped := l.AfterFunc(time.Second, note("stopped"))
		late := l.AfterFunc(time.Second, note("late"))
		l.AfterFunc(time.Hour, note("unreferenced")).Unref()
		assert.True(t, stopped.Stop())
		assert.False(t, stopped.Stop(), "the timer was already stopped")
		assert.True(t, late.Reset(2*time.Second))
		l.AfterFunc(time.Second, nil) // logged, never runs
		kit.Run(t, l)
		assert.Equal(t, []tick{{"immediate", 0}, {"one", time.Second}, {"late", 2 * time.Second}, {"three", 3 * time.Second}}, got)
		assert.Equal(t, 3*time.Second, time.Since(began), "Run waited for the unreferenced timer")
		assert.False(t, late.Stop(), "the timer has already run")
		assert.False(t, late.Reset(time.Second), "the timer was not running")
		kit.Run(t, l)
		assert.Equal(t, tick{"late", 4 * time.Second}, got[len(got)-1])
	})
}

// Reset in the timer's own callback is how to write setInterval.
func TestLoopAfterFuncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		began, n := time.Now(), 0
		var timer *evnet.Timer
		timer = l.AfterFunc(time.Second, func() {
			if n++; n < 5 {
				timer.Reset(time.Second)
			}
		})
		kit.Run(t, l)
		assert.Equal(t, 5, n, "a restarted timer keeps Run going")
		assert.Equal(t, 5*time.Second, time.Since(began))
		timer.Stop()
	})
}

// The expiry of a stopped timer may already be queued.
func TestLoopAfterFuncStoppedInTheSameTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		ran := 0
		var a, b *evnet.Timer
		a = l.AfterFunc(time.Second, func() { ran++; assert.True(t, b.Stop()) })
		b = l.AfterFunc(time.Second, func() { ran++; assert.True(t, a.Stop()) })
		kit.Run(t, l)
		assert.Equal(t, 1, ran)

		// A restarted timer runs only at its new time.
		began := time.Now()
		var at []time.Duration
		note := func() { at = append(at, time.Since(began)) }
		a = l.AfterFunc(time.Second, func() { b.Reset(time.Second); note() })
		b = l.AfterFunc(time.Second, note)
		kit.Run(t, l)
		if at[1] == time.Second { // b was first, and is restarted
			at = append(at[:1], at[2:]...)
		}
		assert.Equal(t, []time.Duration{time.Second, 2 * time.Second}, at)
	})
}
