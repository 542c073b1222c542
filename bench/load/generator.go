package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"evnet/bench/figures"
)

// A server that lets nothing come back for so long is taken for broken.
const stall = 10 * time.Second

// A traffic is what a workload does: which connections it opens and what it answers to events.
type traffic interface {
	open() error
	// event is told what epoll says of the connection that was added under this index.
	event(index int32, events uint32) error
	// turn comes after each batch of events, and at least every 2 ms.
	turn() error
}

// generator is what all workloads share: the epoll, the clock and the counters.
type generator struct {
	options  *options
	server   unix.Sockaddr
	opened   int // connections opened so far, which chooses the next one's source address
	epoll    int
	events   [256]unix.EpollEvent
	buffer   []byte
	pattern  []byte
	period   int
	began    time.Time
	started  int64 // when the measuring began; messages sent before are not timed
	progress int64 // when something last came back

	messages, bytes int64
	lost            int64 // datagrams
	histogram       figures.Histogram
}

func newGenerator(o *options) (*generator, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	g := &generator{options: o, epoll: epoll, buffer: make([]byte, 256<<10), began: time.Now()}
	g.pattern, g.period = makePattern(o.workload == "line", o.size)
	return g, nil
}

// now is the time since the generator began, in nanoseconds.
func (g *generator) now() int64 { return int64(time.Since(g.began)) }

// arrived notes bytes that came back.
func (g *generator) arrived(n int, now int64) {
	g.bytes += int64(n)
	g.progress = now
}

// timed counts a message that was sent at that time.
func (g *generator) timed(sent, now int64) {
	g.messages++
	if sent >= g.started {
		g.histogram.Add(now - sent)
	}
}

// measure warms up, then measures; mark is called at the start and at the end.
func (g *generator) measure(t traffic, mark func(string)) (*figures.Load, error) {
	g.progress = g.now()
	if err := g.drive(t, g.options.warmup); err != nil {
		return nil, fmt.Errorf("while warming up: %w", err)
	}
	mark("start")
	g.messages, g.bytes, g.lost = 0, 0, 0
	g.histogram.Reset()
	serverCPU, err := g.serverCPU()
	if err != nil {
		return nil, err
	}
	loadCPU := ownCPU()
	g.started = g.now()
	g.progress = g.started
	if err := g.drive(t, g.options.duration); err != nil {
		return nil, err
	}
	ended := g.now()
	f := &figures.Load{
		Messages: g.messages, Bytes: g.bytes, Lost: g.lost, Seconds: float64(ended-g.started) / 1e9,
		P50: g.histogram.Quantile(0.5), P99: g.histogram.Quantile(0.99), P999: g.histogram.Quantile(0.999),
		LoadCPU: ownCPU() - loadCPU,
	}
	after, err := g.serverCPU()
	if err != nil {
		return nil, err
	}
	f.ServerCPU = after - serverCPU
	mark("end")
	return f, nil
}

// drive serves events for so long.
func (g *generator) drive(t traffic, d time.Duration) error {
	for until := g.now() + int64(d); ; {
		now := g.now()
		if now >= until {
			return nil
		}
		if now-g.progress > int64(stall) {
			return fmt.Errorf("nothing came back from the server for %v", stall)
		}
		n, err := g.wait(2)
		if err != nil {
			return err
		}
		for i := range g.events[:n] {
			if err := t.event(g.events[i].Fd, g.events[i].Events); err != nil {
				return err
			}
		}
		if err := t.turn(); err != nil {
			return err
		}
	}
}

// serverCPU is the server's processor time, of all its threads, in nanoseconds. Linux makes a clock
// id of a process id in this way.
func (g *generator) serverCPU() (int64, error) {
	if g.options.pid == 0 {
		return 0, nil
	}
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^g.options.pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("the processor time of process %d: %w", g.options.pid, err)
	}
	return t.Nano(), nil
}

func ownCPU() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return t.Nano()
}
