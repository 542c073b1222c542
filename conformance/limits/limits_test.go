package limits_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The behaviour at MaxWriteBuffer.

// whenFull calls fn on the loop once s needs to drain.
func whenFull(l *evnet.Loop, s *evnet.Socket, fn func()) {
	if !s.NeedDrain() {
		l.AfterFunc(0, func() { whenFull(l, s, fn) })
		return
	}
	fn()
}

// With any MaxWriteBuffer, all data that Pipe, Relay and ReadFrom have read reaches a slow peer. They stop reading
// before the limit refuses a write.
func TestLimit_HoldsBackReading(t *testing.T) {
	want := evtest.RandomBytes(2 * evtest.Megabyte)
	for what, begin := range map[string]func(src, dst *evnet.Socket){
		"Pipe":          func(src, dst *evnet.Socket) { src.Pipe(dst) },
		"Pipe and Data": func(src, dst *evnet.Socket) { kit.Consume(src); src.Pipe(dst) }, // without splice
		"Relay":         func(src, dst *evnet.Socket) { evnet.Relay(src, dst, nil) },
		"ReadFrom": func(src, dst *evnet.Socket) {
			src.Destroy(nil)
			go func() {
				_, err := dst.ReadFrom(bytes.NewReader(want))
				assert.NoError(t, err)
				dst.End()
			}()
		},
	} {
		for _, limit := range []int{1, 1 << 10, 32 << 10} {
			t.Run(what+" "+strconv.Itoa(limit), func(t *testing.T) {
				evtest.OnBothTransports(t, func(t *testing.T) {
					l := evnet.NewLoop()
					from, writer := evtest.TCPPair(t)
					to, reader := evtest.TCPPair(t)
					src := evnet.Wrap(from, &evnet.SocketOptions{Loop: l})
					dst := evnet.Wrap(to, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: limit})
					assert.Equal(t, limit, dst.HighWaterMark())
					_ = reader.SetReadBuffer(64 << 10)
					_ = to.SetWriteBuffer(16 << 10)
					var peers sync.WaitGroup
					peers.Go(func() {
						_, _ = writer.Write(want)
						_ = writer.CloseWrite()
					})
					full := make(chan struct{})
					whenFull(l, dst, func() { close(full) })
					peers.Go(func() {
						<-full
						got, err := io.ReadAll(reader)
						assert.NoError(t, err)
						evtest.AssertEqualBytes(t, want, got)
						_, _ = reader.Close(), writer.Close()
					})
					begin(src, dst)
					kit.Run(t, l)
					peers.Wait()
					assert.NoError(t, dst.Err())
				})
			})
		}
	}
}

// If the program has filled the queue, Pipe exceeds the limit by the one chunk that it has read.
func TestLimitLosesNoChunkOfPipe(t *testing.T) {
	want := evtest.RandomBytes(100_000)
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		from, writer := evtest.TCPPair(t)
		to, reader := evtest.TCPPair(t)
		src := evnet.Wrap(from, &evnet.SocketOptions{Loop: l})
		dst := evnet.Wrap(to, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: 64 << 10})
		src.Pipe(dst)
		own := evtest.RandomBytes(16 * evtest.Megabyte) // starts below the limit: accepted completely
		var peers sync.WaitGroup
		var check func()
		check = func() {
			if src.BytesRead() == 0 {
				l.AfterFunc(0, check)
				return
			}
			assert.LessOrEqual(t, dst.BufferedAmount(), len(own)+64<<10, "one chunk more")
			peers.Go(func() {
				got, err := io.ReadAll(reader)
				assert.NoError(t, err)
				evtest.AssertEqualBytes(t, append(own, want...), got)
				_, _ = reader.Close(), writer.Close()
			})
		}
		l.Post(func() {
			_, err := dst.Write(own)
			require.NoError(t, err)
			_, err = dst.Write([]byte("x"))
			require.ErrorIs(t, err, evnet.ErrWriteBufferFull)
			peers.Go(func() {
				_, _ = writer.Write(want)
				_ = writer.CloseWrite()
			})
			check()
		})
		kit.Run(t, l)
		peers.Wait()
		assert.NoError(t, dst.Err())
	})
}

// The callback of a write that the limit refuses runs asynchronously, although earlier writes wait for a peer that does not
// read.
func TestLimit_ReportsARefusedWriteAsynchronously(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{MaxWriteBuffer: 10})
	defer peer.Close()
	var reported []error
	note := func(err error) { reported = append(reported, err) }
	s.WriteThen(make([]byte, 10), note)
	s.WriteThen([]byte("x"), note)
	s.WriteThen([]byte("y"), func(err error) {
		note(err)
		assert.Equal(t, []error{evnet.ErrWriteBufferFull, evnet.ErrWriteBufferFull}, reported)
		s.Destroy(nil)
	})
	kit.Run(t, l)
	require.Len(t, reported, 3)
	assert.ErrorIs(t, reported[2], evnet.ErrDestroyed)
}

// The callback of an empty write also waits for the connection, and gets an error if there is none.
func TestWriteThenOfNothingWhileConnecting(t *testing.T) {
	l := evnet.NewLoop()
	server, addr := kit.Serve(t, l, nil, kit.Consume)
	var events kit.Notes
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
	s.On.Connect(events.Say("connect"))
	s.On.Ready(events.Say("ready"))
	s.On.Close(func(bool) {
		again := evnet.NewSocket(&evnet.SocketOptions{Loop: l})
		again.Connect("tcp", addr)
		again.WriteThen(nil, func(err error) {
			assert.ErrorIs(t, err, evnet.ErrClosedBeforeConnect)
			events.Say("refused")()
		})
		again.Destroy(nil)
		_ = server.Close(nil)
	})
	s.Connect("tcp", addr)
	s.WriteThen(nil, func(err error) {
		assert.NoError(t, err)
		events.Say("written")()
	})
	s.End()
	kit.Run(t, l)
	assert.Equal(t, kit.Notes{"connect", "written", "ready", "refused"}, events)
}

// If the connection is never established, an empty write fails too, even if a later write is refused.
func TestWriteThen_EmptyWriteWithoutAConnection(t *testing.T) {
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, evtest.ErrRefused },
	})
	var reported []error
	note := func(err error) { reported = append(reported, err) }
	l.Do(func() {
		s.Connect("tcp", "127.0.0.1:1")
		s.WriteThen(nil, note)
		s.End()
		s.WriteThen([]byte("x"), note)
	})
	kit.Run(t, l)
	require.Len(t, reported, 2)
	assert.ErrorIs(t, reported[0], evtest.ErrRefused)
	assert.ErrorIs(t, reported[1], evnet.ErrWriteAfterEnd)
}

// The callback of a write that is refused after End runs in order: after the earlier bytes are sent, even if they have
// no callback.
func TestWriteThen_AfterEndReportsAsynchronously(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		var reported atomic.Bool
		l.Do(func() {
			_, _ = s.WriteString("x")
			s.End()
			s.WriteThen([]byte("y"), func(err error) {
				assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
				reported.Store(true)
			})
		})
		go func() {
			synctest.Wait()
			assert.False(t, reported.Load())
			_, _ = io.Copy(io.Discard, there)
			_ = there.Close()
		}()
		kit.Run(t, l)
		assert.True(t, reported.Load())
	})
}

// labels is a reader that repeats one byte, and calls began at the first Read.
type labels struct {
	label byte
	began func()
}

func (r *labels) Read(p []byte) (int, error) {
	if r.began != nil {
		r.began()
		r.began = nil
	}
	p = p[:min(len(p), 10)]
	for i := range p {
		p[i] = r.label
	}
	return len(p), nil
}

// ReadFrom writes only to the connection on which it started, not to a later one.
func TestReadFromKeepsToItsConnection(t *testing.T) {
	const readers = 4
	rounds := evtest.Pick(100, 300)
	l := evnet.NewLoop()
	var others sync.WaitGroup
	s := evnet.NewSocket(&evnet.SocketOptions{Loop: l, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, peer := net.Pipe()
		others.Go(func() {
			label := -1
			buf := make([]byte, 4096)
			for {
				n, err := peer.Read(buf)
				for _, b := range buf[:n] {
					if label < 0 {
						label = int(b)
					}
					if !assert.EqualValues(t, label, b, "a byte of another connection") {
						_ = peer.Close()
						return
					}
				}
				if err != nil {
					return
				}
			}
		})
		return here, nil
	}})
	round := 0
	s.On.Ready(func() {
		label := byte(round)
		_, _ = s.Write([]byte{label})
		var begun sync.WaitGroup
		begun.Add(readers)
		for range readers {
			others.Go(func() {
				_, err := s.ReadFrom(&labels{label, begun.Done})
				assert.True(t, errors.Is(err, evnet.ErrDestroyed), "%v", err)
			})
		}
		begun.Wait()
		s.Destroy(nil)
	})
	s.On.Close(func(bool) {
		if round++; round < rounds && !t.Failed() {
			s.Connect("unix", "there")
		}
	})
	s.Connect("unix", "there")
	kit.Run(t, l)
	others.Wait()
}

// If the program destroys a socket with io.EOF, for example from another Read, the stream does not look complete.
func TestDestroy_WithEOFIsNotReportedAsEnd(t *testing.T) {
	for name, read := range map[string]func(s *evnet.Socket) error{
		"Chunks": func(s *evnet.Socket) error {
			for _, err := range s.Chunks() {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"BlockingConn": func(s *evnet.Socket) error {
			c, err := s.BlockingConn()
			if err == nil {
				_, err = io.ReadAll(c)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, evnet.SocketOptions{})
			defer peer.Close()
			s.On.Error(func(err error) { assert.Equal(t, io.EOF, err) })
			var ended sync.WaitGroup
			ended.Go(func() { assert.ErrorIs(t, read(s), io.ErrUnexpectedEOF) })
			go func() {
				_, _ = peer.Write([]byte("half of a mess"))
				s.Destroy(io.EOF)
			}()
			kit.Run(t, l)
			ended.Wait()
			assert.Equal(t, io.EOF, s.Err())
			assert.ErrorIs(t, read(s), io.ErrUnexpectedEOF, "afterwards too")
		})
	}
}
