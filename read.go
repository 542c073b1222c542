package evnet

import (
	"evnet/internal/text"
	"io"
	"slices"
)

// maxChunk is the most that one Data event holds, as in Node.
const maxChunk = 64 << 10

// flowMode is what becomes of data.
type flowMode uint8

const (
	undecided flowMode = iota // nobody has asked for it: one chunk is held
	flowing                   // it is delivered, or dropped if there is no consumer
	paused                    // it waits in the kernel
	unpiped                   // the last pipe is gone: as undecided, but a new consumer does not change it
)

// inbound is the receiving half of a socket. The socket's mu guards it.
type inbound struct {
	*receiveBuffer // shared by those that hold nothing: own comes before each change

	bytes         int64
	onRead        func([]byte) bool
	mode          flowMode
	started       bool // begin was called
	eof           bool // the peer's end was read
	ended         bool // End was emitted
	queued        bool // flow is among the loop's ticks
	deferDelivery bool // Unshift was called: delivery waits for that tick
	yielded       bool // its share of this turn is used: delivery waits for an event
	joining       bool // Relay has ended the consumer, and is about to be the next
}

// receiveBuffer is what a socket needs that does not give every chunk to OnRead or Data as it comes.
type receiveBuffer struct {
	text []byte // held and decoded, before raw; nothing without a decoder
	raw  []byte // held as it came

	encoding Encoding
	decoder  text.Decoder

	// The consumers, besides OnRead and the listeners of Data.
	pipes   []*pipe
	blocked int // of them, those that need to drain
	budget  budget
	counted int  // in what the loop buffers
	crowded bool // the loop buffers too much, and of that the socket more than its share
	scan    *scan
	chunks  *chunks

	// While Scan looks at a chunk that the transport has lent.
	borrowed    []byte // what of it is not in raw yet
	borrowedAt  int    // where that begins
	joined      int    // how many bytes at the end of raw are copies of those before it
	rawBorrowed bool   // raw is itself a part of the chunk
	atEnd       bool   // the peer's end is due: split is told so
}

var emptyReceiveBuffer receiveBuffer // never changed

// own lets what is held be changed.
func (in *inbound) own() {
	if in.receiveBuffer == &emptyReceiveBuffer {
		in.receiveBuffer = &receiveBuffer{}
	}
}

// held is how many bytes have been read and wait for a consumer.
func (in *inbound) buffered() int {
	return len(in.text) + len(in.raw) + len(in.borrowed) - in.borrowedAt
}

// due reports whether there is data to deliver. Data is not if Scan needs more of it, or if the next call of its
// split function is deferred.
func (in *inbound) deliverable() bool {
	if in.scan == nil {
		return in.buffered() > 0
	}
	sc := in.scan
	return in.buffered() > sc.seen && (in.eof || in.buffered() > sc.seen+sc.wait) || in.atEnd && !sc.done
}

// wanted reports whether data may be delivered now.
func (in *inbound) canDeliver() bool {
	return in.started && in.mode == flowing && in.blocked == 0 && !in.deferDelivery && !in.yielded && !in.crowded && !in.joining && (in.chunks == nil || in.chunks.asked)
}

// scheduleFlow makes flow run after the running callback. s.mu is held.
func (s *Socket) scheduleFlow() {
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

// updateReading starts or stops the flow of data from the stream. s.mu is held.
func (s *Socket) updateReading() {
	in := &s.in
	s.countReceived()
	if !s.stream.IsOpen() || !in.started {
		return
	}
	s.crowd()
	s.stream.SetReading(!in.eof && !in.deliverable() && (in.mode == undecided || in.mode == unpiped || in.canDeliver()))
}

// endDue reports whether End is to be emitted. s.mu is held.
func (s *Socket) endDue() bool {
	in := &s.in
	return s.stream.IsOpen() && in.started && in.eof && !in.ended && !in.deliverable() && in.mode != paused &&
		in.blocked == 0 && (in.chunks == nil || in.chunks.asked)
}

// peerEnded emits End once everything was consumed. It runs on the loop.
func (s *Socket) peerEnded() {
	s.mu.Lock()
	if s.endDue() && s.in.decoder != nil {
		// What the decoder still holds is the last chunk: it may find the socket unread, and
		// its listeners may pause or destroy.
		if tail := s.in.decoder.End(nil); len(tail) > 0 {
			s.in.text = append(s.in.text, tail...)
			s.scheduleFlow()
		}
	}
	if s.endDue() && s.in.scan != nil && !s.in.atEnd {
		s.in.atEnd = true // what Scan holds is no longer unfinished
		s.scheduleFlow()
	}
	if !s.endDue() {
		s.mu.Unlock()
		return
	}
	s.in.ended = true
	s.stream.PeerEnded()
	if s.in.atEnd {
		s.in.atEnd = false
	}
	s.closingPhase()
	s.endChunks(io.EOF)
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
	s.mu.Unlock()
	s.bothEnded()
}

// Pause stops the flow: no more data is delivered or read until Resume, nor is the peer's end
// noticed; bytes wait in the kernel, and the peer is held back by TCP. A reset is noticed on a
// *net.TCPConn or *net.UnixConn of a Unix system, unless bytes that nobody has read are before it. A
// conn without read deadlines may bring one chunk more, which is held. Node: socket.pause.
func (s *Socket) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.mode = paused
	s.updateReading()
}

// Resume starts the flow, after Pause or PauseOnConnect or where nobody has asked for data yet.
// Without a consumer it means that data is thrown away. Node: socket.resume.
func (s *Socket) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.mode = flowing
	s.scheduleFlow()
}

// Unshift puts a copy of p back in front of what is still to be delivered: the consumer gets it on
// the next turn of the loop, and the peer's End waits until it has. It is delivered as given: with an
// encoding set it is taken for text. It may be called in any callback, also of Data, OnRead and Scan,
// and before the socket is connected: then p comes before what the peer sends. BytesRead does not
// count it.
//
// Once End was emitted it returns ErrUnshiftAfterEnd, on a destroyed socket ErrDestroyed, and does
// nothing else. Node, which destroys the socket then: readable.unshift.
func (s *Socket) Unshift(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	switch {
	case in.ended:
		return ErrUnshiftAfterEnd
	case s.destroyed:
		return ErrDestroyed
	case len(p) == 0:
		return nil
	}
	if in.own(); in.decoder != nil {
		in.text = slices.Concat(p, in.text)
	} else {
		raw := slices.Concat(p, in.raw, in.borrowed[in.borrowedAt:])
		in.forgetRaw()
		in.raw = raw
	}
	in.rescan()
	s.updateReading()
	s.scheduleFlow()
	in.deferDelivery = in.queued
	return nil
}
