package eventloop

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"evnet/internal/netpoll"
	"evnet/internal/race"
)

// fakeSource is one end of a pair of sockets. It is removed, and closed, by done.
type fakeSource struct {
	l        *Loop
	member   Member
	r, w     *os.File
	raw      syscall.RawConn
	received int
	onReady  func(s *fakeSource, ev Events)
}

func newSource(t testing.TB, l *Loop, onReady func(s *fakeSource, ev Events)) *fakeSource {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	raw, err := r.SyscallConn()
	require.NoError(t, err)
	s := &fakeSource{l: l, r: r, w: w, raw: raw, onReady: onReady}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	require.True(t, l.Add(s, &s.member, true))
	require.True(t, l.JoinPoll())
	require.NoError(t, l.Watch(raw, &s.member, false, netpoll.Readable))
	return s
}

func (s *fakeSource) Halt() { s.done() }

func (s *fakeSource) Ready(ev Events) {
	s.received++
	if s.onReady != nil {
		s.onReady(s, ev)
	}
}

// read empties the socket.
func (s *fakeSource) read() {
	c := s.l.AcquireCall()
	defer s.l.ReleaseCall(c)
	_, _, _ = c.Read(s.raw, s.l.ReadBuffer())
}

func (s *fakeSource) write(t testing.TB) {
	_, err := s.w.Write([]byte("x"))
	require.NoError(t, err)
}

func (s *fakeSource) done() {
	s.l.Unwatch(s.raw)
	s.l.LeavePoll()
	s.l.Remove(&s.member)
	_ = s.r.Close()
}

func TestTurn_ReadySourcesBeforeEvents(t *testing.T) {
	l, got := newLoop(), journal{}
	ready := func(name string) func(*fakeSource, Events) {
		return func(s *fakeSource, _ Events) {
			assert.Equal(t, 2, l.Ready())
			l.ParkSoon()
			got.note(name)()
			l.Post(got.note(name + "-posted"))
			s.done()
		}
	}
	a, b := newSource(t, l, ready("a")), newSource(t, l, ready("b"))
	a.write(t)
	b.write(t)
	l.Event(got.note("event"))
	l.Run()
	assert.Equal(t, "a a-posted b b-posted event", got.String())
}

func TestTurn_ReadySourceWaitsForMaxPostedAtMost(t *testing.T) {
	l, ran := newLoop(), 0
	s := newSource(t, l, nil)
	s.write(t)
	var again func()
	again = func() {
		if ran++; s.received == 0 {
			l.Post(again)
		}
	}
	s.onReady = func(s *fakeSource, _ Events) { s.done() }
	l.Post(again)
	l.Run()
	assert.Equal(t, 1, s.received)
	assert.Equal(t, maxPosted+1, ran)
}

// A source that is removed in a turn gets no more events of that turn. Neither does a handle that reuses its slot.
func TestSource_SlotOfAnotherHandle(t *testing.T) {
	l := newLoop()
	h := &fakeHandle{l: l}
	first := newSource(t, l, nil)
	second := newSource(t, l, nil)
	first.write(t)
	slot := first.member.Slot()
	// The loop does this while another goroutine runs the code below.
	n := l.poll.set.Wait()
	require.Equal(t, 1, n)
	first.done()
	require.True(t, h.add(true))
	require.Equal(t, slot, h.member.Slot())
	l.mu.Lock()
	l.fillLocked(n)
	l.mu.Unlock()
	assert.False(t, l.poll.any())
	l.Remove(&h.member)
	second.done()
	l.Run()
}

func TestSource_WakesALoopThatWaits(t *testing.T) {
	l := newLoop()
	s := newSource(t, l, func(s *fakeSource, ev Events) {
		assert.Equal(t, netpoll.Readable, ev)
		s.done()
	})
	l.Event(func() { go s.write(t) })
	l.Run()
	assert.Equal(t, 1, s.received)
	assert.Nil(t, l.poll.set, "no source needs the epoll set")
	assert.Nil(t, l.poll.buf)
}

// A loop that waits on its channel switches to the epoll set when a source joins.
func TestSource_JoinsALoopThatWaits(t *testing.T) {
	l := newLoop()
	l.Ref()
	go func() {
		for asleep := false; !asleep; {
			l.mu.Lock()
			asleep = l.asleep == onChannel
			l.mu.Unlock()
		}
		s := newSource(t, l, func(s *fakeSource, _ Events) { s.done() })
		s.write(t)
		l.Unref()
	}()
	l.Run()
}

func TestSource_PostWakesALoopThatWaits(t *testing.T) {
	l := newLoop()
	s := newSource(t, l, nil)
	go func() {
		for asleep := false; !asleep; {
			l.mu.Lock()
			asleep = l.asleep == onPoll
			l.mu.Unlock()
		}
		l.Post(s.done)
	}()
	l.Run()
	assert.Zero(t, s.received)
}

// A descriptor that is closed directly, without its owner, stays in the epoll set while a copy of it is open.
func TestSource_EventsWithoutASourcePauseTheLoop(t *testing.T) {
	l := newLoop()
	kept, lost := newSource(t, l, nil), newSource(t, l, nil)
	copied, err := syscall.Dup(int(lost.r.Fd()))
	require.NoError(t, err)
	lost.write(t)
	require.NoError(t, lost.r.Close())
	l.LeavePoll()
	l.Remove(&lost.member)
	began, turns := time.Now(), uint32(0)
	var timer *Timer
	timer = l.AfterFunc(0, func() {
		if l.poll.stray < maxStray+50 {
			timer.Reset(backOffTime)
			return
		}
		turns = l.Turn()
		kept.done()
	})
	l.Run()
	require.NoError(t, syscall.Close(copied))
	assert.Zero(t, lost.received)
	most := time.Since(began) / backOffTime // pauses, and expiries of the timer
	assert.LessOrEqual(t, time.Duration(turns), 2*maxStray+4*most)
}

func TestRun_AfterAPanicServesTheRestOfTheSources(t *testing.T) {
	l := newLoop()
	boom := func(s *fakeSource, _ Events) { s.read(); panic("boom") }
	a, b := newSource(t, l, boom), newSource(t, l, boom)
	a.write(t)
	b.write(t)
	for range 2 {
		assert.PanicsWithValue(t, "boom", func() { l.Run() })
	}
	assert.Equal(t, []int{1, 1}, []int{a.received, b.received})
	a.done()
	b.done()
	l.Run()
}

func TestRunObserved_SeesEverySource(t *testing.T) {
	l := newLoop()
	s := newSource(t, l, func(s *fakeSource, _ Events) { s.done() })
	s.write(t)
	var seen []Source
	assert.True(t, l.RunObserved(func(s Source) { seen = append(seen, s) }))
	assert.Equal(t, []Source{s}, seen)
}

func TestNotify_DoesNotNeedADescriptor(t *testing.T) {
	l := newLoop()
	var got []Events
	s := newSource(t, l, func(s *fakeSource, ev Events) { got = append(got, ev) })
	l.Event(func() {
		l.Notify(s, 1)
		l.Event(s.done)
		l.PostReady(s, 2)
	})
	l.Run()
	assert.Equal(t, []Events{2, 1}, got)
}

func TestCall_OfTheLoopIsUsedOnTheLoop(t *testing.T) {
	l := newLoop()
	l.Event(func() {
		c := l.AcquireCall()
		l.ReleaseCall(c)
		assert.Same(t, c, l.AcquireCall())
	})
	l.Run()
	assert.Nil(t, l.poll.call)
}

// Serving a ready source does not allocate.
func TestSource_DoesNotAllocate(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	l, left := newLoop(), 1100
	var before, after runtime.MemStats
	s := newSource(t, l, func(s *fakeSource, _ Events) {
		s.read()
		l.SetOwner(noOwner)
		l.FlushLater(flusher{})
		switch left--; left {
		case 1000:
			runtime.ReadMemStats(&before)
		case 0:
			runtime.ReadMemStats(&after)
			s.done()
			return
		}
		s.write(t)
	})
	s.write(t)
	l.Run()
	assert.Less(t, after.Mallocs-before.Mallocs, uint64(100), "in 1000 rounds")
}

// noOwner is converted to an interface once.
var noOwner Owner = fakeOwner{}

type flusher struct{}

func (flusher) Flush() {}
