package evnet

import (
	"bytes"
	"errors"
	"io"
	"iter"

	"evnet/internal/eventloop"
)

// chunks is the state of one range over Socket.Chunks, or of the reading of a BlockingConn. The socket's mu guards it.
type chunks struct {
	member    eventloop.Member // of chunksHandle
	requested bool             // the goroutine waits for a chunk
	p         []byte           // the chunk for the goroutine
	text      bool             // p was decoded
	err       error            // why no more chunks follow: io.EOF at the peer's end
	ready     chan struct{}    // signals that p or err is set
}

// Chunks returns an iterator over the data that the socket receives, for code on a goroutine of its
// own. Each step of the range blocks until a chunk has arrived. Nothing more is read before the next
// step, so a slow goroutine holds the peer back. No Data is emitted. The range may begin before
// Connect: it waits for the connection. It also waits while the socket is paused and while the loop is
// not running.
//
// A chunk belongs to the receiver. If an encoding is set, it is text.
//
// The range ends when the peer has ended and all data was taken, immediately if that was before. In
// these cases it yields nil and an error once, and ends:
//
//   - The socket fails, is closed or is destroyed: the cause, which is Err or ErrDestroyed.
//   - The loop ends while the socket is not connected: ErrLoopStopped.
//   - The range begins in a callback, where waiting would block the loop that it waits for: ErrOnLoop.
//   - The socket has another consumer: ErrConsumed. This does not affect the socket.
//
// The socket stays open when the program leaves the range. It buffers incoming data, and a second
// range or another consumer continues from there. Close the socket when it is no longer needed.
//
// Node: the async iteration of a socket, which destroys the socket when it is left.
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

// beginChunks makes the caller the consumer, or returns why no data will follow.
func (s *Socket) beginChunks() (*chunks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.in.ended:
		return nil, io.EOF
	case s.destroyed:
		return nil, s.readersCauseLocked()
	}
	if err := s.consumedLocked("Chunks"); err != nil {
		return nil, err
	}
	c := &chunks{ready: make(chan struct{}, 1)}
	if !s.registered && !s.loop().Add(chunksHandle{s, c}, &c.member, false) {
		return nil, ErrLoopStopped
	}
	s.in.own()
	s.in.chunks = c
	s.consumerAddedLocked()
	return c, nil
}

// nextChunk waits for a chunk, or returns why no more follow.
func (s *Socket) nextChunk(c *chunks) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.err == nil {
		ready := s.requestChunkLocked(c)
		s.mu.Unlock()
		<-ready
		s.mu.Lock()
		if p := c.p; p != nil { // otherwise Close has discarded it, or there is an error
			c.p = nil
			s.forgetChunkSourceLocked(c)
			return p, nil
		}
	}
	return nil, c.err
}

// requestChunkLocked requests the next chunk and returns the channel to wait on. s.mu is held.
func (s *Socket) requestChunkLocked(c *chunks) <-chan struct{} {
	c.requested = true
	s.updateReadingLocked()
	if s.in.deliverable() || s.in.eof {
		s.scheduleFlowLocked()
	}
	return c.ready
}

// giveChunk gives a chunk to the goroutine: p itself if it was decoded, otherwise a copy. It runs on the loop.
func (s *Socket) giveChunk(c *chunks, p []byte, decoded bool) {
	s.trace(TraceEvent{Name: EventData, Chunk: p})
	if !decoded {
		p = bytes.Clone(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.err != nil {
		s.putBackLocked(p, decoded) // Relay is the next consumer, if the socket was not destroyed
		return
	}
	if s.out.closeAfter {
		return
	}
	c.p, c.text = p, decoded
	c.wake()
}

// forgetChunkSourceLocked discards the bytes of a chunk of text that the goroutine has taken. s.mu is held.
func (s *Socket) forgetChunkSourceLocked(c *chunks) {
	if c.text && len(s.in.text) == 0 {
		s.in.forgetSource()
	}
}

// wake wakes the goroutine if it waits. The socket's mu is held.
func (c *chunks) wake() {
	if c.requested {
		c.requested = false
		c.ready <- struct{}{}
	}
}

// endChunksLocked ends the range, or the reading of a BlockingConn, with err. s.mu is held.
func (s *Socket) endChunksLocked(err error) {
	if c := s.in.chunks; c != nil {
		s.in.chunks = nil
		c.err = err
		c.wake()
		s.consumerRemovedLocked()
	}
}

// reclaimChunkLocked puts back the chunk that the goroutine has not taken yet. s.mu is held.
func (s *Socket) reclaimChunkLocked() {
	if c := s.in.chunks; c != nil && len(c.p) > 0 {
		s.putBackLocked(c.p, c.text)
		c.p = nil
	}
}

// dropChunkLocked discards the chunk, or the rest of it, that a goroutine has not taken yet. s.mu is held.
func (s *Socket) dropChunkLocked() {
	if c := s.in.chunks; c != nil {
		c.p = nil
	}
	if c := s.opt().blocking; c != nil && len(c.in.p) > 0 {
		if c.in.p = nil; c.in.err == io.EOF {
			c.in.err = ErrDestroyed // the bytes before the peer's end were not delivered
		}
	}
}

// leaveChunks ends the range when the program leaves it. Another consumer may follow.
func (s *Socket) leaveChunks(c *chunks) {
	s.loop().Remove(&c.member)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.chunks == c {
		s.in.chunks = nil
		s.consumerRemovedLocked()
		s.scheduleFlowLocked() // the peer's end may have waited for the next step
	}
}

// causeLocked returns the error for goroutines that wait for a destroyed socket. s.mu is held.
func (s *Socket) causeLocked() error {
	if err := s.opt().err; err != nil {
		return err
	}
	return ErrDestroyed
}

// readersCauseLocked is cause for readers. If the program has destroyed the socket with io.EOF, it returns another error, since
// readers would mistake io.EOF for the peer's end. s.mu is held.
func (s *Socket) readersCauseLocked() error {
	err := s.causeLocked()
	if errors.Is(err, io.EOF) {
		return wrappedError{"evnet: socket is destroyed: " + err.Error(), io.ErrUnexpectedEOF}
	}
	return err
}

// chunksHandle is the loop's handle of a range over the chunks of a socket that is not open. It ends the range when the
// loop ends.
type chunksHandle struct {
	s *Socket
	c *chunks
}

func (a chunksHandle) Halt() {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if !a.s.registered && a.s.in.chunks == a.c {
		a.s.endChunksLocked(ErrLoopStopped)
	}
	a.s.loop().Remove(&a.c.member)
}
