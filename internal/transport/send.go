package transport

import (
	"syscall"

	"evnet/internal/netpoll"
)

// Queued returns the number of bytes that are pending or being written by a goroutine.
func (s *Stream) Queued() int { return s.queue.length() }

// Accepted returns the number of bytes that were queued or sent so far.
func (s *Stream) Accepted() int64 { return s.queue.added }

// Acked returns the number of bytes that the conn has accepted so far.
func (s *Stream) Acked() int64 { return s.queue.acked }

// Completed returns the value of Acked when the last queued piece was sent completely.
func (s *Stream) Completed() int64 {
	if s.queue.isActive() {
		return s.queue.completed
	}
	return s.queue.acked
}

// Sendable returns the number of queued bytes that are not held back.
func (s *Stream) Sendable() int { return s.queue.sendable() }

// Append queues a copy of p.
func (s *Stream) Append(p []byte) { s.queue.append(p) }

// Hold holds back bytes that are queued from now on, until Unhold.
func (s *Stream) Hold() { s.queue.hold(s.queue.added) }

// HoldFrom is Hold for the bytes after an offset of Accepted.
func (s *Stream) HoldFrom(offset int64) { s.queue.hold(offset) }

// ReleaseQueued allows all bytes that are queued now to be sent. A Hold remains for later bytes.
func (s *Stream) ReleaseQueued() { s.queue.raise() }

// Unhold undoes Hold. A Flush follows.
func (s *Stream) Unhold() { s.queue.release() }

// MayWrite reports whether Send, Flush and SendPipe may be called: the stream is open and does not wait for the conn to
// become writable.
func (s *Stream) MayWrite() bool {
	if s.workers == nil {
		return s.open && !s.stopped && !s.writing
	}
	return s.open && !s.stopped && s.workers.mayWrite()
}

// tryWrite writes the sendable bytes that the conn accepts without blocking.
func (s *Stream) tryWrite() (Flags, error) {
	if s.workers == nil {
		return (*epollDriver)(s).tryWrite()
	}
	return s.workers.tryWrite()
}

// Send sends the queued bytes and p, as far as the conn accepts them without blocking. It queues a copy of the rest of p.
func (s *Stream) Send(p []byte) (Flags, error) {
	s.queue.borrow(p)
	s.queue.raise()
	flags, err := s.tryWrite()
	s.queue.keepDirect()
	return s.afterWriting(flags, err)
}

// Flush sends the queued bytes that the conn accepts without blocking. The rest is sent when the conn is writable, and then
// the end, if End was called.
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
	return flags, err
}

// StopWriting ends the writing side after a failed write, and discards the queue. It reports whether received bytes, or the
// cause of the failure, may still have to be read. If so, Serve continues to report them as SetReading requires, and reports
// Exhausted if there are none. It returns an error if reading has failed, and reports such a failure only once.
func (s *Stream) StopWriting() (unread bool, failed error) {
	s.stopped = true
	s.queue.drop()
	return s.driver().stopWriting()
}

// End requests that the end is sent once the queue is empty, by the next Flush or by the driver.
func (s *Stream) End() { s.ending = true }

// endDue reports whether the end must be sent now.
func (s *Stream) endDue() bool { return s.ending && !s.endSent && s.queue.length() == 0 }

// sendEndIfDue sends the end if it is due. After an error, EndSent is false when Ended is processed.
func (s *Stream) sendEndIfDue() error {
	switch {
	case !s.endDue():
		return nil
	case s.driver().endBlocks():
		s.driver().awaitWritable()
		return nil
	}
	s.endSent = true
	s.owner.Loop().PostReady(s.owner, Ended) // first, so that it precedes the peer's answer; it is processed after unlocking
	if s.peerEnded {
		return nil // the owner closes the conn, which also sends the end
	}
	err := sendEnd(s.conn)
	s.endSent = err == nil
	return err
}

// EndUnderway reports whether a goroutine is sending the end or is about to report a failure. Closing the conn now might
// cut off the end or hide the failure.
func (s *Stream) EndUnderway() bool {
	return s.open && s.workers != nil && (s.workers.ending != nil || s.workers.failure != nil)
}

// EndSent reports whether the end was sent. It is also true while a goroutine is sending the end.
func (s *Stream) EndSent() bool { return s.endSent }

// AwaitRoom requests a call of Ready when the conn is writable. It reports whether the stream supports that.
func (s *Stream) AwaitRoom() bool {
	if s.MayWrite() {
		s.driver().awaitWritable()
	}
	return s.workers == nil
}

// RetryWriting serves a stream with pending bytes once more, before the next event. A loop that was late may have missed
// that the conn is writable.
func (s *Stream) RetryWriting() {
	if s.open && s.workers == nil && s.writing && s.queue.sendable() > 0 {
		s.owner.Loop().PostReady(s.owner, netpoll.Writable)
	}
}

// TakesPipes reports whether SendPipe sends from a pipe instead of copying.
func (s *Stream) TakesPipes() bool { return s.open && s.workers == nil }

// HoldsPipe reports whether the queue begins with a pipe.
func (s *Stream) HoldsPipe() bool { return s.queue.isActive() && s.queue.pipe != nil }

// SendPipe sends the bytes of a pipe, which the stream owns from then on. It copies them to the queue if they cannot be
// sent from the pipe, or if too many pipes are waiting. A pipe uses two descriptors, and a peer that does not read could
// occupy it forever. canSend reports whether the owner allows sending now.
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

// SendFile sends up to n bytes of a file within the kernel. If ok is false, that is impossible, and the caller must read
// and write the bytes. If sent is 0 without an error, the conn is not writable, or ended reports the end of the file. No
// bytes may be queued, because SendFile would overtake them.
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

// CopyPipe copies the bytes of the splice pipe at the front of the queue, if there is one.
func (s *Stream) CopyPipe() { s.queue.pour() }
