package evnet

import (
	"bytes"
	"errors"
	"io"
	"iter"

	"evnet/internal/eventloop"
)

// chunks is one range over Socket.Chunks, or what a BlockingConn reads. The socket's mu guards it.
type chunks struct {
	member eventloop.Member // of chunksHandle
	asked  bool             // the goroutine waits for a chunk
	p      []byte           // the chunk it has been given
	text   bool             // p was decoded
	err    error            // why there will be no more: io.EOF at the peer's end
	ready  chan struct{}    // p or err is there
}

// Chunks gives what the socket receives to code on a goroutine of its own: each step of the range
// blocks until a chunk has come, and nothing more is read before the next step, so that a slow
// goroutine holds the peer back. A chunk belongs to the receiver; with an encoding set it is text. No
// Data is emitted. Range before Connect too: it waits for the connection, as it waits while the socket
// is paused and while the loop is not running.
//
// The range ends when the peer has ended and everything was taken, at once if that was before. If the
// socket fails or is destroyed, it yields nil and the cause, Err or ErrDestroyed, once, and ends; if
// the loop ends while the socket is not connected, ErrLoopStopped. In a callback, where waiting would
// stop the loop that it waits for, it yields ErrOnLoop; with another consumer, ErrConsumed, and the
// socket is not harmed.
//
// Leaving the range leaves the socket open: it holds what comes, and a second range or another
// consumer goes on from there. Close the socket when you are done with it. Node, where leaving
// destroys the socket: its async iteration.
func (s *Socket) Chunks() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if s.loop().OnLoop() {
			yield(nil, ErrOnLoop)
			return
		}
		c, err := s.beginChunks()
		if err == nil {
			defer s.leaveChunks(c)
		}
		for err == nil {
			var p []byte
			if p, err = s.nextChunk(c); err == nil && !yield(p, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, err)
		}
	}
}

// beginChunks makes the caller the consumer, or returns why no data will arrive.
func (s *Socket) beginChunks() (*chunks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.in.ended:
		return nil, io.EOF
	case s.destroyed:
		return nil, s.readersCause()
	}
	if err := s.consumed("Chunks"); err != nil {
		return nil, err
	}
	c := &chunks{ready: make(chan struct{}, 1)}
	if !s.registered && !s.loop().Add(chunksHandle{s, c}, &c.member, false) {
		return nil, ErrLoopStopped
	}
	s.in.own()
	s.in.chunks = c
	s.consumerAdded()
	return c, nil
}

// nextChunk waits for a chunk, or for the reason why there is none.
func (s *Socket) nextChunk(c *chunks) ([]byte, error) {
	s.mu.Lock()
	var ready <-chan struct{}
	if c.err == nil {
		ready = s.requestChunkLocked(c)
	}
	s.mu.Unlock()
	if ready != nil {
		<-ready
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := c.p; p != nil {
		c.p = nil
		return p, nil
	}
	return nil, c.err
}

// requestChunkLocked requests the next chunk and returns the channel to wait on. s.mu is held.
func (s *Socket) requestChunkLocked(c *chunks) <-chan struct{} {
	c.asked = true
	s.updateReading()
	if s.in.deliverable() || s.in.eof {
		s.scheduleFlow()
	}
	return c.ready
}

// giveChunk passes a chunk to the goroutine: p itself if it was decoded, else a copy. It runs on the loop.
func (s *Socket) giveChunk(c *chunks, p []byte, decoded bool) {
	s.trace(TraceEvent{Name: EventData, Chunk: p})
	if !decoded {
		p = bytes.Clone(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.err != nil {
		s.putBack(p, decoded) // Relay is the next consumer, if the socket was not destroyed
		return
	}
	c.p, c.text = p, decoded
	c.wake()
}

// wake wakes the goroutine if it waits. The socket's mu is held.
func (c *chunks) wake() {
	if c.asked {
		c.asked = false
		c.ready <- struct{}{}
	}
}

// endChunks ends the range or the reading with err. s.mu is held.
func (s *Socket) endChunks(err error) {
	if c := s.in.chunks; c != nil {
		s.in.chunks = nil
		c.err = err
		c.wake()
		s.consumerRemoved()
	}
}

// reclaimChunk puts back the chunk that the goroutine has not taken yet. s.mu is held.
func (s *Socket) reclaimChunk() {
	if c := s.in.chunks; c != nil && len(c.p) > 0 {
		s.putBack(c.p, c.text)
		c.p = nil
	}
}

// leaveChunks ends the range. Another consumer may follow.
func (s *Socket) leaveChunks(c *chunks) {
	s.loop().Remove(&c.member)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.chunks == c {
		s.in.chunks = nil
		s.consumerRemoved()
		s.scheduleFlow() // an end that has waited for the next step
	}
}

// cause is the error for goroutines that wait for a destroyed socket. s.mu is held.
func (s *Socket) cause() error {
	if err := s.opt().err; err != nil {
		return err
	}
	return ErrDestroyed
}

// readersCause is cause for readers. If the program has destroyed the socket with io.EOF, it is another error: readers
// would take io.EOF for the end of the peer. s.mu is held.
func (s *Socket) readersCause() error {
	err := s.cause()
	if errors.Is(err, io.EOF) {
		return wrappedError{"evnet: socket is destroyed: " + err.Error(), io.ErrUnexpectedEOF}
	}
	return err
}

// chunksHandle is the handle of a range over the chunks of a socket that is not open. It ends the range when the loop ends.
type chunksHandle struct {
	s *Socket
	c *chunks
}

func (a chunksHandle) Halt() {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if !a.s.registered && a.s.in.chunks == a.c {
		a.s.endChunks(ErrLoopStopped)
	}
	a.s.loop().Remove(&a.c.member)
}
