package evnet

import (
	"evnet/internal/text"
	"io"
	"slices"
)

// maxChunk is the maximum size of the chunk of one Data event, as in Node.
const maxChunk = 64 << 10

// flowMode says what happens to received data.
type flowMode uint8

const (
	undecided flowMode = iota // no consumer was added yet: one chunk is read and buffered
	flowing                   // data is delivered, or discarded if there is no consumer
	paused                    // data stays in the kernel
	unpiped                   // the last pipe was removed: like undecided, but a new consumer does not start the flow
)

// inbound is the receiving side of a socket. The socket's mu guards it.
type inbound struct {
	*receiveBuffer // shared by sockets that buffer nothing: call own before each change

	bytes         int64
	onRead        func([]byte) bool
	mode          flowMode
	started       bool // begin was called
	eof           bool // the peer's end was read
	ended         bool // End was emitted
	queued        bool // flow is among the loop's posted tasks
	deferDelivery bool // Unshift was called: delivery waits for that task
	yielded       bool // the socket has used its share of this turn: delivery continues in the next
	joining       bool // Relay has ended the consumer and is about to become the next one
}

// receiveBuffer is the state that a socket needs unless each chunk goes to OnRead or Data as it arrives.
type receiveBuffer struct {
	text []byte // buffered and decoded, delivered before raw; empty without a decoder
	raw  []byte // buffered as received

	source         []byte // the received bytes of text, and of what the decoder holds back
	sourceBorrowed bool   // ... valid until keepSource
	decoded        int    // the length of the text decoded from source, of which text is the end; or unknownSource

	encoding Encoding
	decoder  text.Decoder

	// The consumers, except OnRead and the Data listeners.
	pipes   []*pipe
	blocked int // the number of pipes whose destination needs to drain
	budget  budget
	counted int  // buffered bytes that the loop's total includes
	crowded bool // held back: the loop buffers too much, and the socket more than its share
	scan    *scan
	chunks  *chunks

	// The state while Scan processes a chunk that is borrowed from the transport.
	borrowed    []byte // the part of the chunk, from borrowedAt on, that is not in raw yet
	borrowedAt  int    // the offset in borrowed
	joined      int    // how many bytes at the end of raw are copies of those before borrowedAt
	rawBorrowed bool   // raw itself is a slice of the chunk
	atEnd       bool   // the peer's end is due: split is called with atEOF
}

var emptyReceiveBuffer receiveBuffer // never changed

// own gives the socket a receiveBuffer of its own, which may be changed.
func (in *inbound) own() {
	if in.receiveBuffer == &emptyReceiveBuffer {
		in.receiveBuffer = &receiveBuffer{}
	}
}

// buffered returns the number of bytes that were read and not delivered.
func (in *inbound) buffered() int {
	return len(in.text) + len(in.raw) + len(in.borrowed) - in.borrowedAt
}

// deliverable reports whether there is data to deliver. There is none while Scan needs more data, or while the next call
// of its split function is deferred.
func (in *inbound) deliverable() bool {
	if in.scan == nil {
		return in.buffered() > 0
	}
	sc := in.scan
	return in.buffered() > sc.seen && (in.eof || in.buffered() > sc.seen+sc.wait) || in.atEnd && !sc.done
}

// canDeliverLocked reports whether data may be delivered now. s.mu is held.
func (s *Socket) canDeliverLocked() bool {
	in := &s.in
	return in.started && in.mode == flowing && in.blocked == 0 && !s.out.closeAfter && !in.deferDelivery && !in.yielded &&
		!in.crowded && !in.joining && (in.chunks == nil || in.chunks.requested)
}

// scheduleFlowLocked makes the loop run flow after the running callback. s.mu is held.
func (s *Socket) scheduleFlowLocked() {
	if s.stream.IsOpen() && s.in.started && !s.in.queued {
		s.in.queued = true
		s.loop().Post(func() {
			s.mu.Lock()
			s.in.queued, s.in.deferDelivery = false, false
			s.mu.Unlock()
			s.flow()
		})
	}
}

// updateReadingLocked makes the stream read, or stop reading, as the state requires. s.mu is held.
func (s *Socket) updateReadingLocked() {
	in := &s.in
	s.countReceivedLocked()
	if !s.stream.IsOpen() || !in.started {
		return
	}
	s.crowdLocked()
	if s.out.failed {
		s.updateRestLocked()
		return
	}
	s.stream.SetReading(!in.eof && (s.out.closeAfter ||
		!in.deliverable() && (in.mode == undecided || in.mode == unpiped || s.canDeliverLocked())))
}

// endDueLocked reports whether End can be emitted now. s.mu is held.
func (s *Socket) endDueLocked() bool {
	in := &s.in
	return s.stream.IsOpen() && in.started && in.eof && !in.ended && !s.out.closeAfter && !in.deliverable() &&
		in.mode != paused && in.blocked == 0 && (in.chunks == nil || in.chunks.requested)
}

// peerEnded emits End once all data was consumed. It runs on the loop.
func (s *Socket) peerEnded() {
	s.mu.Lock()
	if s.endDueLocked() && s.in.decoder != nil {
		// The bytes left in the decoder become the last chunk. It may have to wait for a consumer, and its
		// listeners may pause or destroy the socket.
		if tail := s.in.decoder.End(nil); len(tail) > 0 {
			s.in.text, s.in.decoded = append(s.in.text, tail...), unknownSource
			s.scheduleFlowLocked()
		}
	}
	if s.endDueLocked() && s.in.scan != nil && !s.in.atEnd {
		s.in.atEnd = true // Scan can treat its buffered data as complete
		s.scheduleFlowLocked()
	}
	if !s.endDueLocked() {
		s.mu.Unlock()
		return
	}
	s.in.ended = true
	s.stream.NotePeerEnd()
	if s.in.atEnd {
		s.in.atEnd = false
	}
	s.closingPhaseLocked()
	s.endChunksLocked(io.EOF)
	pipes := s.in.pipes
	s.mu.Unlock()

	s.emitEnd()
	for _, l := range pipes {
		l.end()
	}
	s.mu.Lock()
	if !s.halfOpen && !s.out.ending && s.stream.IsOpen() {
		s.loop().Post(s.End)
	}
	if s.out.failed {
		s.updateReadingLocked() // the failure is due
	}
	s.mu.Unlock()
	s.bothEnded()
}

// discardReceivedLocked ends the delivery of data because Close was called. What the socket still reads is discarded: a
// peer whose writes stall might never read what is still to be sent. s.mu is held.
func (s *Socket) discardReceivedLocked() {
	if s.destroyed || s.out.closeAfter {
		return
	}
	s.out.closeAfter = true
	s.leaveDeferredLocked()
	s.dropChunkLocked()
	if in := &s.in; in.receiveBuffer != &emptyReceiveBuffer {
		in.text = nil
		in.forgetRaw()
		in.rescan()
	}
	if s.in.eof {
		s.stream.NotePeerEnd()
	}
	s.updateReadingLocked()
}

// Pause stops the flow until Resume: the socket neither reads nor delivers data, and does not detect
// the peer's end. Received bytes stay in the kernel, and TCP flow control holds the peer back.
//
// On Unix systems a *net.TCPConn or *net.UnixConn still detects a reset, unless unread bytes precede
// it. A conn without read deadlines may read one more chunk, which the socket buffers.
//
// Node: socket.pause.
func (s *Socket) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.mode = paused
	s.updateReadingLocked()
}

// Resume starts the flow: after Pause, after PauseOnConnect, or if no consumer was added yet. Without
// a consumer, the data is discarded.
//
// Node: socket.resume.
func (s *Socket) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.mode = flowing
	s.scheduleFlowLocked()
}

// Unshift puts a copy of p back in front of the data that is still to be delivered. The consumer gets
// it on the next turn of the loop, before the peer's End is emitted. p is delivered as given: if an
// encoding is set, p counts as decoded text. BytesRead does not count it.
//
// Unshift may be called in any callback, also of Data, OnRead and Scan. It may be called before the
// socket is connected: p then precedes the data of the peer.
//
// After End was emitted, Unshift returns ErrUnshiftAfterEnd; on a destroyed socket, ErrDestroyed. It
// changes nothing in these cases. After Close, p is discarded.
//
// Node: readable.unshift, which destroys the socket if it is called after End.
func (s *Socket) Unshift(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	switch {
	case in.ended:
		return ErrUnshiftAfterEnd
	case s.destroyed:
		return ErrDestroyed
	case len(p) == 0 || s.out.closeAfter:
		return nil
	}
	if in.own(); in.decoder != nil {
		in.text, in.decoded = slices.Concat(p, in.text), unknownSource
	} else {
		raw := slices.Concat(p, in.raw, in.borrowed[in.borrowedAt:])
		in.forgetRaw()
		in.raw = raw
	}
	in.rescan()
	s.updateReadingLocked()
	s.scheduleFlowLocked()
	in.deferDelivery = in.queued
	return nil
}
