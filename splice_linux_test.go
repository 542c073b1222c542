package evnet_test

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"evnet"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exhaust leaves no descriptor free until the function it returns is called.
func exhaust(t testing.TB) (release func()) {
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	few := old
	few.Cur = uint64(descriptors() + 64)
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

// Without a descriptor left the bytes are copied, streams and files.
func TestSpliceWithoutDescriptors(t *testing.T) {
	const size = 4 * megabyte
	want := random(size)
	l := evnet.NewLoop()
	b := newBetween(t, l, l, connKinds["tcp"])
	here, there := tcpConns(t)
	f := fileOf(t, want)
	s := evnet.Wrap(here, &evnet.SocketOptions{Loop: l})
	s.Resume()
	before := evnet.Spliced()
	var release func()
	var work sync.WaitGroup
	l.Post(func() { // the loop has what it needs by now
		release = exhaust(t)
		evnet.Relay(b.src, b.dst, nil)
		work.Go(func() { b.feed(t, want) })
		aside(l, func() {
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
		_ = closeWrite(b.out)
	})
	work.Go(func() {
		file, _ = io.ReadAll(there)
		both.Done()
		both.Wait()
		_ = there.Close()
	})
	run(t, l)
	release()
	work.Wait()
	equalBytes(t, want, stream)
	equalBytes(t, want, file)
	if evnet.Splices {
		assert.EqualValues(t, before+size, evnet.Spliced(), "a file needs none")
	}
}

// Many destinations that are stuck hold only so many descriptors, and lose nothing: what is beyond is
// copied.
func TestSpliceManyStuck(t *testing.T) {
	const pairs, size = 150, 1 << 20 // more than a loop lends pipes
	want := random(size)
	l := evnet.NewLoop()
	fds := descriptors()
	var all []*between
	var work sync.WaitGroup
	begin := make(chan struct{})
	for range pairs {
		b := newBetween(t, l, l, connKinds["unix"])
		all = append(all, b)
		evnet.Relay(b.src, b.dst, nil)
		work.Go(func() { b.feed(t, want) })
		work.Go(func() {
			<-begin
			got, err := io.ReadAll(b.out)
			assert.NoError(t, err)
			equalBytes(t, want, got)
			_ = closeWrite(b.out)
		})
	}
	most := 0
	var look func()
	look = func() {
		most = max(most, descriptors())
		for _, b := range all {
			if !b.stuck() {
				l.AfterFunc(0, look)
				return
			}
		}
		close(begin)
	}
	look()
	run(t, l)
	work.Wait()
	assert.LessOrEqual(t, most, fds+4*pairs+2*128+16)
	for _, b := range all {
		_, _ = b.in.Close(), b.out.Close()
	}
	assert.LessOrEqual(t, descriptors(), fds)
}

// splice stops before an urgent byte as if nothing had come, though the socket stays readable: reading
// goes past it.
func TestSpliceUrgent(t *testing.T) {
	l := evnet.NewLoop()
	b := newBetween(t, l, l, connKinds["tcp"])
	before := evnet.Spliced()
	part := random(4 * megabyte)
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
		equalBytes(t, append(part[:len(part):len(part)], part...), got)
		_ = closeWrite(b.out)
	})
	run(t, l)
	work.Wait()
	spliced(t, before, true)
}
