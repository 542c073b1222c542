package transport

import (
	"sync/atomic"
	"syscall"

	"evnet/internal/netpoll"
)

// If epoll serves both streams, data that is piped from one to the other moves through a kernel pipe. Small pieces are
// copied, which is as cheap.

const (
	bulk    = 16 << 10 // a chunk of this size starts the use of splice pipes
	trickle = 4 << 10  // a splice pipe with less than this ends it
)

// Spliced counts the bytes that were sent without a copy, for tests.
var Spliced atomic.Int64

// splice moves readable bytes into a pipe. It reports false, and has no effect, if that is impossible.
func (t *epollDriver) splice(c *netpoll.Call, r *Report) bool {
	pipes := t.owner.SplicePipes()
	pipe := pipes.take()
	if pipe == nil {
		t.bulk = false
		return false
	}
	n, err := c.Fill(t.raw, pipe)
	if n == 0 {
		pipes.keep(pipe)
		switch {
		case err == syscall.EINVAL:
			t.bulk = false // this kind of socket does not support it
			return false
		case err == nil:
			return false // either the end or an urgent byte; read distinguishes them
		}
		r.Err = readError(t.conn, err)
		return true
	}
	t.bulk = n >= trickle
	Spliced.Add(int64(n))
	r.Pipe, r.Pipes = pipe, pipes
	return true
}

// Splices reports whether Serve may move received bytes into a pipe.
func (s *Stream) Splices() bool { return s.workers == nil && s.bulk && !s.edgeTriggered }

// writePipe sends the bytes of the queue's pipe, as far as the kernel accepts them.
func (t *epollDriver) writePipe(c *netpoll.Call) (flags Flags, err error) {
	q := &t.queue
	n, err := c.Drain(t.raw, q.pipe)
	if err == syscall.EINVAL { // splice might block on this socket
		q.pour()
		return 0, nil
	}
	if n > 0 {
		flags |= Moved
		q.acked += int64(n)
	}
	if q.pipe.Len() == 0 {
		q.returnPipe()
		q.completed = q.acked
		flags |= Completed
	}
	return flags, err
}
