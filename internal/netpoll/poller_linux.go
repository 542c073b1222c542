package netpoll

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Events are what a descriptor is watched for, or what is reported for it.
type Events uint32

// The events. Failed and Hungup are reported even if not watched for.
const (
	Readable Events = syscall.EPOLLIN
	Writable Events = syscall.EPOLLOUT
	Failed   Events = syscall.EPOLLERR
	Hungup   Events = syscall.EPOLLHUP

	// EdgeTriggered makes the Poller report each event once: those present at registration, and each later one.
	EdgeTriggered Events = 1 << 31 // EPOLLET
)

const (
	maxEvents = 256 // of one call

	// The next message of a single busy connection arrives before a parked goroutine, on a processor that has begun to
	// sleep, can run again.
	maxSpin     = 100 * time.Microsecond
	maxSpinHits = 16 // successful spins in a row before Wait parks once, so that goroutines in Go's poller can run
	maxBackoff  = 8  // after failed spins, at most 2 to the power of this many waits do not spin

	// A loop that has not parked for this long wakes the monitor. That costs about a millisecond: with 10 ms, echo over
	// 100 connections took 5 % more processor time, with 50 ms 1 %.
	maxUnparked = 50 * time.Millisecond
	// A loop that has just parked wakes the monitor at most once in this time.
	parkedWakeInterval = time.Second
)

var start = time.Now()

// now returns the monotonic time. It takes less than half the time of time.Now.
func now() time.Duration { return time.Since(start) }

// past is an expired deadline.
var past = time.Unix(1, 0)

// The states of a Poller, for Wake.
const (
	awake int32 = iota
	parked
	woken
)

// Poller is an epoll set. Poll, PollBusy, Wait and Event belong to one goroutine at a time; Wake may be called from any.
type Poller struct {
	fd        int
	file      *os.File        // owns fd; registered with Go's poller, which parks Wait
	raw       syscall.RawConn // of file
	pollReady func(fd uintptr) bool
	state     atomic.Int32
	n         int
	lastCount int // events of the last poll that had any

	skipSpins  int // waits that are not to spin
	spinHits   int // successful spins in a row
	spinMisses int // failed spins in a row

	waited      bool          // Wait was called after the last PollBusy
	hasParked   bool          // the current Wait has parked
	lastVisible time.Duration // when the loop last parked, or woke the monitor
	lastWake    time.Duration // when the loop last woke the monitor

	events [maxEvents]syscall.EpollEvent
}

// New returns an empty Poller.
func New() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // os.NewFile checks it
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		_ = p.file.Close()
		return nil, err // Go's poller does not accept the descriptor
	}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.pollReady = func(uintptr) bool {
		if p.Poll() > 0 {
			return true
		}
		p.hasParked = true
		return false
	}
	return p, nil
}

// Close closes the epoll descriptor. No other method may be running.
func (p *Poller) Close() { _ = p.file.Close() }

// Poll returns, without waiting, the number of descriptors that have events.
func (p *Poller) Poll() int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(unsafe.Pointer(&p.events)), maxEvents, 0, 0, 0)
	if errno != 0 { // EINTR: the caller polls again
		n = 0
	}
	if p.n = int(n); p.n > 0 {
		p.lastCount = p.n
	}
	return p.n
}

// PollBusy is Poll for a loop that has more to do and does not Wait. It also keeps the monitor of Go's scheduler awake.
func (p *Poller) PollBusy() int {
	if p.waited { // Wait has read the clock if necessary
		p.waited = false
	} else {
		p.keepMonitorAwake(now())
	}
	return p.Poll()
}

// keepMonitorAwake wakes the monitor of Go's scheduler if the loop has not parked for maxUnparked.
//
// The scheduler does not notice raw system calls. After every processor (P) was idle, the monitor thread (sysmon) sleeps
// for up to a minute, until a goroutine announces a system call. The thread that waited in Go's network poller now runs the
// loop. So while the loop is busy, no thread polls the network for other goroutines, preempts the loop, or runs timers. One
// announced system call wakes the monitor, which then polls the network and preempts the loop every 10 ms until all
// processors are idle again.
//
// runtime.Gosched is not enough: with GOMAXPROCS=1 it resumes the loop before it polls the network. A loop that parks needs
// no such call, since its thread then polls the network. Waking the monitor costs about a millisecond of processor time,
// since the monitor then runs every 20 us for a while. Hence not every epoll_wait is announced.
func (p *Poller) keepMonitorAwake(now time.Duration) {
	if now-p.lastVisible >= maxUnparked {
		p.wakeMonitor(now)
	}
}

func (p *Poller) wakeMonitor(now time.Duration) {
	p.lastVisible, p.lastWake = now, now
	_, _, _ = syscall.Syscall(syscall.SYS_GETTID, 0, 0, 0) // Syscall announces it; any call has this effect
}

// Event returns the slot and the events of the i-th of the descriptors that the last Poll, PollBusy or Wait has counted.
func (p *Poller) Event(i int) (slot int, what Events) {
	ev := &p.events[i]
	return int(ev.Fd), Events(ev.Events)
}

// Wait waits until there are events or until Wake, and returns the number of descriptors that have events. It may return 0
// spuriously. It parks the goroutine and blocks no thread. If the last waits were short, it polls for a moment before it
// parks, since parking and resuming takes longer than such a wait.
func (p *Poller) Wait() int {
	p.n, p.waited, p.hasParked = 0, true, false
	if p.spin() {
		p.state.Store(awake)
		return p.n
	}
	var err error
	if p.state.CompareAndSwap(awake, parked) {
		began := now()
		p.keepMonitorAwake(began)
		err = p.raw.Read(p.pollReady)
		ended := now()
		if ended-began < maxSpin && p.spinMisses > 0 {
			p.skipSpins, p.spinMisses = 0, 0
		}
		if p.hasParked {
			p.lastVisible = ended
			if ended-p.lastWake >= parkedWakeInterval { // a long callback may follow
				p.wakeMonitor(ended)
			}
		}
	}
	if p.state.Swap(awake) == woken || err != nil {
		_ = p.file.SetReadDeadline(time.Time{})
	}
	return p.n
}

// SkipSpins makes the next waits park immediately, so that other goroutines can run.
func (p *Poller) SkipSpins() { p.skipSpins = 2 * maxSpinHits }

// spin polls for up to maxSpin, unless that has failed recently. It reports whether there are events or Wake was called.
func (p *Poller) spin() bool {
	if p.skipSpins > 0 || p.lastCount > 1 { // parking lets the events of several busy descriptors accumulate
		p.skipSpins = max(p.skipSpins-1, 0)
		return false
	}
	for began := now(); now()-began < maxSpin; {
		if p.Poll() > 0 || p.state.Load() == woken {
			p.spinMisses = 0
			p.keepMonitorAwake(began)
			if p.spinHits++; p.spinHits == maxSpinHits {
				p.spinHits, p.skipSpins = 0, 1
			}
			return true
		}
		runtime.Gosched()
	}
	p.spinMisses = min(p.spinMisses+1, maxBackoff)
	p.skipSpins = 1 << p.spinMisses
	return false
}

// Wake makes the current or the next Wait return. Any goroutine may call it.
func (p *Poller) Wake() {
	if p.state.Swap(woken) == parked {
		_ = p.file.SetReadDeadline(past)
	}
}
