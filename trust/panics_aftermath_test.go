package trust

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests check what other callbacks, the program and other loops still get after a callback that does not return.

// runAgain runs the loop until Run returns, and returns how often a callback ended Run before that.
func runAgain(t testing.TB, l *evnet.Loop, run func()) (unwound int) {
	t.Helper()
	hung := bound(t, "Loop.Run neither returns nor unwinds")
	defer hung.Stop()
	for returned := false; !returned && unwound < 100; {
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer func() { _ = recover() }()
			run()
			returned = true
		}()
		<-over
		if !returned {
			unwound++
		}
		l.Do(func() {}) // Do must not block, because the loop is not running
	}
	return unwound
}

// onEachManner tries each manner, with the hook and without it.
func onEachManner(t *testing.T, fn func(t *testing.T, l *evnet.Loop, m manner)) {
	for name, m := range manners {
		for hook, hooked := range map[string]bool{"hook": true, "no hook": false} {
			t.Run(name+"/"+hook, func(t *testing.T) {
				onEach(t, func(t *testing.T) {
					l := evnet.NewLoop()
					if hooked {
						l.OnPanic(func(*evnet.PanicError) {})
					}
					fn(t, l, m)
				})
			})
		}
	}
}

// Every callback of a write runs once, in order and before Close, and Error is emitted. That holds although neither
// these callbacks nor the Error listener return.
func TestPanics_CallbacksOfWritesStillRun(t *testing.T) {
	const writes = 5
	for state, arrange := range map[string]func(t *testing.T, l *evnet.Loop) (s *evnet.Socket, write, after func()){
		"sent": func(t *testing.T, l *evnet.Loop) (*evnet.Socket, func(), func()) {
			a, b := pair(t)
			s := wrap(l, a)
			s.On.Close(func(bool) { _ = b.Close() })
			return s, func() {}, func() {}
		},
		"destroyed with an error": func(t *testing.T, l *evnet.Loop) (*evnet.Socket, func(), func()) {
			a, b := pair(t)
			s := wrap(l, a)
			s.On.Close(func(bool) { _ = b.Close() })
			return s, s.Cork, func() { s.Destroy(errCause) }
		},
		"reset by the peer": func(t *testing.T, l *evnet.Loop) (*evnet.Socket, func(), func()) {
			a, b := pair(t)
			s := wrap(l, a)
			return s, func() { require.NoError(t, b.SetLinger(0)); require.NoError(t, b.Close()) }, func() {}
		},
		"never connected": func(_ *testing.T, l *evnet.Loop) (*evnet.Socket, func(), func()) {
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
			return s, func() {}, func() { s.Destroy(errCause) }
		},
		"address refused": func(_ *testing.T, l *evnet.Loop) (*evnet.Socket, func(), func()) {
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
			return s, func() {}, func() { s.Connect("tcp", "") }
		},
	} {
		t.Run(state, func(t *testing.T) {
			onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
				s, write, after := arrange(t, l)
				var done []int
				failed, closes := 0, 0
				s.On.Error(func(error) {
					assert.Zero(t, closes, "Error was emitted after Close")
					failed++
					m.leave()
				})
				s.On.Close(func(hadError bool) {
					closes++
					assert.Len(t, done, writes, "Close was emitted before the callbacks of writes")
					assert.Equal(t, hadError, failed > 0, "hadError agrees with Error")
					m.leave()
				})
				l.Post(func() {
					write()
					for i := range writes {
						s.WriteThen([]byte("x"), func(error) { done = append(done, i); m.leave() })
					}
					after()
				})
				runAgain(t, l, l.Run)
				assert.Equal(t, []int{0, 1, 2, 3, 4}, done)
				assert.Equal(t, 1, closes)
				assert.Equal(t, 1, failed)
			})
		})
	}
}

// The callbacks of writes after Destroy run too.
func TestPanics_CallbacksOfLateWritesStillRun(t *testing.T) {
	onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
		a, b := pair(t)
		defer b.Close()
		s := wrap(l, a)
		calls := 0
		s.On.Close(func(bool) {
			for range 5 {
				s.WriteThen([]byte("x"), func(err error) {
					assert.ErrorIs(t, err, evnet.ErrDestroyed)
					calls++
					m.leave()
				})
			}
		})
		s.Destroy(nil)
		runAgain(t, l, l.Run)
		assert.Equal(t, 5, calls)
	})
}

// panickingClose is a conn that panics after it has closed.
type panickingClose struct{ net.Conn }

func (c panickingClose) Close() error { _ = c.Conn.Close(); panic(errCause) }

// A panic in a conn's Close is logged on the loop, where a panic of the Logger is handled like a callback's.
func TestPanics_LoggerOfAClose(t *testing.T) {
	onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
		a, b := pair(t)
		defer b.Close()
		calls := 0
		s := evnet.Wrap(panickingClose{a}, &evnet.SocketOptions{Loop: l, Logger: logging(func() { calls++; m.leave() }).logger()})
		s.Destroy(nil)
		runAgain(t, l, l.Run)
		assert.Equal(t, 1, calls)
		assert.NoError(t, s.Err())
	})
}

// If the default logger panics in Relay, it panics in Relay's caller, and the socket is destroyed.
func TestPanics_LoggerOfARelay(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for name, m := range manners {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				l := evnet.NewLoop()
				a, b := pair(t)
				defer b.Close()
				s := wrap(l, a)
				slog.SetDefault(logging(m.leave).logger())
				over := make(chan struct{})
				go func() {
					defer close(over)
					defer func() { _ = recover() }()
					evnet.Relay(s, nil, nil)
					t.Error("Relay did not log")
				}()
				<-over
				slog.SetDefault(before)
				run(t, l)
				assert.True(t, s.Destroyed())
			})
		})
	}
}

// A loop may end because of its context, or because nothing referenced is left. It ends even if the Close callbacks of
// the sockets and servers that it destroys do not return, and the functions that they post do not return either.
func TestPanicsWhileALoopEnds(t *testing.T) {
	for _, serves := range []bool{true, false} {
		t.Run(map[bool]string{true: "Serve", false: "Run"}[serves], func(t *testing.T) {
			onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
				var server *evnet.Server
				closes := 0
				boom := func() { closes++; l.Post(m.leave); m.leave() }
				server, address := serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
					s.On.Close(func(bool) { boom() })
					s.Unref()
				})
				server.On.Close(boom)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				c := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
				c.On.Close(func(bool) { boom() })
				c.On.Data(func([]byte) {})
				server.On.Connection(func(s *evnet.Socket) { s.End() })
				c.SetAllowHalfOpen(true)
				c.On.End(func() { cancel(); c.Unref(); server.Unref() }) // the socket is half-open now
				c.Connect("tcp", address)
				runAgain(t, l, func() {
					if serves {
						assert.ErrorIs(t, l.Serve(ctx), context.Canceled)
					} else {
						l.Run()
					}
				})
				assert.Equal(t, 3, closes)
				assert.True(t, c.Closed() && !server.Listening() && len(server.Sockets()) == 0)
			})
		})
	}
}

// While a callback has ended one loop of a server, its other loops continue. The sockets of the ended loop continue
// when it runs again.
func TestPanicsOnOneLoopOfAServer(t *testing.T) {
	for name, m := range manners {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				first, second := evnet.NewLoop(), evnet.NewLoop()
				var boomed atomic.Bool
				server, address := serve(t, first, evnet.ServerOptions{Loops: []*evnet.Loop{first, second}}, func(s *evnet.Socket) {
					s.Pipe(s)
					if s.Loop() == second && boomed.CompareAndSwap(false, true) {
						m.leave()
					}
				})
				unwound := make(chan int)
				running := make(chan struct{})
				second.Post(func() { close(running) }) // a loop that does not run gets no connection
				go func() { unwound <- runAgain(t, second, second.Run) }()
				go func() {
					<-running
					defer server.Close(nil)
					served := 0
					for range 6 {
						c, err := net.Dial("tcp", address)
						if !assert.NoError(t, err) {
							return
						}
						p := make([]byte, 1)
						if _, err = c.Write(p); err == nil {
							_, err = io.ReadFull(c, p)
						}
						if err == nil {
							served++
						}
						assert.NoError(t, c.Close())
					}
					assert.Equal(t, 5, served)
				}()
				run(t, first)
				assert.Equal(t, 1, <-unwound)
			})
		})
	}
}

// On a loop that is not running, Do unwinds in its caller, and does not block later calls of Do.
func TestPanicsInDoWithoutRun(t *testing.T) {
	onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
		hung := bound(t, "Do waits forever")
		defer hung.Stop()
		var s *evnet.Socket
		a, b := pair(t)
		defer b.Close()
		inside, second := make(chan struct{}), make(chan struct{})
		go func() {
			defer func() {
				if v := recover(); !m.goexit {
					m.check(t, v)
				}
			}()
			l.Do(func() {
				s = wrap(l, a)
				_, _ = s.WriteString("written before")
				close(inside)
				m.leave()
			})
		}()
		<-inside
		go l.Do(func() { close(second) })
		<-second
		p := make([]byte, len("written before"))
		_, err := io.ReadFull(b, p)
		require.NoError(t, err)
		assert.Equal(t, "written before", string(p))
		s.Destroy(nil)
		run(t, l)
		assert.NoError(t, s.Err(), "the callback did not belong to the socket")
	})
}

// A conn that a callback has detached belongs to the program, even if the callback does not return.
func TestPanicsAfterDetach(t *testing.T) {
	onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
		a, b := pair(t)
		defer b.Close()
		s := wrap(l, a)
		var conn net.Conn
		closes := 0
		s.On.Close(func(hadError bool) { closes++; assert.False(t, hadError) })
		s.On.Data(func([]byte) {
			var err error
			conn, _, err = s.Detach()
			assert.NoError(t, err)
			m.leave()
		})
		_, err := b.Write([]byte("x"))
		require.NoError(t, err)
		runAgain(t, l, l.Run)
		assert.Equal(t, 1, closes)
		_, err = conn.Write([]byte("y"))
		require.NoError(t, err)
		p := make([]byte, 1)
		_, err = io.ReadFull(b, p)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})
}

// If a callback connects a socket again and does not return, the socket is destroyed. If Close was still to be
// emitted, the socket does not connect. In both cases it can connect again later.
func TestPanicsWhileConnectingAgain(t *testing.T) {
	for _, event := range []evnet.Event{evnet.EventError, evnet.EventClose} {
		t.Run(string(event), func(t *testing.T) {
			onEachManner(t, func(t *testing.T, l *evnet.Loop, m manner) {
				server, address := serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) { s.Resume() })
				s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: quiet})
				closes := 0
				again := func() { s.Connect("tcp", address); m.leave() }
				if event == evnet.EventError {
					s.Once.Error(func(error) { again() })
				} else {
					s.Once.Close(func(bool) { again() })
				}
				s.On.Close(func(bool) { closes++ })
				s.Destroy(errCause)
				server.Unref()
				runAgain(t, l, l.Run)
				assert.True(t, s.Closed())
				assert.Equal(t, 1, closes, "either the first Close does not reach this listener, or there is no second connection")
				if perr := new(evnet.PanicError); event == evnet.EventClose {
					assert.ErrorAs(t, s.Err(), &perr)
				} else {
					assert.True(t, errors.Is(s.Err(), errCause))
				}

				server, address = serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) { s.Resume() })
				connected := false
				s.On.Connect(func() { connected = true; s.Destroy(nil); _ = server.Close(nil) })
				s.Connect("tcp", address)
				run(t, l)
				assert.True(t, connected)
			})
		})
	}
}
