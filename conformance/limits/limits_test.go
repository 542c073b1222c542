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

// What is done at MaxWriteBuffer.

// whenFull calls fn on the loop once s needs to drain.
func whenFull(l *evnet.Loop, s *evnet.Socket, fn func()) {
	if !s.NeedDrain() {
		l.AfterFunc(0, func() { whenFull(l, s, fn) })
		return
	}
	fn()
}

// However low MaxWriteBuffer is, what Pipe, Relay and ReadFrom have read reaches a peer that is slow to
// read: they are held back before the limit refuses anything.
func TestLimit_HoldsBackReading(t *testing.T) {
	want := evtest.RandomBytes(2 * evtest.Megabyte)
	for what, begin := range map[string]func(src, dst *evnet.Socket){
		"Pipe":               func(src, dst *evnet.Socket) { src.Pipe(dst) },
		"Pipe beside a Data": func(src, dst *evnet.Socket) { kit.Consume(src); src.Pipe(dst) }, // not by splice
		"Relay":              func(src, dst *evnet.Socket) { evnet.Relay(src, dst, nil) },
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

// Where the program itself has filled the queue, Pipe goes beyond the limit by the one chunk that it has read.
func TestLimitLosesNoChunkOfPipe(t *testing.T) {
	want := evtest.RandomBytes(100_000)
	evtest.OnBothTransports(t, func(t *testing.T) {
		l := evnet.NewLoop()
		from, writer := evtest.TCPPair(t)
		to, reader := evtest.TCPPair(t)
		src := evnet.Wrap(from, &evnet.SocketOptions{Loop: l})
		dst := evnet.Wrap(to, &evnet.SocketOptions{Loop: l, MaxWriteBuffer: 64 << 10})
		src.Pipe(dst)
		own := evtest.RandomBytes(16 * evtest.Megabyte) // begins below the limit: taken whole
		var peers sync.WaitGroup
		var came func()
		came = func() {
			if src.BytesRead() == 0 {
				l.AfterFunc(0, came)
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
			came()
		})
		kit.Run(t, l)
		peers.Wait()
		assert.NoError(t, dst.Err())
	})
}

// A write that the limit refuses is told so soon, though those before it wait for a peer that does not read.
func TestLimit_ReportsARefusedWriteAsynchronously(t *testing.T) {
	l := evnet.NewLoop()
	s, peer := kit.WrapPipe(l, evnet.SocketOptions{MaxWriteBuffer: 10})
	defer peer.Close()
	var told []error
	note := func(err error) { told = append(told, err) }
	s.WriteThen(make([]byte, 10), note)
	s.WriteThen([]byte("x"), note)
	s.WriteThen([]byte("y"), func(err error) {
		note(err)
		assert.Equal(t, []error{evnet.ErrWriteBufferFull, evnet.ErrWriteBufferFull}, told)
		s.Destroy(nil)
	})
	kit.Run(t, l)
	require.Len(t, told, 3)
	assert.ErrorIs(t, told[2], evnet.ErrDestroyed)
}

// Of nothing, the callback waits for the connection all the same, and is told if there is none.
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

// A connection that never comes has not even nothing written, whatever is refused behind it.
func TestWriteThen_EmptyWriteWithoutAConnection(t *testing.T) {
	l := evnet.NewLoop()
	s := evnet.NewSocket(&evnet.SocketOptions{
		Loop: l, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, evtest.ErrRefused },
	})
	var told []error
	note := func(err error) { told = append(told, err) }
	l.Do(func() {
		s.Connect("tcp", "127.0.0.1:1")
		s.WriteThen(nil, note)
		s.End()
		s.WriteThen([]byte("x"), note)
	})
	kit.Run(t, l)
	require.Len(t, told, 2)
	assert.ErrorIs(t, told[0], evtest.ErrRefused)
	assert.ErrorIs(t, told[1], evnet.ErrWriteAfterEnd)
}

// A write that is refused after End is told in its turn: once what was written before it is sent, though that
// has no callback.
func TestWriteThen_AfterEndReportsAsynchronously(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := evnet.NewLoop()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
		var told atomic.Bool
		l.Do(func() {
			_, _ = s.WriteString("x")
			s.End()
			s.WriteThen([]byte("y"), func(err error) {
				assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
				told.Store(true)
			})
		})
		go func() {
			synctest.Wait()
			assert.False(t, told.Load())
			_, _ = io.Copy(io.Discard, there)
			_ = there.Close()
		}()
		kit.Run(t, l)
		assert.True(t, told.Load())
	})
}

// labels gives the same byte again and again, and tells when that begins.
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

// ReadFrom writes to the connection on which it began, and to no later one.
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

// A stream that the program cuts off with io.EOF, such as another's Read has returned, passes for no whole one.
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
