package evnet

import (
	"bytes"
	"io"
	"slices"

	"evnet/internal/eventloop"
	"evnet/internal/race"
	"evnet/internal/transport"
)

// This file passes received bytes from the stream to a consumer.

// If more than a few sockets are ready, a socket with a decoder reads less at a time, because decoding takes several
// times as long as reading.
const (
	fewReady     = 16
	decodedChunk = 16 << 10
)

// Ready serves the stream after an event. It is a task of the loop.
func (h *handle) Ready(what eventloop.Events) {
	s := (*Socket)(h)
	if what&transport.Ended != 0 {
		s.finished()
		return
	}
	s.mu.Lock()
	if !s.stream.IsOpen() { // destroyed meanwhile
		s.mu.Unlock()
		return
	}
	var r transport.Report
	var a arrival
	s.stream.Serve(what, s.readLimitLocked(), s.splicesLocked(), &r)
	s.arrivedLocked(&r, &a)
	s.mu.Unlock()
	defer r.Release()
	s.deliverArrival(&r, &a)
}

// readLimitLocked returns the maximum number of bytes to read at a time. s.mu is held.
func (s *Socket) readLimitLocked() int {
	l := s.set.Loop
	limit := l.readSize()
	if s.in.decoder != nil && l.core().Ready() > fewReady {
		limit = min(limit, decodedChunk)
	}
	return limit
}

// arrival is the work that follows a report of the stream. The socket does it without its lock.
type arrival struct {
	end      *ending
	last     bool // nothing more is received, because a write has failed before
	sent     bool
	received bool
	direct   bool // the received data goes to the consumer without being buffered
	delivery delivery
	pipe     *pipe // gets the bytes of a splice pipe
	failure  error // of reading: the socket is destroyed after the delivery
	epoch    int32
}

// arrivedLocked processes a report of the stream, and sets a, which is zero, to the work that follows. s.mu is held.
func (s *Socket) arrivedLocked(r *transport.Report, a *arrival) {
	in := &s.in
	if r.Flags != 0 || s.out.upgradePending {
		s.noteSentLocked(r.Flags)
	}
	if a.sent = r.Flags&transport.Moved != 0; a.sent && s.stream.MayWrite() {
		s.settleLocked()
	}
	if s.out.room != nil && !s.out.needDrain && s.stream.MayWrite() { // a goroutine waits for room although no Drain is due
		s.roomChangedLocked()
	}
	switch {
	case r.Flags&transport.WriteFailed != 0:
		a.end = s.writeFailedLocked(r.Err, false)
		return
	case s.out.failed:
		a.last = s.noteRestLocked(r)
	}
	if r.IsEmpty() && !a.last {
		return
	}
	if !r.IsEmpty() {
		s.markActiveLocked()
	}
	if r.Pipe != nil {
		in.bytes += int64(r.Pipe.Len())
		a.pipe = in.pipes[0]
		return
	}
	in.bytes += int64(len(r.Data))
	if in.eof = r.Err == io.EOF; r.Err != nil && !in.eof {
		a.failure = r.Err
	}
	if in.eof && s.out.closeAfter {
		s.stream.NotePeerEnd()
	}
	a.received, a.epoch = true, s.epoch
	a.direct = s.canDeliverLocked() && !in.deliverable()
	switch {
	case len(r.Data) == 0 || s.out.closeAfter:
	case a.direct && in.scan != nil:
		in.borrow(r.Data)
		a.delivery.scans = true
	case a.direct:
		a.delivery = s.deliveryLocked(r.Data, false)
	default:
		in.own()
		in.raw = append(in.raw, r.Data...)
	}
}

// deliverArrival does the work that follows a report. It runs on the loop, without a lock.
func (s *Socket) deliverArrival(r *transport.Report, a *arrival) {
	if a.end != nil {
		a.end.run()
		return
	}
	if a.sent {
		s.runWriteCallbacks(-1)
	}
	switch {
	case a.pipe != nil:
		a.pipe.writePipe(r)
		return
	case !a.received:
		return
	}
	settled := a.direct && r.Err == nil && !a.last
	switch {
	case !a.direct || len(r.Data) == 0:
	case a.delivery.scans:
		s.scanBuffered()
		settled = false
	default:
		settled = s.deliver(&a.delivery) && settled
	}
	switch {
	case a.failure != nil:
		s.failReading(a.failure, a.epoch)
	case !settled || s.loop().IsCrowded(2):
		s.flow()
	}
}

// failReading destroys the socket after a failure to read.
func (s *Socket) failReading(err error, epoch int32) {
	s.scanBeforeFailure()
	s.mu.Lock()
	var e *ending
	if s.epoch == epoch && s.stream.IsOpen() {
		e = s.destroyLocked(s.readFailureLocked(err), false)
	}
	s.mu.Unlock()
	e.run()
}

// flow delivers the buffered data, if there is a consumer. Then it delivers the peer's end, or lets the stream read more.
// It runs on the loop.
func (s *Socket) flow() {
	for delivered := false; ; {
		d, ok := s.nextDelivery(delivered)
		switch {
		case !ok:
			return
		case d.scans:
			s.scanBuffered()
			delivered = false
		default:
			s.deliver(&d)
			delivered = true
		}
	}
}

// nextDelivery returns the next delivery of buffered data. after says that a delivery has just been made. If there is no
// data to deliver, nextDelivery starts or stops reading as needed, and schedules the peer's end if it is due.
func (s *Socket) nextDelivery(after bool) (d delivery, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	if after {
		s.crowdLocked()
		in.own()
		if in.budget.spend(s.set.Loop, heavyCall) && in.deliverable() && !in.yielded {
			s.yieldFlowLocked()
		}
	}
	if s.stream.IsOpen() && s.canDeliverLocked() && (in.deliverable() || s.scanDeferredLocked()) {
		p, decoded := in.text, true
		switch {
		case in.scan != nil:
			return delivery{scans: true}, true
		case len(p) > 0:
			in.text = nil
		default:
			p, decoded = in.raw, false
			in.raw = nil
		}
		return s.deliveryLocked(p, decoded), true
	}
	s.updateReadingLocked()
	if s.endDueLocked() {
		s.loop().Post(s.peerEnded)
	}
	return delivery{}, false
}

// delivery is one chunk with the consumers at the time when it was taken from the buffer.
type delivery struct {
	p         []byte // borrowed
	decoded   bool
	scans     bool // Scan is the consumer: it takes the chunk itself
	onRead    func([]byte) bool
	chunks    *chunks
	pipes     []*pipe
	listeners listeners
}

// deliveryLocked prepares the delivery of p. s.mu is held.
func (s *Socket) deliveryLocked(p []byte, decoded bool) delivery {
	in := &s.in
	if in.onRead == nil && in.decoder != nil && !decoded {
		in.forgetSource()
		if in.chunks != nil {
			in.noteDecoded(bytes.Clone(p), false) // the reader may not take the chunk, or only a part of it
		}
		p, decoded = in.decoder.Write(nil, p), true
		if in.chunks != nil {
			in.decoded = len(p)
		}
	}
	return delivery{p: p, decoded: decoded, onRead: in.onRead, chunks: in.chunks, pipes: in.pipes, listeners: s.events}
}

// deliver gives a chunk to its consumers, and reports whether all of it was consumed and nothing was put back. It runs on
// the loop, without a lock.
func (s *Socket) deliver(d *delivery) (settled bool) {
	switch {
	case d.onRead != nil:
		s.loop().SetOwner((*handle)(s))
		more := d.onRead(d.p)
		poison(d.p)
		if !more {
			s.Pause()
		}
	case len(d.p) == 0:
	case d.chunks != nil:
		s.giveChunk(d.chunks, d.p, d.decoded)
		return false
	default:
		if s.set.Loop.tracing() {
			s.trace(TraceEvent{Name: EventData, Chunk: d.p})
		}
		owned := d.decoded && len(d.pipes) == 0
		if s.emitData(d.listeners, d.p, owned) && len(d.pipes) == 0 {
			s.mu.Lock()
			s.putBackLocked(d.p, d.decoded)
			s.mu.Unlock()
			return false
		}
		for _, l := range d.pipes {
			l.write(d.p)
		}
	}
	return true
}

// putBackLocked buffers a chunk that could not be delivered because its consumer was removed meanwhile. s.mu is held.
func (s *Socket) putBackLocked(p []byte, decoded bool) {
	if s.out.closeAfter {
		return
	}
	s.in.own()
	if decoded || len(s.in.text) > 0 { // raw bytes follow the text
		if len(s.in.text) > 0 || len(p) > s.in.decoded {
			s.in.decoded = unknownSource
		}
		s.in.text = slices.Concat(p, s.in.text)
	} else {
		s.in.raw = slices.Concat(p, s.in.raw)
	}
}

// emitData gives the listeners a chunk that they own, and reports whether all of them were removed meanwhile. It copies p
// unless owned is true.
func (s *Socket) emitData(list listeners, p []byte, owned bool) (removed bool) {
	s.loop().SetOwner((*handle)(s))
	handled := false
	for _, e := range list {
		if e.kind != kindData {
			continue
		}
		if removed = !handled; !e.begin(s) {
			continue
		}
		if !owned {
			p, owned = bytes.Clone(p), true
		}
		handled, removed = true, false
		e.fn.(func([]byte))(p)
	}
	return removed
}

// poison overwrites borrowed bytes after the callback has returned, if the race detector is enabled, so that the misuse of
// a slice that was kept too long is noticed.
func poison(p []byte) {
	if race.Enabled {
		for i := range p {
			p[i] = 0xDB
		}
	}
}
