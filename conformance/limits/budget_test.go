package limits_test

import (
	"bufio"
	"bytes"
	"net"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A socket with many pending callbacks lets other sockets run in between.

const (
	manyCalls = 2000
	callTime  = 50 * time.Microsecond // all calls together take a hundred times a socket's share of a turn
	someTurns = 20
)

// work is the work of a callback.
func work() {
	for began := time.Now(); time.Since(began) < callTime; {
	}
}

// connection returns both ends of a TCP connection.
func connection(t testing.TB) (here, there net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	there, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	here, err = ln.Accept()
	require.NoError(t, err)
	return here, there
}

func TestBudget_LeavesTurnsToOthers(t *testing.T) {
	lines := bytes.Repeat([]byte("\n"), manyCalls)
	// Each function makes s run many callbacks, and calls done in the last one.
	for name, begin := range map[string]func(s *evnet.Socket, done func()){
		"Scan": func(s *evnet.Socket, done func()) {
			_ = s.Scan(nil, 0, counted(done))
		},
		"Scan with another split function": func(s *evnet.Socket, done func()) {
			_ = s.Scan(bufio.ScanBytes, 0, counted(done))
		},
		"Scan with an encoding": func(s *evnet.Socket, done func()) {
			_ = s.SetEncoding("latin1")
			_ = s.Scan(nil, 0, counted(done))
		},
		"Scan that is resumed for each token": func(s *evnet.Socket, done func()) {
			count := counted(done)
			_ = s.Scan(nil, 0, func(token []byte) {
				count(token)
				s.Pause()
				s.Resume()
			})
		},
		"OnRead and Unshift": func(s *evnet.Socket, done func()) {
			count := counted(done)
			_ = s.OnRead(func(p []byte) bool {
				if len(p) > 1 {
					_ = s.Unshift(p[1:])
				}
				count(p[:1])
				return true
			})
		},
		"Data and Unshift": func(s *evnet.Socket, done func()) {
			count := counted(done)
			s.On.Data(func(p []byte) {
				if len(p) > 1 {
					_ = s.Unshift(p[1:])
				}
				count(p[:1])
			})
		},
		"callbacks of writes": func(s *evnet.Socket, done func()) {
			count := counted(done)
			s.Cork()
			for range manyCalls {
				s.WriteThen([]byte("x"), func(error) { count(nil) })
			}
			s.Uncork()
		},
		"a callback of a write that writes again": func(s *evnet.Socket, done func()) {
			count := counted(done)
			var again func(error)
			again = func(error) {
				if count(nil); !s.Destroyed() {
					s.WriteThen(nil, again)
				}
			}
			again(nil)
		},
		"callbacks of discarded writes": func(s *evnet.Socket, done func()) {
			count := counted(done)
			s.Cork()
			for range manyCalls {
				s.WriteThen([]byte("x"), func(error) { count(nil) })
			}
			s.Destroy(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			evtest.OnBothTransportsIfLong(t, func(t *testing.T) {
				l := evnet.NewLoop()
				here, there := connection(t)
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
				others, finished := 0, false
				var other func()
				other = func() {
					if others++; !finished {
						l.AfterFunc(0, other)
					}
				}
				l.Post(func() {
					begin(s, func() {
						finished = true
						s.Destroy(nil)
					})
					other()
				})
				_, err := there.Write(lines)
				require.NoError(t, err)
				kit.Run(t, l)
				_ = there.Close()
				assert.Greater(t, others, someTurns)
			})
		})
	}
}

// counted works for each token, and calls done for the last one.
func counted(done func()) func([]byte) {
	count := 0
	return func([]byte) {
		work()
		if count++; count == manyCalls {
			done()
		}
	}
}

// Data and callbacks that remain at the end of a turn are not lost, and End, Finish and Close follow them.
func TestBudget_KeepsTheOrder(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := connection(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, AllowHalfOpen: true})
		tokens, written := 0, 0
		var order []string
		_ = s.Scan(nil, 0, func([]byte) {
			work()
			tokens++
			s.WriteThen([]byte("x"), func(err error) {
				assert.NoError(t, err)
				work()
				written++
			})
		})
		s.On.End(func() {
			assert.Equal(t, manyCalls, tokens)
			order = append(order, "end")
			s.End()
		})
		s.On.Finish(func() {
			assert.Equal(t, manyCalls, written)
			order = append(order, "finish")
		})
		s.On.Close(func(bool) { order = append(order, "close") })
		_, err := there.Write(bytes.Repeat([]byte("\n"), manyCalls))
		require.NoError(t, err)
		require.NoError(t, there.(*net.TCPConn).CloseWrite())
		kit.Run(t, l)
		_ = there.Close()
		assert.Equal(t, []string{"end", "finish", "close"}, order)
	})
}

// A timeout does not cut off data that was received before the deadline and only waits for its share of a turn.
func TestBudget_DoesNotCountAsSilence(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := connection(t)
		s := evnet.Wrap(here, &evnet.SocketOptions{
			Loop: l, IdleTimeout: manyCalls * callTime / 4, CloseTimeout: manyCalls * callTime / 4,
		})
		tokens := 0
		_ = s.Scan(nil, 0, func([]byte) {
			work()
			if tokens++; tokens == 1 {
				s.End()
			}
		})
		_, err := there.Write(bytes.Repeat([]byte("\n"), manyCalls))
		require.NoError(t, err)
		require.NoError(t, there.Close())
		kit.Run(t, l)
		assert.Equal(t, manyCalls, tokens)
	})
}
