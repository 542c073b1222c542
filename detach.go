package evnet

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// detachWait bounds how long Detach waits for the loop, and for the reader.
const detachWait = time.Second

var (
	errLoopBusy    = errors.New("evnet: the loop is busy")
	errReaderStuck = errors.New("evnet: the conn's Read ignores its deadline")
)

// Detach gives the conn back to blocking code, with the bytes that were read and not delivered: the
// caller handles them first, then reads on from the conn. Both belong to the caller. The conn stays
// open, without a deadline (one that was set on it before may be gone), and evnet touches it no
// more; bytes and conn are whole when Detach returns. The socket is over: Close(false) is its last
// event. Bytes are as they came, but for those that SetEncoding has decoded while they were held;
// what the peer's end was is told by the conn again.
//
// In a callback it calls the reading goroutine back, if there is one, and waits for it; from any other goroutine it
// also waits for the running callback. Each takes moments, and one second at most.
//
// It fails with an error that names the addresses, and then the socket goes on as before, nothing
// lost: ErrSocketClosed before Connect and SecureConnect, ErrDestroyed, ErrWriteAfterEnd once this
// side is ended, ErrWritesQueued (what was written in the running callback is sent first, if the
// system takes it), ErrRelayed; a failure that was read and is about to be told; or that the loop or
// a conn without deadlines did not answer in time. Node has none.
func (s *Socket) Detach() (conn net.Conn, rest []byte, err error) {
	if s.loop().OnLoop() {
		return s.detach()
	}
	var claimed atomic.Bool // by the loop, or by us when it does not come to it
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
			return nil, nil, s.detachError(errLoopBusy)
		}
		<-done
	}
	return conn, rest, err
}

// detach is Detach on the loop.
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
			err = s.detachable() // the state may have changed meanwhile
		}
		if err != nil {
			s.stream.Unrecall()
			s.updateReading()
		}
	}
	if err != nil {
		err = s.detachError(err)
	} else {
		conn, rest, e = s.giveConnLocked()
	}
	s.mu.Unlock()
	e.run()
	return conn, rest, err
}

// prepareDetachLocked sends what the running callback has written, which need not wait for its end, and checks that
// the conn can be given away. s.mu is held.
func (s *Socket) prepareDetachLocked() (*ending, error) {
	if s.stream.Queued() > 0 {
		if err := s.flushLocked(); err != nil {
			return s.writeFailedLocked(err, false), err
		}
	}
	return nil, s.detachable()
}

// giveConnLocked takes the conn and the undelivered data out of the socket, and destroys that. s.mu is held.
func (s *Socket) giveConnLocked() (net.Conn, []byte, *ending) {
	s.reclaimChunk()
	rest := s.takeBuffered()
	conn, unread := s.stream.Detach()
	rest = append(rest, unread...)
	s.in.bytes += int64(len(unread))
	return conn, rest, s.destroyLocked(nil, false)
}

// detachable is why the conn cannot be given away, or nil. s.mu is held.
func (s *Socket) detachable() error {
	switch {
	case s.destroyed:
		return ErrDestroyed
	case !s.stream.IsOpen():
		return ErrSocketClosed
	case s.handshake || s.out.upgradePending:
		return fmt.Errorf("%w: its handshake is not done", ErrSocketClosed)
	case s.opt().relay != nil:
		return ErrRelayed
	case s.stream.DeferredFailure() != nil:
		return s.deferredFailure()
	case s.out.ending:
		return ErrWriteAfterEnd
	case s.stream.Queued() > 0:
		return ErrWritesQueued
	}
	return s.stream.Unreported()
}

// detachError adds the addresses of the socket to err. s.mu is held.
func (s *Socket) detachError(err error) error {
	return &net.OpError{Op: "detach", Net: network(s.remoteAddr()), Source: s.localAddr(), Addr: s.remoteAddr(), Err: err}
}
