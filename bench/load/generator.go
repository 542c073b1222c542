package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"evnet/bench/figures"
)

// stallTimeout is the time after which a server that answers nothing is considered broken.
const stallTimeout = 10 * time.Second

// A traffic implements a workload: it opens the connections and handles their events.
type traffic interface {
	open() error
	// event handles the epoll events of the connection that was added with this index.
	event(index int32, events uint32) error
	// tick is called after each batch of events, and at least every 2 ms.
	tick() error
}

// A generator has what all workloads share: the epoll instance, the clock and the counters.
type generator struct {
	options  *options
	server   unix.Sockaddr
	opened   int // number of connections opened so far; it selects the next source address
	epoll    int
	events   [256]unix.EpollEvent
	buffer   []byte
	pattern  []byte
	period   int
	began    time.Time
	started  int64 // start of the measurement; messages sent before it are not timed
	progress int64 // time of the last answer

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

// now returns the time since the generator was created, in nanoseconds.
func (g *generator) now() int64 { return int64(time.Since(g.began)) }

// arrived counts received bytes.
func (g *generator) arrived(n int, now int64) {
	g.bytes += int64(n)
	g.progress = now
}

// timed counts a message and, if it was sent during the measurement, its latency.
func (g *generator) timed(sent, now int64) {
	g.messages++
	if sent >= g.started {
		g.histogram.Add(now - sent)
	}
}

// measure runs the warm-up and the measurement. It calls mark at the start and at the end of the
// measurement.
func (g *generator) measure(t traffic, mark func(string)) (*figures.Load, error) {
	g.progress = g.now()
	if err := g.drive(t, g.options.warmup); err != nil {
		return nil, fmt.Errorf("warm-up: %w", err)
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

// drive handles events for the duration d.
func (g *generator) drive(t traffic, d time.Duration) error {
	for until := g.now() + int64(d); ; {
		now := g.now()
		if now >= until {
			return nil
		}
		if now-g.progress > int64(stallTimeout) {
			return fmt.Errorf("no answer from the server within %v", stallTimeout)
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
		if err := t.tick(); err != nil {
			return err
		}
	}
}

// serverCPU returns the processor time of all threads of the server, in nanoseconds. It computes the
// clock id from the process id as Linux defines it.
func (g *generator) serverCPU() (int64, error) {
	if g.options.pid == 0 {
		return 0, nil
	}
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^g.options.pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", g.options.pid, err)
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
