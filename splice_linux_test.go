package evnet_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"evnet"
	"evnet/conformance/kit"
	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exhaust uses up all descriptors until release is called.
func exhaust(t testing.TB) (release func()) {
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	few := old
	few.Cur = uint64(evtest.Descriptors() + 64)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
	var taken []int
	for {
		fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			assert.Equal(t, syscall.EMFILE, err)
			break
		}
		taken = append(taken, fd)
	}
	return sync.OnceFunc(func() {
		for _, fd := range taken {
			_ = syscall.Close(fd)
		}
		assert.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old))
	})
}

// If no descriptor is free, streams and files are copied.
func TestSpliceWithoutDescriptors(t *testing.T) {
	const size = 4 * evtest.Megabyte
	want := evtest.RandomBytes(size)
	l := evnet.NewLoop()
	b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
	here, there := evtest.TCPPair(t)
	f := evtest.FileOf(t, want)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Resume()
	before := evnet.Spliced()
	var release func()
	var work sync.WaitGroup
	l.Post(func() { // the loop has its own descriptors by now
		release = exhaust(t)
		evnet.Relay(b.src, b.dst, nil)
		work.Go(func() { b.feed(t, want) })
		kit.Aside(l, func() {
			_, err := s.ReadFrom(f)
			assert.NoError(t, err)
			s.End()
		})
	})
	var stream, file []byte
	var both sync.WaitGroup // before a descriptor becomes free
	both.Add(2)
	work.Go(func() {
		stream, _ = io.ReadAll(b.out)
		both.Done()
		both.Wait()
		_ = evtest.CloseWrite(b.out)
	})
	work.Go(func() {
		file, _ = io.ReadAll(there)
		both.Done()
		both.Wait()
		_ = there.Close()
	})
	kit.Run(t, l)
	release()
	work.Wait()
	evtest.AssertEqualBytes(t, want, stream)
	evtest.AssertEqualBytes(t, want, file)
	if evnet.Splices {
		assert.EqualValues(t, before+size, evnet.Spliced(), "a file needs no descriptor")
	}
}

// Many stalled destinations use few descriptors and lose nothing: the bytes that kernel pipes cannot hold are
// copied. Another stream, whose destination reads, is still spliced meanwhile.
func TestSpliceManyStuck(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprint(loops, " loops"), func(t *testing.T) { manyStuck(t, loops) })
	}
}

func manyStuck(t *testing.T, loops int) {
	const pairs, size = 40, 1 << 20 // more pairs than a loop has tubes
	want := evtest.RandomBytes(size)
	la := evnet.NewLoop()
	lb := la
	if loops == 2 {
		lb = evnet.NewLoop()
	}
	fds := evtest.Descriptors()
	var all []*between
	var work sync.WaitGroup
	join := func(begin <-chan struct{}) *between {
		b := newBetween(t, la, lb, evtest.ConnKinds["unix"])
		all = append(all, b)
		evnet.Relay(b.src, b.dst, nil)
		work.Go(func() { b.feed(t, want) })
		work.Go(func() {
			<-begin
			got, err := io.ReadAll(b.out)
			assert.NoError(t, err)
			evtest.AssertEqualBytes(t, want, got)
			_ = evtest.CloseWrite(b.out)
		})
		return b
	}
	begin := make(chan struct{})
	for range pairs {
		join(begin)
	}
	stuck := func() bool {
		for _, b := range all[:pairs] {
			if !b.stuck() {
				return false
			}
		}
		return true
	}
	most, before := 0, int64(0)
	var reader *between
	var look func()
	look = func() {
		most = max(most, evtest.Descriptors())
		switch {
		case !stuck():
		case reader == nil:
			before = evnet.Spliced()
			at := make(chan struct{})
			close(at)
			reader = join(at)
		case reader.dst.WritableFinished():
			spliced(t, before, true)
			close(begin)
			return
		}
		la.AfterFunc(0, look)
	}
	look()
	if loops == 2 {
		work.Go(func() { kit.Run(t, lb) })
	}
	kit.Run(t, la)
	work.Wait()
	const own = 2 // the epoll descriptors of each loop
	assert.LessOrEqual(t, most, fds+4*(pairs+1)+2*evnet.MaxTubes*loops+own, "two each of the sockets and peers, and of the tubes")
	for _, b := range all {
		_, _ = b.in.Close(), b.out.Close()
	}
	assert.LessOrEqual(t, evtest.Descriptors(), fds)
}

// splice stops before an urgent byte with EAGAIN, though the socket stays readable. A read gets past the
// byte.
func TestSpliceUrgent(t *testing.T) {
	l := evnet.NewLoop()
	b := newBetween(t, l, l, evtest.ConnKinds["tcp"])
	before := evnet.Spliced()
	part := evtest.RandomBytes(4 * evtest.Megabyte)
	evnet.Relay(b.src, b.dst, nil)
	var work sync.WaitGroup
	work.Go(func() {
		_, err := b.in.Write(part)
		assert.NoError(t, err)
		raw, err := b.in.(*net.TCPConn).SyscallConn()
		assert.NoError(t, err)
		assert.NoError(t, raw.Control(func(fd uintptr) {
			assert.NoError(t, syscall.Sendto(int(fd), []byte("u"), syscall.MSG_OOB, nil))
		}))
		b.feed(t, part)
	})
	work.Go(func() {
		got, err := io.ReadAll(b.out)
		assert.NoError(t, err)
		evtest.AssertEqualBytes(t, append(part[:len(part):len(part)], part...), got)
		_ = evtest.CloseWrite(b.out)
	})
	kit.Run(t, l)
	work.Wait()
	spliced(t, before, true)
}
