package transport

import (
	"syscall"

	"evnet/internal/netpoll"
)

// Queued returns how many bytes wait to be sent, or are being written by a goroutine.
func (s *Stream) Queued() int { return s.queue.length() }

// Accepted returns how many bytes were queued or sent so far.
func (s *Stream) Accepted() int64 { return s.queue.added }

// Acked returns how many bytes the conn has taken so far.
func (s *Stream) Acked() int64 { return s.queue.acked }

// Completed returns what Acked was when the last queued piece had been sent whole.
func (s *Stream) Completed() int64 {
	if s.queue.isActive() {
		return s.queue.completed
	}
	return s.queue.acked
}

// Sendable returns how many bytes are not held back.
func (s *Stream) Sendable() int { return s.queue.sendable() }

// Append queues a copy of p.
func (s *Stream) Append(p []byte) { s.queue.append(p) }

// Hold keeps bytes that are queued from now on from leaving, until Unhold.
func (s *Stream) Hold() { s.queue.hold(s.queue.added) }

// HoldFrom is Hold of the bytes behind an offset of Accepted.
func (s *Stream) HoldFrom(offset int64) { s.queue.hold(offset) }

// ReleaseQueued lets all bytes leave that are queued now. A Hold goes on for those behind them.
func (s *Stream) ReleaseQueued() { s.queue.raise() }

// Unhold undoes Hold. A Flush follows.
func (s *Stream) Unhold() { s.queue.release() }

// MayWrite reports whether Send, Flush and SendPipe may be called: the stream is open, and does not wait for room.
func (s *Stream) MayWrite() bool {
	if s.workers == nil {
		return s.open && !s.writing
	}
	return s.open && s.workers.mayWrite()
}

// tryWrite hands the conn the sendable bytes that it takes without blocking.
func (s *Stream) tryWrite() (Flags, error) {
	if s.workers == nil {
		return (*epollDriver)(s).tryWrite()
	}
	return s.workers.tryWrite()
}

// Send queues p and sends what the conn takes without blocking, with what is queued before; the rest of p is copied.
func (s *Stream) Send(p []byte) (Flags, error) {
	s.queue.borrow(p)
	s.queue.raise()
	flags, err := s.tryWrite()
	s.queue.keepDirect()
	return s.afterWriting(flags, err)
}

// Flush sends what the conn takes without blocking. The rest leaves when there is room, and then the end, if End was
// called.
func (s *Stream) Flush() (Flags, error) {
	var flags Flags
	var err error
	if s.queue.sendable() > 0 {
		flags, err = s.tryWrite()
	}
	return s.afterWriting(flags, err)
}

func (s *Stream) afterWriting(flags Flags, err error) (Flags, error) {
	switch {
	case err != nil:
	case s.queue.sendable() > 0:
		s.driver().awaitWritable()
		return flags, nil
	default:
		s.queue.settle()
		err = s.sendEndIfDue()
	}
	if err != nil && s.driver().deferFailure(err) {
		err = nil
	}
	return flags, err
}

// End has the end sent once the queue is empty: by the Flush that follows, or by the driver.
func (s *Stream) End() { s.ending = true }

// endDue reports whether the end is to be sent now.
func (s *Stream) endDue() bool { return s.ending && !s.endSent && s.queue.length() == 0 }

// sendEndIfDue sends the end when it is time to.
func (s *Stream) sendEndIfDue() error {
	switch {
	case !s.endDue():
		return nil
	case s.driver().endBlocks():
		s.driver().awaitWritable()
		return nil
	}
	s.endSent = true
	s.owner.Loop().PostReady(s.owner, Ended) // first, so that it never trails the peer's answer
	if s.peerEnded {
		return nil // the owner closes the conn, which is an end too
	}
	return sendEnd(s.conn)
}

// EndUnderway reports whether a goroutine is sending the end, or is about to report a failure: closing the conn now
// might cut the end off, or hide the failure.
func (s *Stream) EndUnderway() bool {
	return s.open && s.workers != nil && (s.workers.ending || s.workers.failure != nil)
}

// EndSent reports whether the end is on its way.
func (s *Stream) EndSent() bool { return s.endSent }

// AwaitRoom has Ready called when there is room, if the stream can tell.
func (s *Stream) AwaitRoom() bool {
	if s.MayWrite() {
		s.driver().awaitWritable()
	}
	return s.workers == nil
}

// RetryWriting serves a stream that waits for room once more, before the next event: a loop that was late has not used
// the room that there is.
func (s *Stream) RetryWriting() {
	if s.open && s.workers == nil && s.writing && s.queue.sendable() > 0 {
		s.owner.Loop().PostReady(s.owner, netpoll.Writable)
	}
}

// TakesPipes reports whether SendPipe sends from a pipe instead of copying.
func (s *Stream) TakesPipes() bool { return s.open && s.workers == nil }

// HoldsPipe reports whether the queue begins with a pipe.
func (s *Stream) HoldsPipe() bool { return s.queue.isActive() && s.queue.pipe != nil }

// SendPipe sends the bytes of a pipe, which the stream owns from then on. They are copied to the queue if they cannot be
// sent from the pipe, and if too many pipes wait already: a pipe takes two descriptors, and a peer that does not read
// could keep it for as long as it likes. canSend says that the owner allows sending now.
func (s *Stream) SendPipe(pipe *netpoll.SplicePipe, pipes *SplicePipes, canSend bool) (flags Flags, err error) {
	if !s.TakesPipes() || !canSend || s.queue.length() > 0 || !s.MayWrite() {
		p := pipe.ReadAll()
		pipes.keep(pipe)
		s.queue.append(p)
		if canSend {
			s.queue.raise()
		}
		if canSend && s.MayWrite() {
			flags, err = s.Flush()
		}
		return flags, err
	}
	s.queue.activate()
	s.queue.pipe, s.queue.pipes = pipe, pipes
	s.queue.added += int64(pipe.Len())
	s.queue.raise()
	flags, err = s.tryWrite()
	flags, err = s.afterWriting(flags, err)
	if s.HoldsPipe() && pipes.areScarce() {
		s.queue.pour()
	}
	return flags, err
}

// SendFile sends up to n bytes of a file from kernel to kernel. ok is false if that is impossible: the bytes are to be
// read and written. Nothing sent and no error means that there is no room; ended is the end of the file. Bytes that
// are queued would be overtaken: there must be none.
func (s *Stream) SendFile(file syscall.RawConn, n int) (sent int, ended, ok bool, err error) {
	if !s.TakesPipes() || s.queue.length() > 0 {
		return 0, false, false, nil
	}
	if !s.MayWrite() {
		return 0, false, true, nil
	}
	loop := s.owner.Loop()
	c := loop.AcquireCall()
	defer loop.ReleaseCall(c)
	sent, ended, err = c.SendFile(s.raw, file, n)
	if sent > 0 {
		s.queue.added += int64(sent)
		s.queue.ack(sent, true)
		Spliced.Add(int64(sent))
	}
	return sent, ended, true, err
}

// CopyPipe copies the bytes of a splice pipe that the queue begins with, if there is one.
func (s *Stream) CopyPipe() { s.queue.pour() }
