package evnet

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// detachWait limits how long Detach waits for the loop, and then for the reader.
const detachWait = time.Second

var (
	errLoopBusy    = errors.New("evnet: loop is busy")
	errReaderStuck = errors.New("evnet: Read of the conn ignores its deadline")
)

// Detach returns the conn to blocking code, with the bytes that were read and not delivered. The
// caller processes these first, then continues to read from the conn. Both belong to the caller and
// are complete when Detach returns. evnet does not use the conn any more. The conn stays open, without
// a deadline; one that was set on it before may have been removed. The conn reports the peer's end
// again. The bytes are as received, also if SetEncoding has decoded them. Text that Unshift has put back, or that was
// buffered when a second SetEncoding was called, is returned as text.
//
// The socket is closed: Close(false) is its last event.
//
// Detach interrupts the goroutine that reads from the conn, if there is one, and waits for it. Outside
// of a callback it also waits for the running callback. Each wait is short, and at most one second.
//
// On failure Detach returns an error that contains the addresses. The socket then continues as before,
// and no data is lost. The cause is one of these:
//
//   - ErrSocketClosed: Connect or SecureConnect was not emitted yet.
//   - ErrDestroyed, or ErrRelayed.
//   - ErrWriteAfterEnd: this side has ended.
//   - ErrWritesQueued: the kernel does not accept all written bytes. Detach first tries to send the bytes that
//     the running callback has written.
//   - A failure of the conn that was read and that the socket is about to report.
//   - The loop is busy, or the Read of a conn does not honor deadlines, so a wait has taken too long.
//
// Node has none.
func (s *Socket) Detach() (conn net.Conn, rest []byte, err error) {
	if s.loop().OnLoop() {
		return s.detach()
	}
	var claimed atomic.Bool // by the loop, or by this goroutine when the loop is late
	done := make(chan struct{})
	go s.set.Loop.Do(func() {
		if claimed.CompareAndSwap(false, true) {
			defer close(done)
			conn, rest, err = s.detach()
		}
	})
	timer := time.NewTimer(detachWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C: // two loops may wait for each other
		if claimed.CompareAndSwap(false, true) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, nil, s.detachErrorLocked(errLoopBusy)
		}
		<-done
	}
	return conn, rest, err
}

// detach is Detach. It runs on the loop.
func (s *Socket) detach() (conn net.Conn, rest []byte, err error) {
	s.mu.Lock()
	e, err := s.prepareDetachLocked()
	if err == nil {
		timer := time.NewTimer(detachWait)
		defer timer.Stop()
		var back <-chan struct{}
		for back, err = s.stream.Recall(); back != nil && err == nil; {
			s.mu.Unlock()
			select {
			case <-back:
			case <-timer.C:
				err = errReaderStuck
			}
			s.mu.Lock()
			if err == nil {
				back, err = s.stream.Recall()
			}
		}
		if err == nil {
			err = s.checkDetachLocked() // the state may have changed meanwhile
		}
		if err != nil {
			s.stream.Unrecall()
			s.updateReadingLocked()
		}
	}
	if err != nil {
		err = s.detachErrorLocked(err)
	} else {
		conn, rest, e = s.takeConnLocked()
	}
	s.mu.Unlock()
	e.run()
	return conn, rest, err
}

// prepareDetachLocked sends the bytes that the running callback has written, without waiting for its end, and checks
// that the conn can be detached. s.mu is held.
func (s *Socket) prepareDetachLocked() (*ending, error) {
	if s.stream.Queued() > 0 {
		if err := s.flushLocked(); err != nil {
			return s.writeFailedLocked(err, false), err
		}
	}
	return nil, s.checkDetachLocked()
}

// takeConnLocked takes the conn and the undelivered data out of the socket, and destroys the socket. s.mu is held.
func (s *Socket) takeConnLocked() (net.Conn, []byte, *ending) {
	s.reclaimChunkLocked()
	rest := s.takeBufferedLocked()
	conn, unread := s.stream.Detach()
	rest = append(rest, unread...)
	s.in.bytes += int64(len(unread))
	return conn, rest, s.destroyLocked(nil, false)
}

// checkDetachLocked returns why the conn cannot be detached, or nil. s.mu is held.
func (s *Socket) checkDetachLocked() error {
	switch {
	case s.destroyed:
		return ErrDestroyed
	case !s.stream.IsOpen():
		return ErrSocketClosed
	case s.handshake || s.out.upgradePending:
		return fmt.Errorf("%w: TLS handshake is not complete", ErrSocketClosed)
	case s.opt().relay != nil:
		return ErrRelayed
	case s.out.failed:
		return s.failureLocked()
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.stream.Queued() > 0:
		return ErrWritesQueued
	}
	return s.stream.Unreported()
}

// detachErrorLocked adds the addresses of the socket to err. s.mu is held.
func (s *Socket) detachErrorLocked(err error) error {
	return &net.OpError{Op: "detach", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}
