package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Traps in the values of Node's getters.

// A socket that was never connected is neither open nor closed. Closed does not become true before the socket is
// destroyed.
func TestTrapNewSocket(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	assert.Equal(t, evnet.StateNew, s.ReadyState())
	assert.Equal(t, "new", s.ReadyState().String())
	assert.False(t, s.Closed())
	assert.True(t, s.Readable())
	assert.True(t, s.Writable())
	s.Connect("tcp", evtest.ClosedPort(t))
	assert.Equal(t, evnet.StateOpening, s.ReadyState())
	s.On.Error(func(error) { assert.Equal(t, evnet.StateClosed, s.ReadyState()) })
	kit.Run(t, l)
	assert.Equal(t, evnet.StateClosed, s.ReadyState())
}

// An accepted socket is open in Connection, and none of its data was read.
func TestTrapAcceptedSocketIsOpen(t *testing.T) {
	l := evnet.NewLoop()
	var server *evnet.Server
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) {
		assert.Equal(t, evnet.StateOpen, s.ReadyState())
		assert.False(t, s.Connecting())
		assert.False(t, s.Pending())
		assert.True(t, s.Readable())
		assert.True(t, s.Writable())
		assert.False(t, s.Flowing())
		assert.False(t, s.Paused())
		assert.Zero(t, s.BytesRead())
		assert.Same(t, server, s.Server())
		assert.Equal(t, server.Address().String(), s.LocalAddr().String())
		assert.Equal(t, 1, server.Connections())
		s.On.Connect(func() { t.Error("it was connected already") })
		s.On.Ready(func() { t.Error("Ready was already emitted") })
		s.Resume()
		_ = server.Close(nil)
	})
	c := kit.NewClient(l)
	c.On.Ready(func() { _, _ = c.WriteString("x"); c.End() })
	c.Resume()
	c.Connect("tcp", addr)
	kit.Run(t, l)
}

// Lengths count received and sent bytes, in any encoding.
func TestTrapLengthsAreBytes(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	_, err := s.WriteString("é€😀")
	require.NoError(t, err)
	assert.Equal(t, 9, s.BufferedAmount())
	assert.EqualValues(t, 9, s.BytesWritten())
	require.NoError(t, s.SetEncoding("utf8"))
	require.NoError(t, s.Unshift([]byte("€")))
	assert.Equal(t, 3, s.ReadableLength())
	kit.Aside(l, func() {
		_, _ = io.ReadFull(peer, make([]byte, 4))
		s.Loop().Do(func() {
			assert.LessOrEqual(t, s.BufferedAmount(), 9, "sent bytes are not buffered")
			s.Destroy(nil)
			assert.Zero(t, s.BufferedAmount())
		})
	})
	kit.Run(t, l)
	assert.EqualValues(t, 9, s.BytesWritten())
}

// Connections needs no callback, and Timeout is never undefined.
func TestTrapGetters(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.NewClient(l)
	assert.Zero(t, s.Timeout())
	require.NoError(t, s.SetTimeout(time.Second))
	assert.Equal(t, time.Second, s.Timeout())
	assert.Error(t, s.SetTimeout(-1))
	assert.Equal(t, time.Second, s.Timeout(), "a refused value has no effect")
	require.NoError(t, s.SetTimeout(0))
	assert.Zero(t, s.Timeout())

	var server *evnet.Server
	kit.ConnectPair(t, l, nil, nil, func(c, a *evnet.Socket) {
		server = a.Server()
		assert.Equal(t, 1, server.Connections(), "the server no longer listens")
		a.Destroy(nil)
		assert.Zero(t, server.Connections(), "before its Close")
		c.Resume()
	})
	kit.Run(t, l)
}

// A Unix socket does not support RST: Reset destroys it, without a panic.
func TestTrapResetOfUnixSocket(t *testing.T) {
	l := evnet.NewLoop()
	here, there := evtest.UnixPair(t)
	a, b := evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), evnet.Wrap(there, &evnet.SocketOptions{Loop: l})
	var got kit.Notes
	b.On.End(got.Say("end"))
	b.On.Error(func(err error) { t.Error(err) })
	b.Resume()
	a.On.Error(func(err error) { t.Error(err) })
	a.On.Close(func(hadError bool) { assert.False(t, hadError) })
	l.AfterFunc(0, a.Reset)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"end"}, got)
}

// Over a Unix socket too, the peer gets a reset if the data that it sent was not read.
func TestTrapUnixPeerDestroyedWithUnreadData(t *testing.T) {
	if !evtest.OnLinux {
		t.Skip("the kernel decides")
	}
	l := evnet.NewLoop()
	here, there := evtest.UnixPair(t)
	a, b := evnet.Wrap(here, &evnet.SocketOptions{Loop: l}), evnet.Wrap(there, &evnet.SocketOptions{Loop: l})
	b.Pause()
	a.Resume()
	a.On.Error(func(err error) { assert.ErrorIs(t, err, syscall.ECONNRESET) })
	a.On.Close(func(hadError bool) { assert.True(t, hadError) })
	a.WriteThen([]byte("unread"), func(err error) {
		assert.NoError(t, err)
		b.Destroy(nil)
	})
	kit.Run(t, l)
}

// One Data event has at most 64 KiB, however much was received and however the socket was paused.
func TestTrapChunksAreLimited(t *testing.T) {
	want := evtest.RandomBytes(8 * evtest.Megabyte)
	got, most, chunks := evtest.NewSum(), 0, 0
	l := evnet.NewLoop()
	kit.ConnectPair(t, l, nil, &evnet.ServerOptions{PauseOnConnect: true}, func(c, a *evnet.Socket) {
		a.On.Data(func(p []byte) {
			_, _ = got.Write(p)
			most = max(most, len(p))
			if chunks++; chunks%3 == 0 {
				a.Pause()
				l.AfterFunc(0, a.Resume)
			}
		})
		_, _ = c.Write(want)
		c.End()
		l.AfterFunc(time.Millisecond, a.Resume)
	})
	kit.Run(t, l)
	got.Check(t, want)
	assert.LessOrEqual(t, most, 64<<10)
}

// After Pause before Connect nothing is read, even if a consumer is added later.
func TestTrapPausedBeforeConnect(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(s *evnet.Socket) { _, _ = s.WriteString("hello"); s.End(); s.Resume() })
	s := kit.NewClient(l)
	s.Pause()
	var got kit.Notes
	s.On.Data(got.Chunk(""))
	s.On.Ready(func() {
		l.AfterFunc(20*time.Millisecond, func() {
			assert.Zero(t, s.BytesRead())
			assert.Empty(t, got)
			assert.Equal(t, evnet.StateOpen, s.ReadyState())
			s.Resume()
			assert.Empty(t, got, "not before Resume has returned")
		})
	})
	s.On.Close(func(bool) { _ = server.Close(nil) })
	s.Connect("tcp", addr)
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"hello"}, got)
}

// AllowHalfOpen may be changed either way until End has been emitted.
func TestTrapAllowHalfOpenAtRuntime(t *testing.T) {
	for _, began := range []bool{false, true} {
		l := evnet.NewLoop()
		kit.ConnectPair(t, l, nil, &evnet.ServerOptions{AllowHalfOpen: began}, func(c, a *evnet.Socket) {
			assert.Equal(t, began, a.AllowHalfOpen())
			a.SetAllowHalfOpen(!began)
			a.Resume()
			c.Resume()
			c.End()
			a.On.End(func() {
				assert.Equal(t, evnet.StateWriteOnly, a.ReadyState())
				l.AfterFunc(20*time.Millisecond, func() {
					want := evnet.StateClosed
					if !began {
						want = evnet.StateWriteOnly
					}
					assert.Equal(t, want, a.ReadyState())
					a.End()
				})
			})
		})
		kit.Run(t, l)
	}
}

// The rest of an incomplete character is delivered before End, but not if the socket fails. A byte order mark
// is delivered like other text.
func TestTrapEncodingAtTheEnd(t *testing.T) {
	const mark = "\ufeff"
	for name, c := range map[string]struct {
		end  func(s *evnet.Socket)
		want string
	}{
		"end":       {nil, mark + "a\ufffd"},
		"destroyed": {func(s *evnet.Socket) { s.Destroy(nil) }, mark + "a"},
		"failed":    {func(s *evnet.Socket) { s.Destroy(errors.New("a cause")) }, mark + "a"},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			require.NoError(t, s.SetEncoding("UTF-8"))
			assert.EqualValues(t, "utf8", s.Encoding())
			var got strings.Builder
			events := 0
			s.On.Error(func(error) {})
			s.On.Data(func(p []byte) { events++; got.Write(p) })
			kit.Aside(l, func() {
				_, _ = io.WriteString(peer, mark+"a")
				_, _ = io.WriteString(peer, "\xe2") // no event
				_, _ = io.WriteString(peer, "\x82")
				if c.end == nil {
					_ = peer.Close()
					return
				}
				l.Do(func() { c.end(s) })
			})
			kit.Run(t, l)
			assert.Equal(t, c.want, got.String())
			assert.LessOrEqual(t, events, 2)
		})
	}
}

// optionConn notes which options are set on it.
type optionConn struct {
	net.Conn
	got *kit.Notes
}

func (c optionConn) SetNoDelay(on bool) error {
	*c.got = append(*c.got, fmt.Sprint("nodelay ", on))
	return nil
}

func (c optionConn) SetKeepAliveConfig(k net.KeepAliveConfig) error {
	*c.got = append(*c.got, fmt.Sprint("keepalive ", k.Idle))
	return nil
}

// connectTwice connects a socket two times. Each time the peer sends parts and closes. connected is called on Ready
// with the number of the connection.
func connectTwice(t *testing.T, s *evnet.Socket, peers <-chan net.Conn, connected func(round int), parts ...string) {
	round := 0
	s.On.Ready(func() {
		round++
		connected(round)
		peer := <-peers
		kit.Aside(s.Loop(), func() {
			for _, p := range parts {
				_, err := io.WriteString(peer, p)
				assert.NoError(t, err)
			}
			_ = peer.Close()
		})
	})
	s.Once.Close(func(bool) { s.Connect("unix", "a path") })
	s.Connect("unix", "a path")
	kit.Run(t, s.Loop())
	assert.Equal(t, 2, round)
}

// When a closed socket is connected again, its listeners, OnRead or Scan, the encoding, AllowHalfOpen, Unref, SetTimeout
// and the options of the connection stay. Unfinished data does not.
func TestConnectAgain_WhatStays(t *testing.T) {
	for name, consume := range map[string]func(s *evnet.Socket, got *kit.Notes){
		"Scan": func(s *evnet.Socket, got *kit.Notes) { _ = s.Scan(nil, 0, got.Chunk("")) },
		"OnRead": func(s *evnet.Socket, got *kit.Notes) {
			_ = s.OnRead(func(p []byte) bool { got.Chunk("")(p); return true })
		},
		"Data": func(s *evnet.Socket, got *kit.Notes) { s.On.Data(got.Chunk("")) },
	} {
		t.Run(name, func(t *testing.T) {
			peers := make(chan net.Conn, 1)
			var got, options kit.Notes
			s := evnet.NewSocket(&evnet.SocketOptions{Loop: evnet.NewLoop(),
				Dial: func(context.Context, string, string) (net.Conn, error) {
					here, there := net.Pipe()
					peers <- there
					return optionConn{here, &options}, nil
				}})
			consume(s, &got)
			require.NoError(t, s.SetEncoding(evnet.Hex))
			require.NoError(t, s.SetTimeout(time.Hour))
			require.NoError(t, s.SetNoDelay(false))
			require.NoError(t, s.SetKeepAlive(true, time.Minute))
			s.SetAllowHalfOpen(true)
			s.On.End(func() { got.Say("end")(); s.End() })
			s.Once.End(got.Say("only once"))
			connectTwice(t, s, peers, func(round int) {
				assert.Equal(t, evnet.Hex, s.Encoding())
				assert.Equal(t, time.Hour, s.Timeout())
				assert.True(t, s.AllowHalfOpen())
				assert.False(t, s.Paused())
			}, "hi")
			want := "6869"
			if name == "OnRead" {
				want = "hi" // as received
			}
			assert.Equal(t, kit.Notes{want, "end", "only once", want, "end"}, got)
			assert.Equal(t, kit.Notes{"nodelay false", "keepalive 1m0s", "nodelay false", "keepalive 1m0s"}, options)
		})
	}
}

// Pipe, Cork and Unshift end with the connection. After a Pipe the socket stays paused, as after Unpipe: the program
// calls Pipe or Resume for the next connection. AllowHalfOpen stays as BlockingConn has set it.
func TestConnectAgain_WhatDoesNotStay(t *testing.T) {
	setup := func() (s *evnet.Socket, peers chan net.Conn) {
		peers = make(chan net.Conn, 1)
		return evnet.NewSocket(&evnet.SocketOptions{Loop: evnet.NewLoop(),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				peers <- there
				return here, nil
			}}), peers
	}
	t.Run("Pipe", func(t *testing.T) {
		s, peers := setup()
		var piped, got bytes.Buffer
		s.On.Data(func(p []byte) { got.Write(p) })
		connectTwice(t, s, peers, func(round int) {
			if round == 1 {
				s.Pipe(&piped)
				s.Cork()
				return
			}
			assert.Zero(t, s.Corked())
			assert.True(t, s.Paused())
			assert.False(t, s.Flowing(), "despite the Data listener")
			s.Loop().AfterFunc(time.Millisecond, func() {
				assert.Equal(t, "hi", got.String(), "of the first connection")
				s.Resume()
			})
		}, "hi")
		assert.Equal(t, "hi", piped.String())
		assert.Equal(t, "hihi", got.String())
	})
	t.Run("BlockingConn", func(t *testing.T) {
		s, peers := setup()
		connectTwice(t, s, peers, func(round int) {
			assert.Equal(t, round == 2, s.AllowHalfOpen())
			c := kit.BlockingConn(t, s) // a new one for each connection
			kit.Aside(s.Loop(), func() {
				got, err := io.ReadAll(c)
				assert.NoError(t, err)
				assert.Equal(t, "hi", string(got))
				_ = c.Close()
			})
		}, "hi")
	})
}
