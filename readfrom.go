package evnet

import "io"

// ReadFrom writes what r gives until its end, at the pace of the peer: it blocks the calling
// goroutine while NeedDrain is true. It returns the bytes written and the first error of r, of
// Write, or the cause when the socket closes meanwhile. In a callback, where waiting would stop the
// loop that it waits for, it returns ErrOnLoop at once: use Pipe there. It implements io.ReaderFrom,
// so that io.Copy uses it. On Linux a regular file is sent to a kernel socket without being copied
// into the process. Node: stream.pipeline into a socket.
func (s *Socket) ReadFrom(r io.Reader) (n int64, err error) {
	if r == nil {
		return 0, nilArgument("ReadFrom", "reader")
	}
	if s.set.Loop.here() {
		return 0, ErrOnLoop
	}
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	file := asFile(r)
	buf := make([]byte, maxChunk)
	for {
		if file != nil {
			sent, ok := s.sendFile(file, epoch, nil)
			if ok && sent == 0 {
				return n, nil
			}
			if n += int64(sent); ok {
				continue
			}
		}
		got, rerr := r.Read(buf)
		if err := s.passOn(buf[:got], epoch); err != nil {
			return n, err
		}
		n += int64(got)
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
		for room := s.noRoom(epoch); room != nil; room = s.noRoom(epoch) {
			<-room
		}
	}
}

// passOn writes what was read to the connection of that epoch, and to no later one.
func (s *Socket) passOn(p []byte, epoch int32) error {
	s.mu.Lock()
	switch {
	case s.epoch != epoch:
		s.mu.Unlock()
		return ErrDestroyed
	case s.out.dropped:
		defer s.mu.Unlock()
		return s.dropError()
	case len(p) == 0:
		s.mu.Unlock()
		return nil
	}
	_, e, err := s.writeLocked(p, nil, true)
	s.mu.Unlock()
	e.run()
	return err
}

// noRoom returns nil when writing may go on, else what will be closed when that may have changed.
func (s *Socket) noRoom(epoch int32) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || !s.needsDrain() {
		return nil
	}
	return s.roomLocked()
}

// roomLocked returns what will be closed when there may be room. s.mu is held.
func (s *Socket) roomLocked() <-chan struct{} {
	if s.out.room == nil {
		s.out.own()
		s.out.room = make(chan struct{})
	}
	return s.out.room
}

// wakeReadFrom is called when the queue has drained, and at the end of writing.
func (s *Socket) wakeReadFrom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roomChanged()
}

// roomChanged lets those look again that wait for room. s.mu is held.
func (s *Socket) roomChanged() {
	if s.out.room != nil {
		close(s.out.room)
		s.out.room = nil
		s.settle()
	}
}
