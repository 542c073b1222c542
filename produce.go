package evnet

import (
	"errors"
	"log/slog"
	"math"
)

// producer is the source of chunks that Produce has set.
type producer struct {
	next    func() (chunk []byte, more bool)
	done    func(error)
	calling bool // next is running; guarded by the socket's mu

	// Used only on the loop.
	budget  budget
	yielded bool // continues in the next turn
}

// Produce writes the chunks that next returns, at the pace of the peer. It calls next while NeedDrain is false, and
// again after each Drain. When more is false, chunk is the last one and may be empty. Any other empty chunk writes nothing,
// and next is called again. The socket stays open: call End in done.
//
// Produce stops when the socket ends. A loop that calls Write itself must check the error for that.
//
// next runs on the loop, never before Produce has returned. It may call every method, but must not block: for a file,
// use ReadFrom. If the calls take longer than the socket's share of a turn, about 1 ms, the rest follows in the next turn.
// Any goroutine may call Produce. Other writes may be sent between two chunks.
//
// The bytes are copied as in Write, so next may reuse the memory of its last chunk. As with Pipe, MaxWriteBuffer may be
// exceeded by one chunk.
//
// done, which may be nil, runs on the loop once, after the last call of next and before Close, in the order of the
// callbacks of WriteThen. Its argument is nil once the kernel has accepted every chunk. Otherwise it is ErrWriteAfterEnd
// after End or the automatic end, ErrSocketClosed before Connect, or the cause that destroyed the socket, ErrDestroyed if
// there is none.
//
// A socket has one producer at a time. Until next has returned false, a further call is refused with ErrProducing, which
// done gets. A nil next is refused with ErrNilArgument. If done is nil, these errors, ErrWriteAfterEnd and ErrSocketClosed are
// logged.
//
// Node: stream.Readable.from(iterable).pipe(socket, { end: false }).
func (s *Socket) Produce(next func() (chunk []byte, more bool), done func(error)) {
	if done == nil {
		done = s.logProduction
	}
	s.mu.Lock()
	refused := s.addProducerLocked(&producer{next: next, done: done})
	s.mu.Unlock()
	if refused != nil {
		s.loop().Post(func() {
			s.loop().SetOwner((*handle)(s))
			done(refused)
		})
	}
}

// logProduction logs the result of a producer without done, unless it is a failure of the socket, which Error reports.
func (s *Socket) logProduction(err error) {
	for _, misuse := range []error{ErrProducing, ErrNilArgument, ErrWriteAfterEnd, ErrSocketClosed} {
		if errors.Is(err, misuse) {
			if r, ok := s.set.record(slog.LevelWarn); ok {
				r.Write("evnet: producer was stopped", "err", err, "remote", s.RemoteAddr())
			}
		}
	}
}

// addProducerLocked starts p. It returns an error if the call is wrong; p reports that the socket has ended. s.mu is held.
func (s *Socket) addProducerLocked(p *producer) error {
	switch {
	case p.next == nil:
		return nilArgument("Produce", "function")
	case s.opt().producer != nil:
		return ErrProducing
	}
	if err := s.writeErrorLocked(false); err != nil {
		s.endProducerLocked(p, err)
		return nil
	}
	s.makeOpt().producer = p
	s.loop().Post(s.produce)
	return nil
}

// produce writes the chunks of the producer until the socket needs to drain, has used its share of the turn, or has
// ended. It runs on the loop.
func (s *Socket) produce() {
	s.mu.Lock()
	p := s.opt().producer
	s.mu.Unlock()
	if p == nil || p.yielded {
		return
	}
	for s.mayProduce(p) {
		s.loop().SetOwner((*handle)(s))
		chunk, more := p.next() // a panic destroys the socket
		s.produced(p, chunk, more)
	}
}

// mayProduce reports whether next is to be called now.
func (s *Socket) mayProduce(p *producer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opt().producer != p:
	case s.needsDrainLocked():
	case p.budget.spend(s.set.Loop, heavyCall):
		p.yielded = true
		s.loop().Yield(func() {
			p.yielded = false
			s.produce()
		})
	default:
		p.calling = true
		return true
	}
	return false
}

// produced writes the result of next.
func (s *Socket) produced(p *producer, chunk []byte, more bool) {
	s.mu.Lock()
	p.calling = false
	var e *ending
	var err error
	if len(chunk) > 0 || more {
		_, e, err = s.writeLocked(chunk, nil, true)
	}
	if s.opt().producer == p && (err != nil || !more) { // otherwise next or a failed write has destroyed the socket
		s.endProducerLocked(p, err)
	}
	s.mu.Unlock()
	e.run()
}

// endProducerLocked ends p and has its result reported: err, or nil once the conn has accepted every chunk. s.mu is held.
func (s *Socket) endProducerLocked(p *producer, err error) {
	if r := s.optional; r != nil && r.producer == p {
		r.producer = nil
	}
	s.out.own()
	s.out.callbacks.Push(writeCallback{end: s.stream.Accepted(), err: err, done: p.done})
	s.scheduleCallbacksLocked()
}

// destroyProducerLocked ends the producer of a socket that is being destroyed. The callbacks of its writes, which run
// before Close, report the cause. s.mu is held.
func (s *Socket) destroyProducerLocked() {
	if p := s.opt().producer; p != nil {
		s.optional.producer = nil
		s.out.own()
		s.out.callbacks.Push(writeCallback{end: math.MaxInt64, done: p.done})
	}
}

// resumeProducerLocked makes the producer, if there is one, continue because the socket has drained. s.mu is held.
func (s *Socket) resumeProducerLocked() {
	if s.opt().producer != nil {
		s.loop().Post(s.produce)
	}
}

// stopProducerLocked ends the producer, if there is one, because this side has ended. If End was called by next, the
// result of next decides: only a further chunk is an error. s.mu is held.
func (s *Socket) stopProducerLocked() {
	if p := s.opt().producer; p != nil && !p.calling {
		s.endProducerLocked(p, ErrWriteAfterEnd)
	}
}
