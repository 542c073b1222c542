package netpoll_test

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"evnet/internal/netpoll"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds what should take moments: only a hang takes longer.
const patience = 30 * time.Second

// bounded fails with every stack when the test hangs.
func bounded(t testing.TB) {
	hung := time.AfterFunc(patience, func() { panic(t.Name() + " hangs") })
	t.Cleanup(func() { hung.Stop() })
}

func newPoller(t testing.TB) *netpoll.Poller {
	bounded(t)
	p, err := netpoll.New()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// pair is two connected stream sockets.
func pair(t testing.TB) (here, there *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return conns[0], conns[1]
}

func raw(t testing.TB, c *net.UnixConn) syscall.RawConn {
	r, err := c.SyscallConn()
	require.NoError(t, err)
	return r
}

// waitFor waits until there are events, and returns the first.
func waitFor(p *netpoll.Poller) (slot int, what netpoll.Events) {
	for p.Wait() == 0 {
	}
	return p.Event(0)
}

func TestPollAndWait(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	assert.Zero(t, p.Poll())
	require.NoError(t, c.Watch(raw(t, here), p, false, 7, netpoll.Readable))
	assert.Zero(t, p.Poll(), "nothing has come")
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	for range 2 { // as long as it is there
		require.Equal(t, 1, p.Poll())
		slot, what := p.Event(0)
		assert.Equal(t, 7, slot)
		assert.Equal(t, netpoll.Readable, what)
		require.Equal(t, 1, p.Wait())
	}
	n, _, err := c.Read(raw(t, here), make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Zero(t, p.Poll(), "it was read")

	go func() { _, _ = there.Write([]byte("y")) }()
	slot, what := waitFor(p)
	assert.Equal(t, 7, slot)
	assert.Equal(t, netpoll.Readable, what)
	assert.NoError(t, there.Close())
	require.Equal(t, 1, p.Poll())
	_, what = p.Event(0)
	assert.NotZero(t, what&netpoll.Hungup)
}

func TestWakeBefore(t *testing.T) {
	p := newPoller(t)
	for range 100 {
		p.Wake()
		assert.Zero(t, p.Wait(), "it returns though nothing is there")
	}
}

// A Wake during Wait, and one close to its beginning or its end, brings it back each time.
func TestWakeDuring(t *testing.T) {
	p := newPoller(t)
	const rounds = 5000
	waiting, returned := make(chan struct{}), make(chan struct{})
	go func() {
		for range rounds {
			waiting <- struct{}{}
			p.Wait()
			returned <- struct{}{}
		}
	}()
	for i := range rounds {
		<-waiting
		for range i % 5 {
			runtime.Gosched()
		}
		p.Wake()
		select {
		case <-returned:
		case <-time.After(patience):
			t.Fatal("a wake was lost")
		}
	}
}

// notes are what those who wake have left.
type notes struct {
	mu   sync.Mutex
	left int
}

// However many goroutines wake at once, none of what they have left is overlooked, and no event.
func TestWakeBurst(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	require.NoError(t, c.Watch(raw(t, here), p, false, 1, netpoll.Readable))
	const goroutines, each = 8, 2000
	var left notes
	var busy sync.WaitGroup
	for range goroutines {
		busy.Go(func() {
			for i := range each {
				left.mu.Lock()
				left.left++
				left.mu.Unlock()
				p.Wake()
				if i%100 == 0 {
					_, _ = there.Write([]byte("x"))
				}
			}
		})
	}
	got, bytes := 0, 0
	buf := make([]byte, 1000)
	for got < goroutines*each || bytes < goroutines*each/100 {
		if p.Wait() > 0 {
			n, _, err := c.Read(raw(t, here), buf)
			require.NoError(t, err)
			bytes += n
		}
		left.mu.Lock()
		got += left.left
		left.left = 0
		left.mu.Unlock()
	}
	busy.Wait()
	quiet(t, p)
}

// quiet fails when Wait goes on returning for nothing: one wake that is left, and a deadline that was
// set for it, are all there may be.
func quiet(t testing.TB, p *netpoll.Poller) {
	t.Helper()
	in := make(chan struct{})
	idle := 0
	go func() {
		defer close(in)
		for p.Wait() == 0 {
			idle++
		}
	}()
	here, there := pair(t)
	require.NoError(t, netpoll.NewCall().Watch(raw(t, here), p, false, 2, netpoll.Readable))
	for range 100 { // time for a loop that is busy
		runtime.Gosched()
	}
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	<-in
	assert.LessOrEqual(t, idle, 3)
	netpoll.NewCall().Unwatch(raw(t, here), p)
}

// A Wake that comes together with an event may cost one Wait that returns for nothing, and no more: that may come
// later, when the next Waits have found their events without parking.
func TestWakeRacesWithEvent(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	require.NoError(t, c.Watch(raw(t, here), p, false, 1, netpoll.Readable))
	buf := make([]byte, 10)
	idle := 0
	for wakes := range 3000 {
		var both sync.WaitGroup
		both.Go(func() { _, _ = there.Write([]byte("x")) })
		both.Go(p.Wake)
		for before := idle; p.Wait() == 0; {
			idle++
			require.LessOrEqual(t, idle, wakes+1)
			require.LessOrEqual(t, idle, before+3) // a wake that is left, a deadline, and the new wake
		}
		n, _, err := c.Read(raw(t, here), buf)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		both.Wait()
	}
	quiet(t, p)
}

func TestWatch(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	r := raw(t, here)
	require.NoError(t, c.Watch(r, p, false, 1, netpoll.Writable))
	require.Equal(t, 1, p.Poll())
	_, what := p.Event(0)
	assert.Equal(t, netpoll.Writable, what)
	require.NoError(t, c.Watch(r, p, true, 2, netpoll.Readable))
	assert.Zero(t, p.Poll())
	assert.ErrorIs(t, c.Watch(r, p, false, 3, netpoll.Readable), syscall.EEXIST)
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, 1, p.Poll())
	slot, _ := p.Event(0)
	assert.Equal(t, 2, slot)
	require.NoError(t, c.Watch(r, p, true, 2, 0))
	assert.Zero(t, p.Poll(), "watched for nothing")
	require.NoError(t, there.Close())
	require.Equal(t, 1, p.Poll(), "but that is told always")
	_, what = p.Event(0)
	assert.NotZero(t, what&netpoll.Hungup)
	c.Unwatch(r, p)
	assert.Zero(t, p.Poll())
	assert.ErrorIs(t, c.Watch(r, p, true, 2, netpoll.Readable), syscall.ENOENT)
	require.NoError(t, c.Watch(r, p, false, 4, netpoll.Readable), "it may come back")
	assert.Equal(t, 1, p.Poll())
}

// Unwatch also ends the events of a descriptor that somebody else holds too.
func TestUnwatch_Duplicate(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	require.NoError(t, c.Watch(raw(t, here), p, false, 1, netpoll.Readable))
	dup, err := here.File()
	require.NoError(t, err)
	defer dup.Close()
	_, err = there.Write([]byte("x"))
	require.NoError(t, err)
	assert.Equal(t, 1, p.Poll())
	c.Unwatch(raw(t, here), p)
	require.NoError(t, here.Close())
	assert.Zero(t, p.Poll())
}

func TestManyEvents(t *testing.T) {
	p := newPoller(t)
	c := netpoll.NewCall()
	const many = 300 // more than one call brings
	for i := range many {
		here, _ := pair(t)
		require.NoError(t, c.Watch(raw(t, here), p, false, i, netpoll.Writable))
	}
	seen := map[int]bool{}
	for range 3 { // each gets its turn
		for i := range p.Poll() {
			slot, _ := p.Event(i)
			seen[slot] = true
		}
	}
	assert.Len(t, seen, many)
}

// descriptors is how many epoll descriptors the process holds besides that of Go itself.
func descriptors(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, "eventpoll") {
			n++
		}
	}
	return n
}

func TestNewAndClose(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		p, err := netpoll.New()
		require.NoError(t, err)
		assert.Equal(t, before+1, descriptors(t))
		p.Wake()
		p.Close()
	}
	assert.Equal(t, before, descriptors(t))
}

func TestNewFails(t *testing.T) {
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	lowest := 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= lowest {
			lowest = n + 1
		}
	}
	var held []int // what is free below
	for {
		fd, err := syscall.Dup(0)
		require.NoError(t, err)
		held = append(held, fd)
		if fd >= lowest {
			break
		}
	}
	low := limit
	low.Cur = uint64(held[len(held)-1] + 1)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	_, err = netpoll.New()
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	for _, fd := range held {
		require.NoError(t, syscall.Close(fd))
	}
	assert.ErrorIs(t, err, syscall.EMFILE)
}
