package evnet_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sends lets a goroutine use a socket, and returns the data that the peer received.
func sends(t testing.TB, kind string, use func(l *evnet.Loop, s *evnet.Socket, peer net.Conn)) []byte {
	l := evnet.NewLoop()
	here, there := evtest.ConnKinds[kind](t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Resume()
	var got []byte
	var work sync.WaitGroup
	kit.Aside(l, func() {
		use(l, s, there)
		s.End()
	})
	work.Go(func() {
		var err error
		got, err = io.ReadAll(there)
		assert.NoError(t, err)
		_ = there.Close()
	})
	kit.Run(t, l)
	work.Wait()
	return got
}

// A file is sent completely, from its offset up to the limit, in each way that package io passes it. Afterwards its
// offset and the counters include the sent bytes.
func TestSendFile(t *testing.T) {
	for _, kind := range []string{"tcp", "unix"} {
		for _, size := range []int{0, 1, 64 << 10, 10 * evtest.Megabyte} {
			for name, way := range map[string]struct {
				from, less int
				copy       func(s *evnet.Socket, f *os.File, n int) (int64, error)
			}{
				"ReadFrom": {copy: func(s *evnet.Socket, f *os.File, _ int) (int64, error) { return s.ReadFrom(f) }},
				"Copy":     {copy: func(s *evnet.Socket, f *os.File, _ int) (int64, error) { return io.Copy(s, f) }},
				"offset":   {from: size / 3, copy: func(s *evnet.Socket, f *os.File, _ int) (int64, error) { return io.Copy(s, f) }},
				"CopyN": {from: size / 3, less: size / 5, copy: func(s *evnet.Socket, f *os.File, n int) (int64, error) {
					return io.CopyN(s, f, int64(n))
				}},
				"limit beyond": {copy: func(s *evnet.Socket, f *os.File, n int) (int64, error) {
					r := &io.LimitedReader{R: f, N: int64(n) + 5}
					sent, err := s.ReadFrom(r)
					assert.EqualValues(t, 5, r.N)
					return sent, err
				}},
			} {
				t.Run(fmt.Sprint(kind, size, name), func(t *testing.T) {
					want := evtest.RandomBytes(size)
					f := evtest.FileOf(t, want)
					fds, before := evtest.Descriptors(), evnet.Spliced()
					want = want[way.from : size-way.less]
					got := sends(t, kind, func(_ *evnet.Loop, s *evnet.Socket, _ net.Conn) {
						_, err := f.Seek(int64(way.from), io.SeekStart)
						assert.NoError(t, err)
						n, err := way.copy(s, f, len(want))
						assert.NoError(t, err)
						assert.EqualValues(t, len(want), n)
						assert.EqualValues(t, len(want), s.BytesWritten())
						at, err := f.Seek(0, io.SeekCurrent)
						assert.NoError(t, err)
						assert.EqualValues(t, size-way.less, at)
					})
					evtest.AssertEqualBytes(t, want, got)
					spliced(t, before, len(want) > 0)
					assert.Equal(t, fds, evtest.Descriptors())
				})
			}
		}
	}
}

// counting embeds a file and has its own Read, which must not be bypassed.
type counting struct {
	*os.File
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.n += n
	return n, err
}

// A source that is not a regular file is read.
func TestSendFileOnlyFiles(t *testing.T) {
	want := evtest.RandomBytes(300_000)
	c := &counting{File: evtest.FileOf(t, want)}
	before := evnet.Spliced()
	evtest.AssertEqualBytes(t, want, sends(t, "tcp", func(_ *evnet.Loop, s *evnet.Socket, _ net.Conn) {
		n, err := s.ReadFrom(c)
		assert.NoError(t, err)
		assert.EqualValues(t, len(want), n)
	}))
	assert.Equal(t, len(want), c.n)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	evtest.AssertEqualBytes(t, want, sends(t, "tcp", func(l *evnet.Loop, s *evnet.Socket, _ net.Conn) {
		var work sync.WaitGroup
		work.Go(func() { _, _ = w.Write(want); _ = w.Close() })
		_, err := s.ReadFrom(r)
		assert.NoError(t, err)
		work.Wait()
	}))
	if evtest.OnLinux { // a file of size 0 with content, which the kernel cannot splice
		p, err := os.Open("/proc/self/status")
		require.NoError(t, err)
		defer p.Close()
		assert.Contains(t, string(sends(t, "tcp", func(_ *evnet.Loop, s *evnet.Socket, _ net.Conn) {
			_, err := s.ReadFrom(p)
			assert.NoError(t, err)
		})), "VmPeak")
	}
	spliced(t, before, false)
}

// A directory fails with the error of its Read, without a hang.
func TestSendFileFails(t *testing.T) {
	d, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer d.Close()
	f := evtest.FileOf(t, evtest.RandomBytes(1000))
	require.NoError(t, f.Close())
	assert.Empty(t, sends(t, "tcp", func(_ *evnet.Loop, s *evnet.Socket, _ net.Conn) {
		for _, r := range []io.Reader{d, f} {
			n, err := s.ReadFrom(r)
			assert.Zero(t, n)
			var path *os.PathError
			assert.ErrorAs(t, err, &path)
		}
	}))
}

// If a file is truncated while it is sent, sending ends there.
func TestSendFileTruncated(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, make([]byte, 64*evtest.Megabyte), 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	l := evnet.NewLoop()
	here, there := evtest.TCPPair(t)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Resume()
	var sent int64
	kit.Aside(l, func() {
		sent, err = s.ReadFrom(f)
		assert.NoError(t, err)
		s.End()
	})
	got := 0
	var work sync.WaitGroup
	work.Go(func() {
		p := make([]byte, evtest.Megabyte)
		_, _ = io.ReadFull(there, p) // sending has begun
		assert.NoError(t, os.Truncate(name, 0))
		got = len(p)
		n, err := io.Copy(io.Discard, there)
		assert.NoError(t, err)
		got += int(n)
		_ = there.Close()
	})
	kit.Run(t, l)
	work.Wait()
	assert.EqualValues(t, sent, got)
	assert.Less(t, got, 64*evtest.Megabyte)
}

// Other writes, on the loop and on other goroutines, are sent between chunks and never inside one.
func TestSendFileMixed(t *testing.T) {
	const chunk, size = 4096, 8 * evtest.Megabyte
	p := make([]byte, size)
	for i := range p {
		p[i] = 'f'
	}
	var others atomic.Int64
	got := sends(t, "tcp", func(l *evnet.Loop, s *evnet.Socket, _ net.Conn) {
		stop := make(chan struct{})
		var work sync.WaitGroup
		work.Go(func() {
			word := make([]byte, chunk)
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.Do(func() {
					if !s.NeedDrain() {
						n, err := s.Write(word)
						assert.NoError(t, err)
						others.Add(int64(n))
					}
				})
			}
		})
		n, err := s.ReadFrom(evtest.FileOf(t, p))
		assert.NoError(t, err)
		assert.EqualValues(t, size, n)
		close(stop)
		work.Wait()
		s.Cork()
		n, err = s.ReadFrom(io.LimitReader(evtest.FileOf(t, p), chunk)) // behind the cork
		assert.NoError(t, err)
		assert.EqualValues(t, chunk, n)
		others.Add(-chunk)
		s.Uncork()
	})
	assert.EqualValues(t, size+2*chunk, int64(len(got))-others.Load())
	for _, words := range bytes.FieldsFunc(got, func(c rune) bool { return c == 'f' }) {
		if len(words)%chunk != 0 {
			t.Fatal("a write was split")
		}
	}
}

// If the socket closes while ReadFrom waits for room, ReadFrom returns the cause and leaves no descriptor open.
func TestSendFile_SocketCloses(t *testing.T) {
	for name, leave := range map[string]func(s *evnet.Socket, peer net.Conn){
		"destroyed": func(s *evnet.Socket, _ net.Conn) { s.Destroy(evtest.Boom("x")) },
		"reset":     func(s *evnet.Socket, _ net.Conn) { s.Reset() },
		"ended":     func(s *evnet.Socket, _ net.Conn) { s.End() },
		"by peer":   func(_ *evnet.Socket, peer net.Conn) { _ = peer.(*net.TCPConn).SetLinger(0); _ = peer.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			f := evtest.FileOf(t, make([]byte, 64*evtest.Megabyte))
			fds := evtest.Descriptors()
			here, there := evtest.TCPPair(t)
			s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
			s.On.Error(func(error) {})
			s.Resume()
			kit.Aside(l, func() {
				n, err := s.ReadFrom(f)
				assert.Less(t, n, int64(64*evtest.Megabyte))
				switch name {
				case "destroyed":
					assert.ErrorIs(t, err, evtest.Boom("x"))
				case "ended":
					assert.ErrorIs(t, err, evnet.ErrWriteAfterEnd)
				default:
					assert.Error(t, err)
				}
				s.Destroy(nil)
			})
			var look func()
			look = func() {
				if s.BytesWritten() < evtest.Megabyte { // the peer reads nothing: little more can be sent
					l.AfterFunc(0, look)
					return
				}
				leave(s, there)
			}
			look()
			kit.Run(t, l)
			_ = there.Close()
			assert.Equal(t, fds, evtest.Descriptors())
		})
	}
}

// A reset of the source is an error, not its end, even if the kernel has spliced the data before it.
func TestSpliceSourceReset(t *testing.T) {
	l := evnet.NewLoop()
	b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
	var cause error
	ended := false
	b.src.On.Error(func(err error) { cause = err })
	b.src.On.End(func() { ended = true })
	b.src.On.Close(func(bool) { b.dst.Destroy(nil) })
	b.src.Pipe(b.dst)
	var work sync.WaitGroup
	work.Go(func() { _, _ = io.Copy(io.Discard, b.out) })
	work.Go(func() {
		for range 64 {
			_, _ = b.in.Write(evtest.RandomBytes(100_000))
		}
		_ = b.in.(*net.TCPConn).SetLinger(0)
		_ = b.in.Close()
	})
	kit.Run(t, l)
	work.Wait()
	assert.Equal(t, "ECONNRESET", evnet.Code(cause))
	assert.False(t, ended)
}
