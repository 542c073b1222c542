// Package netpoll waits for many sockets at once: a thin layer over epoll and system calls that
// do not block. It knows nothing of sockets' lives, and takes no locks but those of Go's own
// descriptors, through syscall.RawConn.
package netpoll

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Events is what a descriptor is watched for, or what has happened to it.
type Events uint32

// The events. Failed and Hungup are reported whatever is watched for.
const (
	Readable Events = syscall.EPOLLIN
	Writable Events = syscall.EPOLLOUT
	Failed   Events = syscall.EPOLLERR
	Hungup   Events = syscall.EPOLLHUP
	Once     Events = 1 << 31 // EPOLLET: tell what is there when it is asked for, and what comes then, but once
)

const (
	maxEvents = 256 // of one call

	// A lone connection's next message comes sooner than a parked goroutine, and a processor gone to
	// sleep with it, would be there to see it.
	maxSpin = 100 * time.Microsecond
	maxHits = 16 // spins in a row, before others that wait for Go's poller are given their turn
	maxVain = 8  // 2 to the power of this is how many waits go by before spin is tried again

	// A loop that has not parked for so long wakes the monitor. That costs about a millisecond: with 10 ms, echo over
	// 100 connections took 5 % more processor time, with 50 ms 1 %.
	maxHidden = 50 * time.Millisecond
	rareWake  = time.Second // so seldom the monitor is woken for a loop that has just parked
)

var start = time.Now()

// now is the monotonic clock, which is read in less than half the time of time.Now.
func now() time.Duration { return time.Since(start) }

// past is a deadline that has gone by.
var past = time.Unix(1, 0)

// What a Poller is doing, for Wake.
const (
	awake int32 = iota
	parked
	woken
)

// Poller is one readiness set. Poll, Wait and Event belong to one goroutine at a time; Wake may be
// called from any.
type Poller struct {
	fd     int
	file   *os.File        // the same, known to Go's own poller, which parks Wait
	raw    syscall.RawConn // of file
	look   func(fd uintptr) bool
	state  atomic.Int32
	n      int
	last   int           // events of the last time that there were any
	skip   int           // waits that are not to begin with spin
	hits   int           // times in a row that spin was not in vain
	vain   int           // times in a row that it was
	waited bool          // Wait was called since the last Look
	parked bool          // Wait has parked
	shown  time.Duration // when the loop has parked, or show has woken the monitor, last
	woke   time.Duration // when show has woken the monitor last
	events [maxEvents]syscall.EpollEvent
}

// New makes an empty set.
func New() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // what os.NewFile goes by
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		_ = p.file.Close()
		return nil, err // Go's poller does not take it
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.look = func(uintptr) bool {
		if p.Poll() > 0 {
			return true
		}
		p.parked = true
		return false
	}
	return p, nil
}

// Close gives the descriptor back. Nobody may be in another method.
func (p *Poller) Close() { _ = p.file.Close() }

// Poll reports, without waiting, for how many descriptors there are events.
func (p *Poller) Poll() int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), maxEvents, 0, 0, 0)
	if errno != 0 { // EINTR: there will be another call
		n = 0
	}
	if p.n = int(n); p.n > 0 {
		p.last = p.n
	}
	return p.n
}

// Look is Poll for a loop that goes on without a Wait: it keeps Go's scheduler awake.
func (p *Poller) Look() int {
	if p.waited { // which has read the clock where that was worth it
		p.waited = false
	} else {
		p.show(now())
	}
	return p.Poll()
}

// show wakes the monitor of Go's scheduler if the loop has been busy for long.
//
// The raw system calls of a loop tell the scheduler nothing. When every processor (P) was idle, the monitor thread
// (sysmon) sleeps, for up to a minute, until a goroutine announces a system call. The thread that had been
// waiting in Go's network poller is the one that now runs the loop. So while the loop is busy, nobody polls the
// network for other goroutines, nobody preempts the loop, and nobody runs timers. One announced system call
// wakes the monitor, which then polls the network and preempts the loop every 10 ms until all is idle again.
//
// runtime.Gosched is not enough: with GOMAXPROCS=1 it picks the loop again before it polls the network. A loop
// that parks needs nothing, since its thread then polls the network itself. Waking the monitor costs about a
// millisecond of processor time, since the monitor then looks every 20 us for a while: hence not every
// epoll_wait is announced.
func (p *Poller) show(now time.Duration) {
	if now-p.shown >= maxHidden {
		p.wakeMonitor(now)
	}
}

func (p *Poller) wakeMonitor(now time.Duration) {
	p.shown, p.woke = now, now
	_, _, _ = syscall.Syscall(syscall.SYS_GETTID, 0, 0, 0) // any call would do
}

// Event is the slot and what has happened, for the i-th of those that Poll or Wait has counted.
func (p *Poller) Event(i int) (slot int, what Events) {
	ev := &p.events[i]
	return int(ev.Fd), Events(ev.Events)
}

// Wait waits until there are events, and counts them, or until Wake; now and then it returns for
// nothing. The goroutine is parked, no thread is blocked: but where the last waits were short it looks
// again a few times first, for parking and being woken takes longer than such a wait.
func (p *Poller) Wait() int {
	p.n, p.waited, p.parked = 0, true, false
	if p.spin() {
		p.state.Store(awake)
		return p.n
	}
	var err error
	if p.state.CompareAndSwap(awake, parked) {
		began := now()
		p.show(began)
		err = p.raw.Read(p.look)
		ended := now()
		if ended-began < maxSpin && p.vain > 0 {
			p.skip, p.vain = 0, 0
		}
		if p.parked {
			p.shown = ended
			if ended-p.woke >= rareWake { // what follows may be one callback that takes long
				p.wakeMonitor(ended)
			}
		}
	}
	if p.state.Swap(awake) == woken || err != nil {
		_ = p.file.SetReadDeadline(time.Time{})
	}
	return p.n
}

// Park makes the next few times that Wait has to wait give way to others at once.
func (p *Poller) Park() { p.skip = 2 * maxHits }

// spin looks for a moment, unless that was in vain lately. It reports whether there is anything to do.
func (p *Poller) spin() bool {
	if p.skip > 0 || p.last > 1 { // several busy ones are served together after a while
		p.skip = max(p.skip-1, 0)
		return false
	}
	for began := now(); now()-began < maxSpin; {
		if p.Poll() > 0 || p.state.Load() == woken {
			p.vain = 0
			p.show(began)
			if p.hits++; p.hits == maxHits {
				p.hits, p.skip = 0, 1
			}
			return true
		}
		runtime.Gosched()
	}
	p.vain = min(p.vain+1, maxVain)
	p.skip = 1 << p.vain
	return false
}

// Wake makes Wait return: the one that is under way, or the next.
func (p *Poller) Wake() {
	if p.state.Swap(woken) == parked {
		_ = p.file.SetReadDeadline(past)
	}
}
