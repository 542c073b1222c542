package evnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"
	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A deadline ends a blocked call at its time, and a later deadline extends the call. No deadline is left when the
// loop has ended.
func TestBlockingConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := evnet.NewLoop()
		here, there := net.Pipe()
		s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l, HighWaterMark: 100})
		a := kit.BlockingConn(t, s)
		wait := kit.RunInBackground(t, l)
		late := func(err error, op string, after time.Duration) {
			t.Helper()
			evtest.AssertOpError(t, err, os.ErrDeadlineExceeded, op)
			var timeout net.Error
			assert.True(t, errors.As(err, &timeout) && timeout.Timeout())
			assert.Equal(t, after, time.Since(start))
		}

		assert.NoError(t, a.SetReadDeadline(start.Add(time.Second)))
		var put sync.WaitGroup
		put.Go(func() { // the deadline is extended while Read is blocked
			time.Sleep(time.Second / 2)
			assert.NoError(t, a.SetReadDeadline(start.Add(2*time.Second)))
		})
		_, err := a.Read(make([]byte, 1))
		late(err, "read", 2*time.Second)
		put.Wait()
		_, err = a.Read(make([]byte, 1))
		late(err, "read", 2*time.Second)

		_, err = a.Write(make([]byte, 100)) // it has no deadline, and fills the queue
		assert.NoError(t, err)
		assert.NoError(t, a.SetWriteDeadline(start.Add(3*time.Second)))
		n, err := a.Write(make([]byte, 100))
		assert.Zero(t, n)
		late(err, "write", 3*time.Second)
		n64, err := a.(io.ReaderFrom).ReadFrom(bytes.NewReader(make([]byte, 100)))
		assert.Zero(t, n64)
		late(err, "write", 3*time.Second)

		assert.NoError(t, a.SetDeadline(time.Time{}))
		go func() { _, _ = there.Write([]byte("in")); _, _ = io.CopyN(io.Discard, there, 200) }()
		got := make([]byte, 2)
		_, err = io.ReadFull(a, got)
		assert.NoError(t, err)
		n, err = a.Write(make([]byte, 100))
		assert.Equal(t, 100, n)
		assert.NoError(t, err)

		assert.NoError(t, a.SetDeadline(start.Add(time.Hour)))
		assert.NoError(t, a.Close())
		wait()
		assert.Equal(t, 3*time.Second, time.Since(start), "Run does not wait for a deadline")
		time.Sleep(2 * time.Hour)
		_, err = a.Read(got)
		evtest.AssertOpError(t, err, net.ErrClosed, "read")
		_ = there.Close()
	})
}

// A deadline discards nothing: data received around it is read afterwards.
func TestBlockingConnDeadlineLosesNothing(t *testing.T) {
	want := evtest.RandomBytes(evtest.Megabyte)
	evtest.OnBothTransports(t, func(t *testing.T) {
		for kind := range evtest.ConnKinds {
			t.Run(kind, func(t *testing.T) {
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
				go func() {
					_, err := b.Write(want)
					assert.NoError(t, err)
					assert.NoError(t, b.Close())
				}()
				var got []byte
				buf := make([]byte, 9000)
				for i := 0; ; i++ {
					past := time.Now()
					if i%2 == 0 {
						past = past.Add(time.Duration(i%20) * time.Microsecond)
					}
					assert.NoError(t, a.SetReadDeadline(past))
					_, err := a.Read(nil)
					assert.NoError(t, err)
					n, err := a.Read(buf)
					got = append(got, buf[:n]...)
					if err == io.EOF {
						break
					}
					if err != nil && !assert.ErrorIs(t, err, os.ErrDeadlineExceeded) {
						break
					}
					if i%2 == 1 {
						assert.Zero(t, n)
						assert.NoError(t, a.SetReadDeadline(time.Time{}))
						n, err = a.Read(buf)
						got = append(got, buf[:n]...)
						if err != nil {
							assert.Equal(t, io.EOF, err)
							break
						}
					}
				}
				evtest.AssertEqualBytes(t, want, got)
				assert.NoError(t, a.Close())
				wait()
			})
		}
	})
}

// Write blocks on a peer that does not read, at the high-water mark or at MaxWriteBuffer, whichever is
// lower.
func TestBlockingConnBackpressure(t *testing.T) {
	for name, opts := range map[string]evnet.SocketOptions{
		"high-water mark": {HighWaterMark: 50_000},
		"no mark":         {HighWaterMark: -1},
		"a low limit":     {MaxWriteBuffer: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			l := evnet.NewLoop()
			s, peer := kit.WrapPipe(l, opts)
			a := kit.BlockingConn(t, s)
			wait := kit.RunInBackground(t, l)
			want := evtest.RandomBytes(evtest.Megabyte)
			var writing sync.WaitGroup
			writing.Go(func() {
				n, err := a.Write(want)
				assert.NoError(t, err)
				assert.Equal(t, evtest.Megabyte, n)
				assert.NoError(t, a.Close())
			})
			var got bytes.Buffer
			for {
				assert.LessOrEqual(t, s.BufferedAmount(), 50_000+64<<10)
				if _, err := io.CopyN(&got, peer, 10_000); err != nil {
					break
				}
			}
			writing.Wait()
			evtest.AssertEqualBytes(t, want, got.Bytes())
			wait()
		})
	}
}

// Concurrent writes of several goroutines do not interleave.
func TestBlockingConnWritesStayWhole(t *testing.T) {
	evtest.OnBothTransports(t, func(t *testing.T) {
		a, b, wait := kit.BlockingPair(t, "tcp", evnet.NewLoop())
		const size = 300_000 // several pieces
		var writing sync.WaitGroup
		for i := range 4 {
			writing.Go(func() {
				_, err := a.Write(bytes.Repeat([]byte{byte(i)}, size))
				assert.NoError(t, err)
			})
		}
		for range 4 {
			got := make([]byte, size)
			_, err := io.ReadFull(b, got)
			assert.NoError(t, err)
			assert.Equal(t, size, bytes.Count(got, got[:1]))
		}
		writing.Wait()
		assert.NoError(t, a.Close())
		assert.NoError(t, b.Close())
		wait()
	})
}

// The kernel sends a file if it can; other sources are copied in pieces. io.Copy finds ReadFrom.
func TestBlockingConnReadFrom(t *testing.T) {
	want := evtest.RandomBytes(4 * evtest.Megabyte)
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, want, 0o600))
	evtest.OnBothTransports(t, func(t *testing.T) {
		for kind := range evtest.ConnKinds {
			t.Run(kind, func(t *testing.T) {
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
				before := evnet.Spliced()
				var writing sync.WaitGroup
				writing.Go(func() {
					file, err := os.Open(name)
					assert.NoError(t, err)
					defer file.Close()
					_, err = io.WriteString(a, "head")
					assert.NoError(t, err)
					n, err := io.Copy(a, file)
					assert.NoError(t, err)
					assert.Equal(t, int64(len(want)), n)
					_, err = file.Seek(0, io.SeekStart)
					assert.NoError(t, err)
					n, err = io.CopyN(a, file, 1000)
					assert.NoError(t, err)
					assert.Equal(t, int64(1000), n)
					n, err = a.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte("tail")))
					assert.NoError(t, err)
					assert.Equal(t, int64(4), n)
					assert.NoError(t, a.Close())
				})
				got, err := io.ReadAll(b)
				assert.NoError(t, err)
				evtest.AssertEqualBytes(t, bytes.Join([][]byte{[]byte("head"), want, want[:1000], []byte("tail")}, nil), got)
				writing.Wait()
				assert.NoError(t, b.Close())
				wait()
				byKernel := evtest.OnLinux && netpoll.Enabled && (kind == "tcp" || kind == "unix")
				assert.Equal(t, byKernel, evnet.Spliced()-before > evtest.Megabyte)
			})
		}
	})
	l := evnet.NewLoop()
	s, _ := kit.WrapPipe(l, evnet.SocketOptions{})
	a := kit.BlockingConn(t, s)
	_, err := a.(io.ReaderFrom).ReadFrom(nil)
	kit.BadInput{Err: err, Is: []error{evnet.ErrNilArgument}, Code: "ERR_INVALID_ARG_TYPE"}.Check(t)
	wait := kit.RunInBackground(t, l)
	_, err = a.(io.ReaderFrom).ReadFrom(io.MultiReader(bytes.NewReader([]byte("x")), broken{}))
	assert.Equal(t, evtest.Boom("read"), err)
	assert.ErrorIs(t, s.On.Data(func([]byte) {}).Err(), evnet.ErrConsumed)
	s.Destroy(nil)
	wait()
	assert.NoError(t, s.On.Data(func([]byte) {}).Err(), "the next connection has no view yet")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, evtest.Boom("read") }

// Sending a file that the peer does not read ends at the deadline, even if the kernel sends it.
func TestBlockingConnReadFromDeadline(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(name)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Truncate(1<<30))
	evtest.OnBothTransports(t, func(t *testing.T) {
		for _, kind := range []string{"tcp", "pipe"} {
			t.Run(kind, func(t *testing.T) {
				_, err := file.Seek(0, io.SeekStart)
				require.NoError(t, err)
				a, b, wait := kit.BlockingPair(t, kind, evnet.NewLoop())
				assert.NoError(t, a.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
				n, err := io.Copy(a, file)
				assert.Less(t, n, int64(1<<30))
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
				assert.NoError(t, a.Close())
				assert.NoError(t, b.Close())
				wait()
			})
		}
	})
}
