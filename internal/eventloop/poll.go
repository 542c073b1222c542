package eventloop

import (
	"sync"
	"syscall"

	"evnet/internal/netpoll"
)

const (
	maxStray = 100      // rounds without a source: a few are natural, of handles that were removed in the turn before
	maxRead  = 64 << 10 // the size of ReadBuffer
)

// pollState is the part of a loop that serves descriptors: one set, one buffer.
type pollState struct {
	// Guarded by the loop's mu.
	set   *netpoll.Poller // nil until it is needed, and when nobody runs the loop and nobody needs it
	users int             // sources that may still touch set

	// Of the runner alone.
	batch []task
	at    int // batch before it is done
	stray int // rounds in a row that had events, all of them without a source
	buf   []byte
	call  *netpoll.Call
}

// any reports whether there are ready sources to be served.
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

// inUse returns the set, nil if no source needs it.
func (p *pollState) inUse() *netpoll.Poller {
	if p.users == 0 {
		return nil
	}
	return p.set
}

// fillLocked takes n events from the set, once the last of those before has been served. A slot may have another
// handle by now, to which the event is spurious.
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

// strayLocked takes the n events that a wait has found. It reports whether the loop should pause: events without a
// source keep coming. They do for a conn that was closed behind its owner's back while a copy of its descriptor lives
// on: nobody can take that out of the set any more.
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

// JoinPoll announces a source that is going to use Watch, until LeavePoll. It reports false where there is no epoll.
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
		l.wakeLocked() // to wait for the set instead of the channel
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

// Watch makes the loop call Ready of the source that m is the membership of when one of the events happens. isWatched
// says that it is watched already, for other events. Without a place for another descriptor in the kernel it returns
// an error. JoinPoll precedes it.
func (l *Loop) Watch(raw syscall.RawConn, m *Member, isWatched bool, ev Events) error {
	c := l.AcquireCall()
	defer l.ReleaseCall(c)
	return c.Watch(raw, l.poll.set, isWatched, m.Slot(), ev)
}

// Unwatch ends Watch, which closing the descriptor does only when there is no copy of it.
func (l *Loop) Unwatch(raw syscall.RawConn) {
	c := l.AcquireCall()
	defer l.ReleaseCall(c)
	c.Unwatch(raw, l.poll.set)
}

// ParkSoon makes the loop wait without spinning the next few times: other goroutines have work, such as accepting. It
// belongs to the loop.
func (l *Loop) ParkSoon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poll.set != nil {
		l.poll.set.SkipSpins()
	}
}

// ReadBuffer returns the buffer that all sources of the loop read into, of 64 KiB. It belongs to the loop.
func (l *Loop) ReadBuffer() []byte {
	if l.poll.buf == nil {
		l.poll.buf = make([]byte, maxRead)
	}
	return l.poll.buf
}

// Ready returns the number of sources that were ready when the loop looked last. It belongs to the loop.
func (l *Loop) Ready() int { return len(l.poll.batch) }

// callPool is for callers off the loop.
var callPool = sync.Pool{New: func() any { return netpoll.NewCall() }}

// AcquireCall returns what makes system calls, to be passed to ReleaseCall: the loop's own for a caller on the loop.
func (l *Loop) AcquireCall() *netpoll.Call {
	if !l.OnLoop() {
		return callPool.Get().(*netpoll.Call)
	}
	return l.Call()
}

// Call returns what makes system calls on the loop. It belongs to the loop.
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

// releaseLocked gives up what a loop that nobody runs does not need.
func (p *pollState) releaseLocked() {
	clear(p.batch)
	p.batch, p.at, p.stray, p.buf, p.call = p.batch[:0], 0, 0, nil, nil
	p.closeLocked()
}

// closeLocked closes the set if no source needs it.
func (p *pollState) closeLocked() {
	if p.set != nil && p.users == 0 {
		p.set.Close()
		p.set = nil
	}
}
