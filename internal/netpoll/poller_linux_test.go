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
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is the limit of a wait that takes milliseconds. Only a hang takes longer.
const patience = 30 * time.Second

// bounded prints all stacks and ends the program if the test hangs.
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

// pair returns two connected Unix stream sockets.
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
	assert.Zero(t, p.Poll(), "no data was written")
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	for range 2 { // level-triggered
		require.Equal(t, 1, p.Poll())
		slot, what := p.Event(0)
		assert.Equal(t, 7, slot)
		assert.Equal(t, netpoll.Readable, what)
		require.Equal(t, 1, p.Wait())
	}
	n, _, err := c.Read(raw(t, here), make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Zero(t, p.Poll(), "the data was read")

	go func() { _, _ = there.Write([]byte("y")) }()
	slot, what := waitFor(p)
	assert.Equal(t, 7, slot)
	assert.Equal(t, netpoll.Readable, what)
	assert.NoError(t, there.Close())
	require.Equal(t, 1, p.Poll())
	_, what = p.Event(0)
	assert.NotZero(t, what&netpoll.Hungup)
}

func TestWait_ReturnsAfterWake(t *testing.T) {
	p := newPoller(t)
	for range 100 {
		p.Wake()
		assert.Zero(t, p.Wait(), "no event")
	}
}

// Wait returns for a Wake that is made during it, or close to its beginning or its end.
func TestWait_ReturnsOnConcurrentWake(t *testing.T) {
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
			t.Fatal("a Wake was lost")
		}
	}
}

// work counts what the goroutines that call Wake have added.
type work struct {
	mu sync.Mutex
	n  int
}

// If many goroutines call Wake at the same time, Wait misses neither their work nor an event.
func TestWake_ManyGoroutines(t *testing.T) {
	p := newPoller(t)
	here, there := pair(t)
	c := netpoll.NewCall()
	require.NoError(t, c.Watch(raw(t, here), p, false, 1, netpoll.Readable))
	const goroutines, each = 8, 2000
	var pending work
	var busy sync.WaitGroup
	for range goroutines {
		busy.Go(func() {
			for i := range each {
				pending.mu.Lock()
				pending.n++
				pending.mu.Unlock()
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
		pending.mu.Lock()
		got += pending.n
		pending.n = 0
		pending.mu.Unlock()
	}
	busy.Wait()
	settles(t, p)
}

// settles fails if Wait continues to return spuriously. A pending Wake, and the deadline that it has set, may cost one
// spurious return each.
func settles(t testing.TB, p *netpoll.Poller) {
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
	for range 100 { // time to go wrong
		runtime.Gosched()
	}
	_, err := there.Write([]byte("x"))
	require.NoError(t, err)
	<-in
	assert.LessOrEqual(t, idle, 3)
	netpoll.NewCall().Unwatch(raw(t, here), p)
}

// A Wake at the same time as an event causes at most one spurious return of Wait, perhaps later, if the next Waits find
// their events without parking.
func TestWake_WithEvent(t *testing.T) {
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
			require.LessOrEqual(t, idle, before+3) // a pending Wake, a deadline, and the new Wake
		}
		n, _, err := c.Read(raw(t, here), buf)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		both.Wait()
	}
	settles(t, p)
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
	assert.Zero(t, p.Poll(), "watched for no event")
	require.NoError(t, there.Close())
	require.Equal(t, 1, p.Poll(), "always reported")
	_, what = p.Event(0)
	assert.NotZero(t, what&netpoll.Hungup)
	c.Unwatch(r, p)
	assert.Zero(t, p.Poll())
	assert.ErrorIs(t, c.Watch(r, p, true, 2, netpoll.Readable), syscall.ENOENT)
	require.NoError(t, c.Watch(r, p, false, 4, netpoll.Readable), "registered again")
	assert.Equal(t, 1, p.Poll())
}

// Unwatch ends the events of a descriptor even if a duplicate of it is open.
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
	const many = 300 // more than one call returns
	for i := range many {
		here, _ := pair(t)
		require.NoError(t, c.Watch(raw(t, here), p, false, i, netpoll.Writable))
	}
	seen := map[int]bool{}
	for range 3 { // no descriptor starves
		for i := range p.Poll() {
			slot, _ := p.Event(i)
			seen[slot] = true
		}
	}
	assert.Len(t, seen, many)
}

// descriptors returns the number of epoll descriptors of the process.
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
	var held []int // the free descriptors below it
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
