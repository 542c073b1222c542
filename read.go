package evnet

import (
	"bytes"
	"errors"
	"io"
	"runtime/debug"
	"syscall"
)

// flowMode is what becomes of data.
type flowMode uint8

const (
	undecided flowMode = iota // nobody has asked for it: one chunk is held
	flowing                   // it is delivered, or dropped if there is no consumer
	paused                    // it waits in the kernel
)

// inbound is the receiving half of a socket. The socket's mu guards it.
type inbound struct {
	mode    flowMode
	blocked int    // destinations of Pipe that need to drain
	started bool   // begin was called
	text    []byte // held and decoded, before raw
	raw     []byte // held as it came
	bytes   int64
	eof     bool // the peer's end was read
	ended   bool // End was emitted
	queued  bool // flow is among the loop's ticks

	encoding Encoding
	decoder  decoder
	onRead   func([]byte) bool
	pipes    []*pipe
}

// received takes what the transport has read; the bytes are borrowed. It runs on the loop.
func (s *Socket) received(t *transport, p []byte, err error) {
	s.mu.Lock()
	if t.broken != nil && err != nil && s.tr == t {
		if !errors.Is(err, syscall.ECONNRESET) {
			err = t.broken
		}
		s.destroyLocked(err, false)
		return
	}
	if s.tr != t || s.out.failed && t.broken == nil {
		s.mu.Unlock()
		return
	}
	s.in.bytes += int64(len(p))
	s.touch()
	eof := err == io.EOF || err != nil && s.out.endSent && !t.halfCloses()
	s.in.eof = eof
	hold := len(p) > 0 && !s.delivering()
	if hold {
		s.in.raw = append(s.in.raw, p...)
	}
	s.mu.Unlock()
	if len(p) > 0 && !hold {
		s.deliver(p, false)
	}
	if err != nil && !eof {
		s.mu.Lock()
		if s.tr != t {
			s.mu.Unlock()
			return
		}
		s.destroyLocked(err, false)
		return
	}
	s.flow()
}

// delivering reports whether data goes to the consumer as it comes. s.mu is held.
func (s *Socket) delivering() bool {
	return s.in.mode == flowing && s.in.blocked == 0 && len(s.in.text)+len(s.in.raw) == 0
}

// flow delivers what is held, if somebody wants it, and then the peer's end, or lets more come. It
// runs on the loop.
func (s *Socket) flow() {
	s.mu.Lock() // not by defer: a consumer may panic while it is released
	in := &s.in
	in.queued = false
	for s.tr != nil && in.mode == flowing && in.blocked == 0 && len(in.text)+len(in.raw) > 0 {
		p, decoded := in.text, true
		if len(p) > 0 {
			in.text = nil
		} else {
			p, decoded = in.raw, false
			in.raw = nil
		}
		s.mu.Unlock()
		s.deliver(p, decoded)
		s.mu.Lock()
	}
	s.updateReading()
	if s.endDue() {
		s.loop.tick(s.peerEnded)
	}
	s.mu.Unlock()
}

// scheduleFlow makes flow run after the running callback. s.mu is held.
func (s *Socket) scheduleFlow() {
	if s.tr != nil && s.in.started && !s.in.queued {
		s.in.queued = true
		s.loop.tick(s.flow)
	}
}

// updateReading asks the transport for data, or not. s.mu is held.
func (s *Socket) updateReading() {
	in := &s.in
	if s.tr == nil || !in.started {
		return
	}
	s.tr.setReading(!in.eof && len(in.text)+len(in.raw) == 0 &&
		(in.mode == undecided || in.mode == flowing && in.blocked == 0))
}

// deliver gives one chunk to the consumer; p is borrowed.
func (s *Socket) deliver(p []byte, decoded bool) {
	s.mu.Lock()
	onRead, dec, pipes := s.in.onRead, s.in.decoder, s.in.pipes
	s.mu.Unlock()
	if onRead != nil {
		s.loop.current = s
		more := onRead(p)
		if scribble {
			for i := range p {
				p[i] = 0xDB
			}
		}
		if !more {
			s.Pause()
		}
		return
	}
	if dec != nil && !decoded {
		s.mu.Lock()
		p = s.in.decoder.write(nil, p) // under the lock: SetEncoding uses it from any goroutine
		s.mu.Unlock()
		if len(p) == 0 {
			return
		}
		decoded = true
	}
	s.emitData(p, decoded)
	for _, l := range pipes {
		l.write(p)
	}
}

// emitData hands the listeners a chunk of their own. p is copied, unless it is owned and no
// destination of Pipe still wants it.
func (s *Socket) emitData(p []byte, owned bool) {
	s.trace(EventData, p)
	s.mu.Lock()
	copied := !owned || len(s.in.pipes) > 0
	s.mu.Unlock()
	chunk := p
	for fn := range emitting(s, func(t *socketEvents) *event[func([]byte)] { return &t.data }) {
		if copied {
			chunk, copied = bytes.Clone(p), false
		}
		fn(chunk)
	}
}

// scribble overwrites what OnRead has borrowed once it returns, in a program built with the race
// detector, so that a slice kept too long shows at once.
var scribble = func() bool {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, set := range info.Settings {
			if set.Key == "-race" {
				return set.Value == "true"
			}
		}
	}
	return false
}()

// endDue reports whether End is to be emitted. s.mu is held.
func (s *Socket) endDue() bool {
	in := &s.in
	return s.tr != nil && in.started && in.eof && !in.ended && len(in.text)+len(in.raw) == 0 &&
		in.mode != paused && in.blocked == 0
}

// peerEnded emits End once everything was consumed. It runs on the loop.
func (s *Socket) peerEnded() {
	s.mu.Lock()
	if s.endDue() && s.in.decoder != nil {
		// What the decoder still holds is the last chunk: it may find the socket unread, and
		// its listeners may pause or destroy.
		if tail := s.in.decoder.end(nil); len(tail) > 0 {
			s.in.text = tail
			s.scheduleFlow()
		}
	}
	if !s.endDue() {
		s.mu.Unlock()
		return
	}
	s.in.ended = true
	s.closingPhase()
	pipes := s.in.pipes
	s.mu.Unlock()

	s.emitEnd()
	for _, l := range pipes {
		l.end()
	}
	s.mu.Lock()
	if !s.halfOpen && !s.out.ending && s.tr != nil {
		s.loop.tick(s.End)
	}
	s.mu.Unlock()
	s.bothEnded()
}

// consumerAdded starts the flow when the first consumer comes.
func (s *Socket) consumerAdded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.mode == undecided {
		s.in.mode = flowing
		s.scheduleFlow()
	}
}

// consumerGone stops the flow when the last consumer has gone: Node would drop what comes now.
func (s *Socket) consumerGone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in.mode == flowing && s.in.onRead == nil && len(s.in.pipes) == 0 &&
		(s.events == nil || s.events.data.count() == 0) {
		s.in.mode = undecided
		s.updateReading()
	}
}

// Pause stops the flow: no more data is delivered or read until Resume, nor is the peer's end or
// reset noticed; bytes wait in the kernel, and the peer is held back by TCP. A conn without read
// deadlines may bring one chunk more, which is held. Node: socket.pause.
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

// OnRead makes fn the one consumer of what comes, as it came, without a copy: p is borrowed, valid
// until fn returns; under the race detector it is overwritten then. No Data is emitted, nothing is
// decoded or piped. fn runs on the loop; when it returns false the socket is paused. nil undoes it.
// Node: the onread option.
func (s *Socket) OnRead(fn func(p []byte) bool) {
	s.mu.Lock()
	s.in.onRead = fn
	s.mu.Unlock()
	if fn == nil {
		s.consumerGone()
	} else {
		s.consumerAdded()
	}
}

// SetEncoding makes Data deliver text: whole characters, decoded to UTF-8 (for hex and base64, the
// digits), never half a character; what is left at the end comes before End. What is held already
// is decoded too. Names are those of Node, in any case; "" is utf8. With an unknown name it returns
// an error that is ErrUnknownEncoding and changes nothing. It cannot be undone; a second call first
// flushes what the first left incomplete. Node: socket.setEncoding.
func (s *Socket) SetEncoding(e Encoding) error {
	name, err := e.canonical()
	if err != nil {
		return err
	}
	dec, err := newDecoder(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	if in.decoder != nil {
		in.text = in.decoder.end(in.decoder.write(in.text, in.raw))
	} else {
		in.text = dec.write(in.text, in.raw)
	}
	in.raw = nil
	in.decoder, in.encoding = dec, name
	s.scheduleFlow()
	return nil
}

// Encoding is what SetEncoding has set, "" if nothing. Node: socket.readableEncoding.
func (s *Socket) Encoding() Encoding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.encoding
}
