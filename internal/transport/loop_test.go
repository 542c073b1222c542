package transport

import (
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"evnet/internal/eventloop"
	"evnet/internal/goid"
	"evnet/internal/netpoll"
)

// testLoop is a Loop that the test runs on its own goroutine, a step at a time.
type testLoop struct {
	self  uintptr
	pipes SplicePipes
	call  *netpoll.Call
	buf   []byte

	poller  *netpoll.Poller // nil until JoinPoll
	streams int             // streams that use the poller
	owners  []*testOwner    // by slot
	pipesOn bool            // streams may splice
	refuse  bool            // JoinPoll returns false

	mu      sync.Mutex
	posted  []readyCall
	events  []readyCall // run after the posted ones
	waiting chan struct{}
	running sync.WaitGroup
}

type readyCall struct {
	owner eventloop.Source
	what  netpoll.Events
}

// newLoop returns a loop that the goroutine of the test runs. When the test ends, all goroutines of its streams must have
// ended, and no stream may use the poller.
func newLoop(t testing.TB) *testLoop {
	l := &testLoop{self: goid.Self(), call: netpoll.NewCall(), buf: make([]byte, maxChunk), waiting: make(chan struct{}, 1)}
	l.pipes.SetRunning(true)
	t.Cleanup(func() {
		for _, o := range l.owners {
			o.retire(false)
		}
		l.running.Wait()
		l.pipes.SetRunning(false)
		require.Zero(t, l.streams, "streams that use the poller")
		if l.poller != nil {
			l.poller.Close()
		}
	})
	return l
}

func (l *testLoop) OnLoop() bool { return goid.Self() == l.self }
func (l *testLoop) Go(fn func()) { l.running.Go(fn) }

func (l *testLoop) Notify(o eventloop.Source, what netpoll.Events)    { l.add(&l.events, o, what) }
func (l *testLoop) PostReady(o eventloop.Source, what netpoll.Events) { l.add(&l.posted, o, what) }

func (l *testLoop) add(to *[]readyCall, o eventloop.Source, what netpoll.Events) {
	l.mu.Lock()
	*to = append(*to, readyCall{o, what})
	l.mu.Unlock()
	select {
	case l.waiting <- struct{}{}:
	default:
	}
}

func (l *testLoop) JoinPoll() bool {
	if l.refuse {
		return false
	}
	if l.poller == nil {
		var err error
		if l.poller, err = netpoll.New(); err != nil {
			return false
		}
	}
	l.streams++
	return true
}

func (l *testLoop) LeavePoll()          { l.streams-- }
func (l *testLoop) Call() *netpoll.Call { return l.call }
func (l *testLoop) ReadBuffer() []byte  { return l.buf }

func (l *testLoop) Watch(raw syscall.RawConn, m *eventloop.Member, isWatched bool, what netpoll.Events) error {
	slot := slices.IndexFunc(l.owners, func(o *testOwner) bool { return &o.member == m })
	return netpoll.NewCall().Watch(raw, l.poller, isWatched, slot, what)
}

func (l *testLoop) Unwatch(raw syscall.RawConn) { netpoll.NewCall().Unwatch(raw, l.poller) }

func (l *testLoop) AcquireCall() *netpoll.Call {
	if l.OnLoop() {
		return l.call
	}
	return netpoll.NewCall()
}

func (l *testLoop) ReleaseCall(*netpoll.Call) {}

// take returns the next call that was posted or notified.
func (l *testLoop) take() (next readyCall, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := &l.posted
	if len(*from) == 0 {
		from = &l.events
	}
	if len(*from) == 0 {
		return next, false
	}
	next = (*from)[0]
	*from = (*from)[1:]
	return next, true
}

// step makes the next call, if there is one.
func (l *testLoop) step() bool {
	if next, ok := l.take(); ok {
		next.owner.Ready(next.what)
		return true
	}
	if l.poller == nil {
		return false
	}
	n := l.poller.Poll()
	for i := range n {
		slot, what := l.poller.Event(i)
		l.owners[slot].Ready(what)
	}
	return n > 0
}

// drain makes all pending calls and the calls that they cause.
func (l *testLoop) drain() {
	for l.step() {
	}
}

// until runs the loop until the condition holds. It is checked after each call.
func (l *testLoop) until(t testing.TB, condition func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !condition() {
		if l.step() {
			continue
		}
		select {
		case <-l.waiting:
		case <-limit:
			require.FailNow(t, "the condition was not met")
		case <-time.After(time.Millisecond): // for the poller, or for a change by a goroutine
		}
	}
}
