package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// echo implements the workloads echo and line. It keeps -depth messages in flight on each connection: for
// the messages that were echoed it sends as many new ones, in one write. With whole, which the workload
// line uses, it sends the next -depth messages only after all have been echoed, so that the server
// receives them together.
type echo struct {
	*generator
	whole   bool
	streams []*stream
}

func (e *echo) open() error {
	for i := range e.options.conns {
		s, err := e.openStream(i, e.options.size, e.options.depth)
		if err != nil {
			return err
		}
		e.streams = append(e.streams, s)
	}
	for _, s := range e.streams {
		if err := e.issue(s, int64(e.options.depth), e.now()); err != nil {
			return err
		}
	}
	return nil
}

func (e *echo) event(index int32, events uint32) error {
	s := e.streams[index]
	if events&unix.EPOLLOUT != 0 {
		if err := e.flush(s); err != nil {
			return err
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return nil
	}
	completed, now, err := e.receive(s)
	if err != nil {
		return err
	}
	for back := range completed {
		e.timed(s.sentTime(back), now)
	}
	if e.whole {
		if completed == 0 || s.received < s.due {
			return nil
		}
		completed = int64(e.options.depth)
	}
	return e.issue(s, completed, now)
}

func (e *echo) tick() error { return nil }

// firehose implements the workload firehose. It keeps many large messages in flight on one connection,
// and counts and times only the messages of a second, quiet connection.
type firehose struct {
	*generator
	hose, quiet *stream
	next        int64 // time of the next message of quiet; 0 while a message is in flight
}

const (
	hoseSize  = 64 << 10
	hoseDepth = 16
	quietTime = int64(2 * time.Millisecond)
)

func (f *firehose) open() (err error) {
	if f.hose, err = f.openStream(0, hoseSize, hoseDepth); err != nil {
		return err
	}
	if f.quiet, err = f.openStream(1, f.options.size, 1); err != nil {
		return err
	}
	f.next = f.now()
	return f.issue(f.hose, hoseDepth, f.next)
}

func (f *firehose) event(index int32, events uint32) error {
	s := f.hose
	if index == f.quiet.index {
		s = f.quiet
	}
	if events&unix.EPOLLOUT != 0 {
		if err := f.flush(s); err != nil {
			return err
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return nil
	}
	completed, now, err := f.receive(s)
	if err != nil {
		return err
	}
	if s == f.hose {
		return f.issue(s, completed, now)
	}
	if completed > 0 {
		f.timed(s.sentTime(0), now)
		f.next = now + quietTime
	}
	return nil
}

func (f *firehose) tick() error {
	now := f.now()
	if f.next == 0 || now < f.next {
		return nil
	}
	f.next = 0
	return f.issue(f.quiet, 1, now)
}
