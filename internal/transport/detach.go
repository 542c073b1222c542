package transport

import (
	"io"
	"net"
	"time"
)

// How a stream gives its conn away.

// Recall begins to free the conn: when nobody is in its Read any more it may be detached. A channel that it returns is
// to be awaited without the lock, and then Recall is to be called again; nil reports that the conn is free, or why it
// cannot be. Unrecall undoes it.
func (s *Stream) Recall() (<-chan struct{}, error) {
	if s.workers == nil {
		return nil, nil
	}
	return s.workers.recall()
}

// Unrecall lets the reader go on, as after SetReading, also one that leaves Read only now.
func (s *Stream) Unrecall() {
	if t := s.workers; s.open && t != nil {
		t.recalled, t.outOfRead, t.stuck = false, nil, nil
	}
}

// Unreported returns a failure of the conn that the owner has not been given yet, and that the conn may not report
// again.
func (s *Stream) Unreported() error {
	switch t := s.workers; {
	case t == nil:
		return nil
	case t.full && t.err != io.EOF:
		return t.err
	}
	return nil
}

// Detach gives the conn away, with a copy of what was read and not served. Retire follows, whose Closer does not close
// the conn.
func (s *Stream) Detach() (conn net.Conn, rest []byte) {
	t := s.workers
	if t == nil {
		s.kept = true
		return s.conn, nil
	}
	if t.full {
		rest = append(rest, t.buf[:t.n]...)
	}
	t.kept = true
	return t.conn, rest
}

func (t *goroutine) recall() (<-chan struct{}, error) {
	t.recalled = true
	switch {
	case t.retired || t.stuck != nil:
		return nil, t.stuck
	case t.reading && !t.waiting && !t.full:
		if t.outOfRead == nil {
			t.outOfRead = make(chan struct{})
			t.interrupt()
		}
		return t.outOfRead, nil
	case t.setting != nil:
		return t.setting, nil
	case t.interrupted && t.raw != nil:
		_ = t.conn.SetReadDeadline(time.Time{})
	case t.interrupted: // it may panic, or wait
		set := t.setDeadline(time.Time{}, func(err error, panicked bool) {
			if panicked {
				t.stuck = err
			}
		})
		t.loop.Go(set)
		t.interrupted = false
		return t.setting, nil
	}
	t.interrupted = false
	return nil, nil
}
