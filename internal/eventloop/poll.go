package eventloop

import (
	"sync"
	"syscall"

	"evnet/internal/netpoll"
)

const (
	maxStray = 100      // rounds without a source; a few are normal, from handles that were removed in the last turn
	maxRead  = 64 << 10 // the size of ReadBuffer
)

// pollState is the part of a loop that serves descriptors. It has one epoll set and one buffer.
type pollState struct {
	// Guarded by the loop's mu.
	set   *netpoll.Poller // nil until it is needed, and while the loop is not running and no source needs it
	users int             // sources that may still use set

	// Used by the runner only.
	batch []task
	at    int // the first event of batch that was not served
	stray int // consecutive rounds with events, none of which has a source
	buf   []byte
	call  *netpoll.Call
}

// any reports whether ready sources are waiting.
func (p *pollState) any() bool { return p.at < len(p.batch) }

// pop takes the next ready source, if there is one.
func (p *pollState) pop() task {
	if p.at == len(p.batch) {
		return task{}
	}
	next := &p.batch[p.at]
	p.at++
	t := *next
	next.source = nil
	return t
}

// inUse returns the epoll set, nil if no source needs it.
func (p *pollState) inUse() *netpoll.Poller {
	if p.users == 0 {
		return nil
	}
	return p.set
}

// fillLocked takes n events from the epoll set after all earlier events have been served. A slot may belong to another
// handle by now, for which the event is spurious.
func (l *Loop) fillLocked(n int) {
	p := &l.poll
	p.batch, p.at = p.batch[:0], 0
	for i := range n {
		slot, ev := p.set.Event(i)
		if s, ok := l.handles.at(slot).(Source); ok {
			p.batch = append(p.batch, task{s, ev})
		}
	}
}

// strayLocked takes the n events that a wait has found. It reports whether the loop should pause because events without a
// source persist. Such events occur if a conn is closed directly, without its owner, while a copy of its descriptor is
// open. That descriptor can no longer be removed from the epoll set.
func (l *Loop) strayLocked(n int) bool {
	p := &l.poll
	l.fillLocked(n)
	if n == 0 || p.any() {
		p.stray = 0
		return false
	}
	p.stray++
	return p.stray > maxStray
}

// JoinPoll registers a source that uses Watch, until LeavePoll. It returns false if there is no epoll.
func (l *Loop) JoinPoll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.poll
	if p.set == nil {
		set, err := netpoll.New()
		if err != nil {
			return false
		}
		p.set = set
		l.wakeLocked() // wait for the epoll set instead of the channel
	}
	p.users++
	return true
}

// LeavePoll undoes JoinPoll.
func (l *Loop) LeavePoll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poll.users--; !l.running {
		l.poll.closeLocked()
	}
}

// Watch makes the loop call Ready of the source with the membership m when one of the events occurs. isWatched reports
// that the source is already watched, for other events. If the kernel cannot register another descriptor, Watch returns
// an error. JoinPoll must precede it.
func (l *Loop) Watch(raw syscall.RawConn, m *Member, isWatched bool, ev Events) error {
	c := l.AcquireCall()
	defer l.ReleaseCall(c)
	return c.Watch(raw, l.poll.set, isWatched, m.Slot(), ev)
}

// Unwatch ends Watch. Closing the descriptor does so only if there is no copy of it.
func (l *Loop) Unwatch(raw syscall.RawConn) {
	c := l.AcquireCall()
	defer l.ReleaseCall(c)
	c.Unwatch(raw, l.poll.set)
}

// ParkSoon makes the next few waits park without spinning, because other goroutines have work, such as accepting. Call it
// on the loop only.
func (l *Loop) ParkSoon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poll.set != nil {
		l.poll.set.SkipSpins()
	}
}

// ReadBuffer returns the buffer that all sources of the loop read into, of 64 KiB. Call it on the loop only.
func (l *Loop) ReadBuffer() []byte {
	if l.poll.buf == nil {
		l.poll.buf = make([]byte, maxRead)
	}
	return l.poll.buf
}

// Ready returns the number of sources that the last poll of the loop found ready. Call it on the loop only.
func (l *Loop) Ready() int { return len(l.poll.batch) }

// callPool is for callers off the loop.
var callPool = sync.Pool{New: func() any { return netpoll.NewCall() }}

// AcquireCall returns a Call for system calls. The caller must pass it to ReleaseCall. On the loop, it is the loop's own.
func (l *Loop) AcquireCall() *netpoll.Call {
	if !l.OnLoop() {
		return callPool.Get().(*netpoll.Call)
	}
	return l.Call()
}

// Call returns the loop's own Call for system calls. Call it on the loop only.
func (l *Loop) Call() *netpoll.Call {
	if l.poll.call == nil {
		l.poll.call = netpoll.NewCall()
	}
	return l.poll.call
}

// ReleaseCall undoes AcquireCall.
func (l *Loop) ReleaseCall(c *netpoll.Call) {
	if !l.OnLoop() {
		callPool.Put(c)
	}
}

// releaseLocked releases the resources that a loop needs only while it runs.
func (p *pollState) releaseLocked() {
	clear(p.batch)
	p.batch, p.at, p.stray, p.buf, p.call = p.batch[:0], 0, 0, nil, nil
	p.closeLocked()
}

// closeLocked closes the epoll set if no source needs it.
func (p *pollState) closeLocked() {
	if p.set != nil && p.users == 0 {
		p.set.Close()
		p.set = nil
	}
}
