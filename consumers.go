package evnet

import "fmt"

// Who gets what a socket receives: Data listeners and destinations of Pipe, any number of them
// together, or one of OnRead, Scan, Chunks and BlockingConn, alone.

// OnRead makes fn the one consumer of what comes, as it came, without a copy, and starts the flow
// unless the socket was paused. fn runs on the loop; when it returns false the socket is paused. p is
// borrowed, valid until fn returns; under the race detector it is overwritten then. No Data is
// emitted and nothing is decoded. A further call replaces fn, nil undoes it: the socket then holds
// what comes.
//
// With a Data listener, Pipe, Scan, Chunks or BlockingConn it returns ErrConsumed and changes nothing. Node: the
// onread option.
func (s *Socket) OnRead(fn func(p []byte) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fn == nil {
		if s.in.onRead != nil {
			s.in.onRead = nil
			s.consumerGone()
		}
		return nil
	}
	if err := s.consumed("OnRead"); err != nil {
		return err
	}
	s.in.onRead = fn
	s.consumerAdded()
	return nil
}

// consumed is why the method may not make a consumer, nil if it may. s.mu is held.
func (s *Socket) consumed(method string) error {
	alone := method != "On.Data" && method != "Pipe"
	by := ""
	switch {
	case s.in.onRead != nil && method != "OnRead":
		by = "OnRead"
	case s.in.scan != nil && method != "Scan":
		by = "Scan"
	case s.rare().blocking != nil && !s.destroyed:
		by = "BlockingConn"
	case s.in.chunks != nil:
		by = "Chunks"
	case alone && s.rare().relay != nil:
		by = "Relay"
	case alone && len(s.in.pipes) > 0:
		by = "Pipe"
	case alone && s.events.count(kindData) > 0:
		by = "On.Data"
	default:
		return nil
	}
	peer := ""
	if remote := s.remoteAddr(); remote != nil {
		peer = ", peer " + remote.String()
	}
	return fmt.Errorf("%w: %s is refused while %s is the consumer%s", ErrConsumed, method, by, peer)
}

// consumerAdded starts the flow when the first consumer comes. s.mu is held.
func (s *Socket) consumerAdded() {
	if s.in.mode == undecided {
		s.in.mode = flowing
		s.scheduleFlow()
	}
}

// consumerGone stops the flow when the last consumer has gone: Node would drop what comes now. s.mu is
// held.
func (s *Socket) consumerGone() {
	in := &s.in
	if in.mode == flowing && in.onRead == nil && in.scan == nil && in.chunks == nil && len(in.pipes) == 0 &&
		s.events.count(kindData) == 0 {
		in.mode = undecided
		s.updateReading()
	}
}
