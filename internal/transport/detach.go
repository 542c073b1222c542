package transport

import (
	"io"
	"net"
	"time"
)

// How a stream detaches its conn.

// Recall starts to free the conn for Detach, which requires that no Read is running. If Recall returns a channel, the
// caller receives from it without the lock and then calls Recall again. If the channel is nil, the conn is free, or the
// error says why it cannot be freed. Unrecall undoes Recall.
func (s *Stream) Recall() (<-chan struct{}, error) {
	if s.workers == nil {
		return nil, nil
	}
	return s.workers.recall()
}

// Unrecall lets the reader continue, as SetReading does, even if its Read returns only later.
func (s *Stream) Unrecall() {
	if t := s.workers; s.open && t != nil {
		t.recalled, t.outOfRead, t.stuck = false, nil, nil
	}
}

// Unreported returns a failure of the conn that was not passed to the owner yet, and that the conn may not report again.
func (s *Stream) Unreported() error {
	switch t := s.workers; {
	case t == nil:
		return nil
	case t.full && t.err != io.EOF:
		return t.err
	}
	return nil
}

// Detach returns the conn to the caller, with a copy of the bytes that were read and not served. Retire follows. Its
// Closer does not close the conn.
func (s *Stream) Detach() (conn net.Conn, rest []byte) {
	t := s.workers
	if t == nil {
		s.detached = true
		return s.conn, nil
	}
	if t.full {
		rest = append(rest, t.buf[:t.n]...)
	}
	t.detached = true
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
	case t.interrupted: // SetReadDeadline may panic or block
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
