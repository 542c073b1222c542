package evnet

// linger says whether closing a conn first discards the data that its peer still sends, so that the peer receives what was
// written last and this side's end, and not a reset.
type linger uint8

const (
	lingerNever   linger = iota // Destroy and Reset by the program
	lingerBriefly               // Close, unless the peer has ended: not until the limit if Run returns before
	lingerRefused               // this side refuses the peer
)

// refuse is Destroy for a peer that this side refuses.
func (s *Socket) refuse(err error) {
	s.mu.Lock()
	if !s.destroyed {
		s.makeOpt().linger = lingerRefused
	}
	s.mu.Unlock()
	s.Destroy(err)
}
