package limits_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The limits in the documentation of SocketOptions.Logger.
const (
	logBurst = 20 // then one per second
	flood    = 2000
	later    = evtest.Patience / 2 // a whole burst is allowed again by then
)

// leveled is a Logger that handles records from a level on.
type leveled struct {
	evtest.Records
	from slog.Level
}

func (l *leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= l.from }

// flooded serves a flood of connections at the same time, and one more later. fail makes each of them
// fail with one record.
func flooded(t *testing.T, log slog.Handler, loops int, fail func(*evnet.Socket)) {
	var opts evnet.ServerOptions
	for range loops {
		opts.Loops = append(opts.Loops, evnet.NewLoop())
	}
	opts.Logger = slog.New(log)
	l, failed := opts.Loops[0], 0
	server := evnet.NewServer(&opts)
	more := make(chan struct{})
	m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
	m.OnAccept = func(n int) (net.Conn, error) {
		if n == flood+1 {
			<-more
		}
		if n > flood+1 {
			return m.MemoryListener.Accept()
		}
		here, _ := net.Pipe()
		return here, nil
	}
	server.On.Connection(func(s *evnet.Socket) {
		s.On.Close(func(bool) {
			l.Post(func() {
				switch failed++; failed {
				case flood:
					l.AfterFunc(later, func() { close(more) })
				case flood + 1:
					_ = server.Close(nil)
				}
			})
		})
		fail(s)
	})
	require.NoError(t, server.Serve(m))
	kit.RunAll(t, opts.Loops)
}

// A flood of connections that fail writes a burst of records, and the next one has the number of the rest.
func TestLogger_LimitsRecordsOfAFlood(t *testing.T) {
	fail := map[string]func(*evnet.Socket){
		"errors": func(s *evnet.Socket) { s.Destroy(errors.New("protocol")) },
		"pipes": func(s *evnet.Socket) {
			s.On.Data(func([]byte) {}) // otherwise the failure is an Error, and is logged as one
			s.Pipe(refusingWriter(func() { s.Destroy(nil) }))
			require.NoError(t, s.Unshift([]byte("x")))
		},
		"pipes and a consumer": func(s *evnet.Socket) {
			require.NoError(t, s.OnRead(func([]byte) bool { return true }))
			s.Pipe(io.Discard)
			s.Destroy(nil)
		},
	}
	for name, fail := range fail {
		for _, loops := range []int{1, 2} {
			t.Run(fmt.Sprint(name, " ", loops), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log evtest.Records
					flooded(t, &log, loops, fail)
					written, suppressed := log.Sum(slog.LevelWarn)
					assert.Equal(t, logBurst+1, written)
					assert.Equal(t, flood-logBurst, suppressed)
				})
			})
		}
	}
}

// refusingWriter is a writer that fails.
type refusingWriter func()

func (r refusingWriter) Write([]byte) (int, error) { r(); return 0, errors.New("the disk is full") }

// Failed handshakes without a TLSClientError listener are limited too.
func TestLogger_LimitsRecordsOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log evtest.Records
		l, failed := evnet.NewLoop(), 0
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, TLSConfig: evtest.ServerConfig(), Logger: slog.New(&log)})
		more := make(chan struct{})
		m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
		m.OnAccept = func(n int) (net.Conn, error) {
			if n == flood+1 {
				<-more
			}
			if n > flood+1 {
				return m.MemoryListener.Accept()
			}
			here, there := net.Pipe()
			go func() {
				_, _ = there.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
				_ = there.Close()
				l.Post(func() {
					switch failed++; failed {
					case flood:
						l.AfterFunc(later, func() { close(more) })
					case flood + 1:
						_ = server.Close(nil)
					}
				})
			}()
			return here, nil
		}
		require.NoError(t, server.Serve(m))
		kit.Run(t, l)
		written, suppressed := log.Sum(slog.LevelWarn)
		assert.Equal(t, logBurst+1, written)
		assert.Equal(t, flood-logBurst, suppressed)
	})
}

// Records below the Logger's level do not count towards the limit. At debug level, resets suppress no warning.
func TestLogger_LimitsLevelsApart(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelWarn, slog.LevelDebug} {
		synctest.Test(t, func(t *testing.T) {
			log := &leveled{from: level}
			n := 0
			flooded(t, log, 1, func(s *evnet.Socket) {
				if n++; n > flood-10 && n <= flood {
					s.Destroy(errors.New("protocol"))
				} else {
					s.Destroy(syscall.ECONNRESET)
				}
			})
			written, suppressed := log.Sum(slog.LevelWarn)
			assert.Equal(t, 10, written)
			assert.Zero(t, suppressed)
			if written, suppressed = log.Sum(slog.LevelDebug); level == slog.LevelDebug {
				assert.Equal(t, logBurst+1, written)
				assert.Equal(t, flood-10-logBurst, suppressed)
			} else {
				assert.Zero(t, written)
			}
		})
	}
}

// Failed accepts have a separate limit, which a flood of failing connections does not use up.
func TestLogger_LimitsRecordsOfFailedAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log evtest.Records
		l := evnet.NewLoop()
		server := evnet.NewServer(&evnet.ServerOptions{Loops: []*evnet.Loop{l}, Logger: slog.New(&log)})
		m := &evtest.Acceptor{MemoryListener: evtest.NewMemoryListener()}
		m.OnAccept = func(n int) (net.Conn, error) {
			switch {
			case n > 2*flood:
				time.Sleep(later)
				l.Post(func() { _ = server.Close(nil) })
				return m.MemoryListener.Accept()
			case n%2 == 0: // a failure after each success: the retry follows after 5 ms
				return nil, evtest.ErrAccept
			}
			here, _ := net.Pipe()
			return here, nil
		}
		server.On.Connection(func(s *evnet.Socket) { s.Destroy(errors.New("protocol")) })
		began := time.Now()
		require.NoError(t, server.Serve(m))
		kit.Run(t, l)
		seconds := int((time.Since(began) - later) / time.Second)
		require.Equal(t, 10, seconds)
		accepts := 0
		for _, r := range log.List {
			if r.Message == "evnet: accepting failed" {
				accepts++
			}
		}
		assert.InDelta(t, logBurst+seconds, accepts, 1)
		assert.InDelta(t, logBurst+seconds, len(log.List)-accepts, 1)
	})
}

// Sockets that no server has accepted share the limit of their loop.
func TestLogger_LimitsRecordsOfALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log evtest.Records
		l := evnet.NewLoop()
		fail := func() {
			here, _ := net.Pipe()
			evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: slog.New(&log)}).Destroy(errors.New("protocol"))
		}
		for range flood {
			fail()
		}
		l.AfterFunc(later, fail)
		kit.Run(t, l)
		written, suppressed := log.Sum(slog.LevelWarn)
		assert.Equal(t, logBurst+1, written)
		assert.Equal(t, flood-logBurst, suppressed)

		log.List = nil
		l = evnet.NewLoop() // it has its own limit
		fail()
		kit.Run(t, l)
		assert.Len(t, log.List, 1)
	})
}

// A user-provided conn whose Close panics causes one record per connection, and a Relay that fails immediately one per
// call. Both are limited, the latter in the default logger.
func TestLogger_LimitsOtherRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := slog.Default()
		defer slog.SetDefault(before)
		var log evtest.Records
		slog.SetDefault(slog.New(&log))
		for what, fail := range map[string]func(l *evnet.Loop){
			"a Close that panics": func(l *evnet.Loop) {
				here, _ := net.Pipe()
				evnet.Wrap(evtest.ClosingConn{Conn: here, Closed: func() { panic("Close") }}, &evnet.SocketOptions{Loop: l}).Destroy(nil)
			},
			"a failed Relay": func(l *evnet.Loop) {
				s := kit.NewClient(l)
				evnet.Relay(s, s, nil)
			},
			"a Pipe to nil": func(l *evnet.Loop) { kit.NewClient(l).Pipe(nil) },
		} {
			log.List = nil
			l := evnet.NewLoop()
			for range 100 {
				fail(l)
			}
			kit.Run(t, l)
			assert.Len(t, log.List, logBurst, what)
		}
	})
}

// The limit of a loop is released with the loop.
func TestLogger_KeepsNoLoop(t *testing.T) {
	freed := make(chan struct{})
	func() {
		l := evnet.NewLoop()
		s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Logger: slog.New(&evtest.Records{})})
		s.Destroy(errors.New("protocol"))
		kit.Run(t, l)
		runtime.AddCleanup(l, func(freed chan struct{}) { close(freed) }, freed)
	}()
	hung := time.AfterFunc(evtest.Patience, func() { panic("the loop is still referenced") })
	defer hung.Stop()
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
			runtime.Gosched()
		}
	}
}
