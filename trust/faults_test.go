package trust

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// collect is a consumer that keeps the received data.
type collect struct {
	mu  sync.Mutex
	got bytes.Buffer
}

func (c *collect) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.Write(p)
}

func (c *collect) add(p []byte) { _, _ = c.Write(p) }

// consumers are the ways to read a socket. Each of them except Chunks calls the function each on every chunk.
var consumers = map[string]func(l *evnet.Loop, s *evnet.Socket, c *collect, each func()){
	"Data": func(_ *evnet.Loop, s *evnet.Socket, c *collect, each func()) {
		s.On.Data(func(p []byte) { c.add(p); each() })
	},
	"OnRead": func(_ *evnet.Loop, s *evnet.Socket, c *collect, each func()) {
		_ = s.OnRead(func(p []byte) bool { c.add(p); each(); return !s.Paused() })
	},
	"Scan": func(_ *evnet.Loop, s *evnet.Socket, c *collect, each func()) {
		split := func(data []byte, atEOF bool) (int, []byte, error) {
			n := min(len(data), 5000)
			if n < 5000 && !atEOF || n == 0 {
				return 0, nil, nil
			}
			return n, data[:n], nil
		}
		_ = s.Scan(split, 5000, func(p []byte) { c.add(p); each() })
	},
	"Pipe": func(_ *evnet.Loop, s *evnet.Socket, c *collect, each func()) {
		s.Pipe(writer(func(p []byte) (int, error) { each(); return c.Write(p) }))
	},
	"Chunks": func(l *evnet.Loop, s *evnet.Socket, c *collect, _ func()) {
		aside(l, func() {
			for p := range s.Chunks() {
				c.add(p)
			}
		})
	},
}

// A peer's end that follows a large amount of data is emitted after all of the data, however slowly the socket reads.
func TestFaultsEndBehindMuchData(t *testing.T) {
	text := pattern(incoming, 0, 8<<20)
	number := 0
	for name, consumer := range inOrder(consumers) {
		for how, slow := range inOrder(map[string]func(l *evnet.Loop, s *evnet.Socket) (each func()){
			"immediately": func(*evnet.Loop, *evnet.Socket) func() { return func() {} },
			"with pauses": func(l *evnet.Loop, s *evnet.Socket) func() {
				n := 0
				return func() {
					if n++; n%20 == 0 {
						s.Pause()
						l.AfterFunc(time.Millisecond, s.Resume)
					}
				}
			},
			"late": func(l *evnet.Loop, s *evnet.Socket) func() {
				s.Pause()
				l.AfterFunc(20*time.Millisecond, s.Resume) // after the end has arrived
				return func() {}
			},
		}) {
			if name != "Data" && how != "with pauses" {
				continue
			}
			for network, pair := range inOrder(streams) {
				number++
				t.Run(name+" "+how+" "+network, func(t *testing.T) {
					alternately(t, number, func(t *testing.T) {
						here, there := pair(t)
						l := evnet.NewLoop()
						s := wrap(l, here)
						each := slow(l, s)
						var c collect
						consumer(l, s, &c, each)
						atEnd := -1
						s.On.End(func() { c.mu.Lock(); atEnd = c.got.Len(); c.mu.Unlock() })
						aside(l, func() {
							_, err := there.Write(text)
							assert.NoError(t, err)
							_ = there.Close()
						})
						run(t, l)
						require.NoError(t, s.Err())
						require.True(t, bytes.Equal(text, c.got.Bytes()), "%d bytes of %d", c.got.Len(), len(text))
						if name != "Chunks" { // whose chunks another goroutine consumes
							require.Equal(t, len(text), atEnd)
						}
					})
				})
			}
		}
	}
}

// Data and an end that arrive while the socket is paused are delivered on Resume. Without a Resume, they
// cause no problem.
func TestFaultsEndWhilePaused(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for i, resume := range []bool{true, false, true, false} {
			here, there := streams[[]string{"tcp", "unix"}[i/2]](t)
			l := evnet.NewLoop()
			s := wrap(l, here)
			var c collect
			s.On.Data(c.add)
			s.Pause()
			ended := false
			s.On.End(func() { ended = true })
			aside(l, func() {
				_, _ = there.Write([]byte("x"))
				_ = there.CloseWrite()
				l.Post(func() {
					assert.False(t, ended)
					if resume {
						s.Resume()
					} else {
						s.Destroy(nil)
					}
				})
			})
			run(t, l)
			_ = there.Close()
			assert.Equal(t, resume, ended)
			assert.Equal(t, resume, c.got.String() == "x")
			assert.NoError(t, s.Err())
		}
	})
}

// Error reports a reset exactly once, whatever the state of the socket. Data that the peer sent before the reset is
// delivered first, if it was received.
func TestFaultsResets(t *testing.T) {
	reset := func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }
	for name, c := range map[string]struct {
		peer  func(c *net.TCPConn, next <-chan struct{})
		start func(s *evnet.Socket)
		end   bool // End is emitted first
		text  string
	}{
		"while idle": {peer: func(c *net.TCPConn, _ <-chan struct{}) { reset(c) }},
		"after an end": {
			peer: func(c *net.TCPConn, next <-chan struct{}) { _ = c.CloseWrite(); <-next; reset(c) },
			end:  true,
		},
		"after bytes": {
			peer: func(c *net.TCPConn, next <-chan struct{}) { _, _ = c.Write([]byte("x")); <-next; reset(c) },
			text: "x",
		},
		"with bytes that the peer has not read": {
			start: func(s *evnet.Socket) { _, _ = s.WriteString("hello") },
			peer:  func(c *net.TCPConn, _ <-chan struct{}) { awaitBytes(c); _ = c.Close() },
		},
		"with a large write pending": {
			start: func(s *evnet.Socket) { _, _ = s.Write(make([]byte, 16<<20)) },
			peer:  func(c *net.TCPConn, _ <-chan struct{}) { awaitBytes(c); reset(c) },
		},
		"with a large write pending, paused": {
			start: func(s *evnet.Socket) { s.Pause(); _, _ = s.Write(make([]byte, 16<<20)) },
			peer:  func(c *net.TCPConn, _ <-chan struct{}) { awaitBytes(c); reset(c) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T) {
				here, there := pair(t)
				l := evnet.NewLoop()
				s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, Logger: quiet, AllowHalfOpen: true})
				next := make(chan struct{})
				once := sync.OnceFunc(func() { close(next) })
				events, got := "", ""
				s.On.Data(func(p []byte) { got += string(p); once() })
				s.On.End(func() { events += "end "; once(); keepWriting(l, s) }) // as in Node, a write detects the reset
				s.On.Error(func(error) { events += "error " })
				s.On.Close(func(hadError bool) { events += "close"; assert.True(t, hadError) })
				written := make(chan error, 1)
				if c.start != nil {
					c.start(s)
					s.WriteThen([]byte("last"), func(err error) { written <- err })
				}
				aside(l, func() { c.peer(there, next) })
				run(t, l)
				want := "error close"
				if c.end {
					want = "end error close"
				}
				assert.Equal(t, want, events)
				assert.Equal(t, c.text, got)
				if code := evnet.Code(s.Err()); c.end { // the first or second write detects it
					assert.Contains(t, []string{"ECONNRESET", "EPIPE"}, code, "%v", s.Err())
				} else {
					assert.Equal(t, "ECONNRESET", code, "%v", s.Err())
				}
				if c.start != nil {
					assert.Len(t, written, 1)
				}
			})
		})
	}
}

func keepWriting(l *evnet.Loop, s *evnet.Socket) {
	if _, err := s.WriteString("x"); err == nil {
		l.AfterFunc(time.Millisecond, func() { keepWriting(l, s) })
	}
}

// awaitBytes returns when there is something to read, without reading all of it.
func awaitBytes(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) }

// A socket may be ended or destroyed, and its context may end, at any stage of its life. Then Error is emitted if
// there is a cause, then Close, and nothing is left behind.
func TestFaultsAtEachStage(t *testing.T) {
	boom := errors.New("boom")
	number := 0
	for how, do := range inOrder(map[string]fault{
		"Destroy":               {fn: func(s *evnet.Socket, _ func()) { s.Destroy(nil) }},
		"Destroy with an error": {fn: func(s *evnet.Socket, _ func()) { s.Destroy(boom) }, cause: boom},
		"Reset":                 {fn: func(s *evnet.Socket, _ func()) { s.Reset() }},
		"End":                   {fn: func(s *evnet.Socket, _ func()) { s.End() }, whole: true},
		"Close":                 {fn: func(s *evnet.Socket, _ func()) { _ = s.Close() }},
		"the context":           {fn: func(_ *evnet.Socket, cancel func()) { cancel() }, cause: context.Canceled},
		"Connect's context":     {fn: func(_ *evnet.Socket, cancel func()) { cancel() }, cause: context.Canceled, connect: true},
	}) {
		for stage, at := range inOrder(map[string]func(s *evnet.Socket, fn func()){
			"in Lookup":       func(s *evnet.Socket, fn func()) { s.On.Lookup(func(evnet.Lookup) { fn() }) },
			"in an attempt":   func(s *evnet.Socket, fn func()) { s.On.ConnectionAttempt(func(evnet.Attempt) { fn() }) },
			"after a failure": func(s *evnet.Socket, fn func()) { s.On.ConnectionAttemptFailed(func(evnet.Attempt, error) { fn() }) },
			"in Connect":      func(s *evnet.Socket, fn func()) { s.On.Connect(fn) },
			"in Ready":        func(s *evnet.Socket, fn func()) { s.On.Ready(fn) },
			"in Data":         func(s *evnet.Socket, fn func()) { s.On.Data(func([]byte) { fn() }) },
			"in Drain":        func(s *evnet.Socket, fn func()) { s.On.Drain(fn) },
			"in End":          func(s *evnet.Socket, fn func()) { s.On.End(fn) },
			"in Finish":       func(s *evnet.Socket, fn func()) { s.On.Finish(fn) },
			"in Timeout":      func(s *evnet.Socket, fn func()) { _ = s.SetTimeout(1); s.On.Timeout(fn) },
			"in Close":        func(s *evnet.Socket, fn func()) { s.On.Close(func(bool) { fn() }) },
		}) {
			number++
			t.Run(how+" "+stage, func(t *testing.T) {
				alternately(t, number, func(t *testing.T) { stageFault(t, do, stage, at) })
			})
		}
	}
}

// fault is something that ends a socket.
type fault struct {
	fn      func(s *evnet.Socket, cancel func())
	cause   error
	whole   bool // written data is sent first, and then a clean end
	connect bool // the context is passed to ConnectContext; it has no effect after the connection is made
}

func stageFault(t *testing.T, do fault, stage string, at func(*evnet.Socket, func())) {
	l := evnet.NewLoop()
	var peer *evnet.Socket
	peerEnded := false
	server, address := serve(t, l, evnet.ServerOptions{}, func(s *evnet.Socket) {
		peer = s
		_, _ = s.WriteString("hello")
		s.On.End(func() { peerEnded = true })
		s.Pipe(s)
	})
	_, port, _ := net.SplitHostPort(address)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	whole, attempt, cause := ctx, context.Background(), do.cause
	if do.connect {
		whole, attempt = nil, ctx
		if stage != "in Lookup" && stage != "in an attempt" && stage != "after a failure" {
			cause = nil
		}
	}
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, Logger: quiet, Context: whole, HighWaterMark: 1,
		Resolver: addresses{netip.MustParseAddr("127.0.0.1")},
	})
	if stage == "after a failure" { // the attempt with the first address
		s = evnet.NewSocket(&evnet.SocketOptions{
			Loop: l, Logger: quiet, Context: whole, NoAutoSelectFamily: false, AttemptDelay: -1,
			Dialer:   failingFor("[::1]:" + port),
			Resolver: addresses{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")},
		})
	}
	done, events := false, ""
	fn := func() {
		if !done {
			done = true
			do.fn(s, cancel)
			if do.connect && stage == "in Timeout" {
				s.End() // if it has connected, nothing else ends it
			}
		}
	}
	const size = 1 << 20
	s.On.Data(func([]byte) {
		// End the socket, unless the fault itself is to end it.
		waits := stage == "in Timeout" || errors.Is(cause, context.Canceled) && stage != "in End" && stage != "in Finish" && stage != "in Close"
		if s.BytesRead() == size+int64(len("hello")) && !waits {
			s.End()
		}
	})
	s.On.Error(func(error) { events += "error " })
	at(s, fn)
	s.On.Close(func(bool) {
		events += "close"
		_ = server.Close(nil)
		server.CloseAllConnections()
	})
	s.ConnectContext(attempt, "tcp", "name.test:"+port)
	_, _ = s.Write(make([]byte, size))
	run(t, l)
	assert.True(t, done)
	if do.whole {
		assert.True(t, peerEnded, "a clean end")
		assert.NoError(t, peer.Err())
		assert.EqualValues(t, size, peer.BytesRead())
	}
	if do.connect && stage == "in Timeout" && s.Err() != nil { // the context may end before Connect or after it
		cause = do.cause
	}
	want := "close"
	late := stage == "in Close" || errors.Is(cause, context.Canceled) && !strings.Contains(events, "error") &&
		(stage == "in End" || stage == "in Finish") // the socket may close before it reports the end of the context
	if cause != nil && !late {
		want = "error close"
		assert.ErrorIs(t, s.Err(), cause)
	}
	assert.Equal(t, want, events)
}

// addresses is a Resolver that returns itself for every name.
type addresses []netip.Addr

func (a addresses) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return a, nil }

// failingFor returns a Dialer that cannot reach one address.
func failingFor(address string) *net.Dialer {
	return &net.Dialer{Control: func(_, to string, _ syscall.RawConn) error {
		if to == address {
			return syscall.EHOSTUNREACH
		}
		return nil
	}}
}
