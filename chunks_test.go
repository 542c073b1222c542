package evnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ranged returns everything that a range over the chunks of s yields.
func ranged(s *evnet.Socket) (got []byte, failed []error) {
	for p, err := range s.Chunks() {
		if err != nil {
			failed = append(failed, err)
		}
		got = append(got, p...)
	}
	return got, failed
}

func TestChunks(t *testing.T) {
	want := evtest.RandomBytes(evtest.Pick(2, 8) * evtest.Megabyte)
	for name, pair := range map[string]func(testing.TB) (here, there net.Conn){
		"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
		"tcp":  func(t testing.TB) (net.Conn, net.Conn) { return evtest.TCPPair(t) },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			here, there := pair(t)
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			events := kit.NoteLife(s)
			kit.Aside(l, func() { _, _ = there.Write(want); _ = there.Close() })
			kit.Aside(l, func() {
				got, failed := ranged(s)
				assert.Empty(t, failed)
				evtest.AssertEqualBytes(t, want, got)
				got, failed = ranged(s) // the socket has ended
				assert.Empty(t, failed)
				assert.Empty(t, got)
			})
			kit.Run(t, l)
			assert.Equal(t, kit.Notes{"end", "finish", "close false"}, *events)
		})
	}
}

// A chunk belongs to the receiver, is yielded once, is traced, and is not a Data event.
func TestChunksOwnedAndTraced(t *testing.T) {
	l := evnet.NewLoop()
	var traced kit.Notes
	kit.SetTracer(l, func(_ any, event string, args ...any) {
		if event == "data" {
			traced = append(traced, string(args[0].([]byte)))
		}
	})
	s := kit.Feed(l, "one", "two", "three")
	var kept [][]byte
	kit.Aside(l, func() {
		for p := range s.Chunks() {
			kept = append(kept, p)
		}
	})
	kit.Run(t, l)
	assert.Equal(t, "one two three", string(bytes.Join(kept, []byte(" "))))
	assert.Equal(t, kit.Notes{"one", "two", "three"}, traced)
}

// Only the requested chunk is read, and the peer's end waits for a request too.
func TestChunksReadNothingAhead(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
	ended := false
	s.On.End(func() { ended = true })
	wrote := make(chan string, 3)
	go func() {
		for _, p := range []string{"one", "two"} {
			_, _ = io.WriteString(peer, p)
			wrote <- p
		}
		_ = peer.Close()
		wrote <- "end"
	}()
	kit.Aside(l, func() {
		var got kit.Notes
		for p, err := range s.Chunks() {
			assert.NoError(t, err)
			got = append(got, string(p))
			assert.Equal(t, string(p), <-wrote)
			if len(got) == 2 {
				assert.Equal(t, "end", <-wrote)
			}
			for range 100 { // turns, in which more could be read
				l.Do(func() {
					assert.False(t, ended)
					assert.Zero(t, s.ReadableLength())
				})
			}
			assert.Empty(t, wrote, "read before it was requested")
		}
		assert.Equal(t, kit.Notes{"one", "two"}, got)
	})
	kit.Run(t, l)
	assert.True(t, ended)
}

// Leaving the range leaves the socket open, and the next consumer continues.
func TestChunksLeaving(t *testing.T) {
	for name, next := range map[string]func(s *evnet.Socket) []byte{
		"a second range": func(s *evnet.Socket) []byte { got, _ := ranged(s); return got },
		"data": func(s *evnet.Socket) []byte {
			var got *bytes.Buffer
			done := make(chan struct{})
			s.Loop().Do(func() { got = kit.Collect(s); s.On.End(func() { close(done) }) })
			<-done
			return got.Bytes()
		},
		"scan": func(s *evnet.Socket) (got []byte) {
			done := make(chan struct{})
			s.Loop().Do(func() {
				_ = s.Scan(nil, 0, func(p []byte) { got = append(got, p...) })
				s.On.End(func() { close(done) })
			})
			<-done
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s := kit.Feed(l, "one", "two", "three")
			kit.Aside(l, func() {
				for p := range s.Chunks() {
					assert.Equal(t, "one", string(p))
					break
				}
				assert.False(t, s.Destroyed())
				assert.False(t, s.Flowing())
				assert.Equal(t, "twothree", string(next(s)))
			})
			kit.Run(t, l)
			assert.NoError(t, s.Err())
		})
	}
}

// An end received with the last bytes waits for the next step of the range, or for its end.
func TestChunksLeavingAtTheEnd(t *testing.T) {
	l := evnet.NewLoop()
	here, there := net.Pipe()
	go func() { _, _ = io.WriteString(there, "all"); _ = there.Close() }()
	s := evnet.Wrap(&evtest.NonconformingConn{Conn: here, EOFWithData: true}, &evnet.SocketOptions{Loop: l})
	ended := make(chan struct{})
	s.On.End(func() { close(ended) })
	kit.Aside(l, func() {
		for range s.Chunks() {
			for range 10 {
				l.Do(func() { assert.False(t, s.ReadableEnded()) })
			}
			break
		}
		<-ended
	})
	kit.Run(t, l)
}

// An error is yielded once, whatever the goroutine is doing.
func TestChunksFail(t *testing.T) {
	cause := errors.New("boom")
	for name, c := range map[string]struct{ destroy, want error }{
		"failed":    {cause, cause},
		"destroyed": {nil, evnet.ErrDestroyed},
	} {
		t.Run(name+" while it waits", func(t *testing.T) {
			l := evnet.NewLoop()
			s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
			s.On.Error(func(error) {})
			l.AfterFunc(time.Millisecond, func() { s.Destroy(c.destroy) })
			kit.Aside(l, func() {
				_, failed := ranged(s)
				assert.Equal(t, []error{c.want}, failed)
				_, failed = ranged(s) // destroyed before
				assert.Equal(t, []error{c.want}, failed)
			})
			kit.Run(t, l)
		})
		t.Run(name+" while it works", func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			s.On.Error(func(error) {})
			go func() { _, _ = io.WriteString(peer, "one") }()
			kit.Aside(l, func() {
				var failed []error
				for p, err := range s.Chunks() {
					if err == nil {
						assert.Equal(t, "one", string(p))
						s.Destroy(c.destroy)
						continue
					}
					assert.Nil(t, p)
					failed = append(failed, err)
				}
				assert.Equal(t, []error{c.want}, failed)
			})
			kit.Run(t, l)
		})
	}
}

// The range may begin before Connect, and continues once there is a connection.
func TestChunksBeforeConnect(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { _, _ = a.WriteString("hello"); a.End(); a.Resume() })
	s := kit.NewClient(l)
	s.On.Close(func(bool) { _ = server.Close(nil) })
	kit.Aside(l, func() {
		got, failed := ranged(s)
		assert.Empty(t, failed)
		assert.Equal(t, "hello", string(got))
	})
	l.AfterFunc(time.Millisecond, func() { s.Connect("tcp", addr) })
	kit.Run(t, l)
}

// In a callback the range is refused, because it would wait for its own loop.
func TestChunksOnLoop(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "kept")
	var got kit.Notes
	l.Post(func() {
		_, failed := ranged(s)
		assert.Equal(t, []error{evnet.ErrOnLoop}, failed)
		s.On.Data(got.Chunk(""))
	})
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"kept"}, got)
}

// A goroutine in a range returns when its loop ends, both on an unreferenced socket and on one that is not
// connected.
func TestChunksEndWithTheLoop(t *testing.T) {
	runs := map[string]func(l *evnet.Loop, ctx context.Context){
		"run":   func(l *evnet.Loop, _ context.Context) { kit.Run(t, l) },
		"serve": func(l *evnet.Loop, ctx context.Context) { assert.ErrorIs(t, l.Serve(ctx), context.Canceled) },
	}
	sockets := map[string]struct {
		make func(l *evnet.Loop) *evnet.Socket
		want error
	}{
		"unreferenced": {func(l *evnet.Loop) *evnet.Socket { s, _ := kit.WrapPipe(l, evnet.SocketOptions{}); s.Unref(); return s }, evnet.ErrDestroyed},
		"unconnected":  {kit.NewClient, evnet.ErrLoopStopped},
	}
	for name, runs := range runs {
		for kind, c := range sockets {
			t.Run(name+"/"+kind, func(t *testing.T) {
				l := evnet.NewLoop()
				s := c.make(l)
				var waiting sync.WaitGroup
				waiting.Go(func() {
					_, failed := ranged(s)
					assert.Equal(t, []error{c.want}, failed)
				})
				ctx, cancel := context.WithCancel(context.Background())
				var look func()
				look = func() { // keeps the loop running until the range has begun
					if evnet.WaitsForChunk(s) {
						cancel()
					} else {
						l.AfterFunc(time.Millisecond, look)
					}
				}
				look()
				runs(l, ctx)
				waiting.Wait()
				assert.NoError(t, s.On.Data(func([]byte) {}).Err(), "the range no longer consumes")
			})
		}
	}
}

// Pause stops the range, and Resume continues it.
func TestChunksPause(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one", "two")
	resumed := false
	kit.Aside(l, func() {
		var got kit.Notes
		for p := range s.Chunks() {
			if got = append(got, string(p)); len(got) == 1 {
				s.Pause()
				l.AfterFunc(time.Millisecond, func() { resumed = true; s.Resume() })
			} else {
				l.Do(func() { assert.True(t, resumed) })
			}
		}
		assert.Equal(t, kit.Notes{"one", "two"}, got)
	})
	kit.Run(t, l)
}

func TestChunksEncoding(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "ol\xc3", "\xa1", "\xc3")
	require.NoError(t, s.SetEncoding(evnet.UTF8))
	kit.Aside(l, func() {
		var got kit.Notes
		for p := range s.Chunks() {
			got = append(got, string(p))
		}
		assert.Equal(t, kit.Notes{"ol", "á", "\uFFFD"}, got)
	})
	kit.Run(t, l)
}

// Each connection has its own range. After an old range, a new connection does not discard data.
func TestChunksReconnect(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, func(a *evnet.Socket) { _, _ = a.WriteString("hello"); a.Resume() })
	s := kit.NewClient(l)
	closed := make(chan struct{})
	s.Once.Close(func(bool) {
		s.Connect("tcp", addr)
		s.On.Close(func(bool) { _ = server.Close(nil) })
		close(closed)
	})
	s.Connect("tcp", addr)
	kit.Aside(l, func() {
		var failed []error
		for p, err := range s.Chunks() {
			if err != nil {
				failed = append(failed, err)
				continue
			}
			assert.Equal(t, "hello", string(p))
			s.Destroy(nil)
		}
		assert.Equal(t, []error{evnet.ErrDestroyed}, failed)
		<-closed
		for s.ReadableLength() == 0 { // read ahead and buffered, not discarded
			runtime.Gosched()
		}
		for p, err := range s.Chunks() {
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(p))
			break
		}
		s.Destroy(nil)
	})
	kit.Run(t, l)
}

// A goroutine that panics in the body leaves the range.
func TestChunksBodyPanics(t *testing.T) {
	l := evnet.NewLoop()
	s := kit.Feed(l, "one", "two")
	kit.Aside(l, func() {
		assert.Panics(t, func() {
			for range s.Chunks() {
				panic("x")
			}
		})
		got, _ := ranged(s)
		assert.Equal(t, "two", string(got))
	})
	kit.Run(t, l)
}
