package evnet

import (
	"fmt"
	"slices"

	"evnet/internal/text"
)

// The consumers of received data: any number of Data listeners and destinations of Pipe, or exactly one of OnRead,
// Scan, Chunks and BlockingConn.

// OnRead makes fn the only consumer of received data and starts the flow, unless the socket was paused. fn runs on the
// loop and gets the data as received, not decoded and without a copy. When it returns false, the socket is paused. Data
// is not emitted.
//
// p is borrowed: it is valid until fn returns. Under the race detector it is overwritten then. Until then fn may change
// p in place, and may append to it without overwriting received data. The result of append may share the memory of p, so
// it is borrowed too.
//
// A further call replaces fn. nil removes it; the socket then buffers incoming data.
//
// With a Data listener, Pipe, Scan, Chunks or BlockingConn, OnRead returns ErrConsumed and changes nothing.
//
// Node: the onread option.
func (s *Socket) OnRead(fn func(p []byte) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fn == nil {
		if s.in.onRead != nil {
			s.in.onRead = nil
			s.consumerRemovedLocked()
		}
		return nil
	}
	if err := s.consumedLocked("OnRead"); err != nil {
		return err
	}
	s.in.onRead = fn
	s.consumerAddedLocked()
	return nil
}

// consumedLocked returns the reason that the method may not add a consumer, or nil if it may. s.mu is held.
func (s *Socket) consumedLocked(method string) error {
	exclusive := method != "On.Data" && method != "Pipe"
	by := ""
	switch {
	case s.in.onRead != nil && method != "OnRead":
		by = "OnRead"
	case s.in.scan != nil && method != "Scan":
		by = "Scan"
	case s.opt().blocking != nil && !s.destroyed:
		by = "BlockingConn"
	case s.in.chunks != nil:
		by = "Chunks"
	case exclusive && s.opt().relay != nil:
		by = "Relay"
	case exclusive && len(s.in.pipes) > 0:
		by = "Pipe"
	case exclusive && s.events.count(kindData) > 0:
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

// consumerAddedLocked starts the flow if this is the first consumer. s.mu is held.
func (s *Socket) consumerAddedLocked() {
	if s.in.mode == undecided {
		s.in.mode = flowing
		s.scheduleFlowLocked()
	}
}

// consumerRemovedLocked stops the flow if the last consumer was removed. Node would discard further data. s.mu is held.
func (s *Socket) consumerRemovedLocked() {
	in := &s.in
	if in.mode == flowing && in.onRead == nil && in.scan == nil && in.chunks == nil && len(in.pipes) == 0 &&
		s.events.count(kindData) == 0 {
		in.mode = undecided
		s.updateReadingLocked()
	}
}

// Encoding is the name of an encoding, from which SetEncoding decodes received bytes to UTF-8 text. Names are
// case-insensitive. Node's aliases work too: utf-8 for UTF8; ucs2, ucs-2 and utf-16le for UTF16LE; binary for Latin1.
// "" is UTF8. For any other name SetEncoding returns ErrUnknownEncoding.
//
// A character that arrives in pieces is held back until it is complete. Invalid bytes become U+FFFD, so the text is
// always valid UTF-8. A byte order mark is kept as U+FEFF.
//
// Node: the encodings of socket.setEncoding.
type Encoding string

const (
	// UTF8 replaces each maximal prefix of a character, and each byte that cannot begin one, with one U+FFFD, as web
	// browsers do. Converting a []byte to []rune results in more of them. Node: "utf8".
	UTF8 Encoding = "utf8"
	// UTF16LE is little-endian UTF-16, whatever the byte order mark says. Half of a surrogate pair becomes U+FFFD; an odd
	// byte at the end of the stream is discarded. Node: "utf16le", which emits the halves of some split pairs one by one;
	// here pairs are never split.
	UTF16LE Encoding = "utf16le"
	// Latin1 is ISO 8859-1: each byte is the code point of that number; 0x80 to 0x9F are control characters. Node: "latin1".
	Latin1 Encoding = "latin1"
	// ASCII clears the top bit of each byte. Node: "ascii".
	ASCII Encoding = "ascii"
	// Base64 encodes bytes in groups of three. The last group of the stream is padded with '='. Node: "base64".
	Base64 Encoding = "base64"
	// Base64URL is Base64 with '-' and '_', without padding. Node: "base64url".
	Base64URL Encoding = "base64url"
	// Hex encodes each byte as two lower-case digits. Node: "hex".
	Hex Encoding = "hex"
)

// SetEncoding makes Data, Pipe, Scan, Chunks and BlockingConn deliver text: complete characters, decoded to UTF-8 (for hex and
// base64, the digits). Buffered data is decoded too. What is incomplete at the end of the stream is delivered before
// End.
//
// For an unknown name SetEncoding returns an error that is ErrUnknownEncoding, and changes nothing. It cannot be
// undone. A second call first flushes the incomplete data of the first.
//
// Node: socket.setEncoding.
func (s *Socket) SetEncoding(e Encoding) error {
	name := text.Canonical(string(e))
	if name == "" {
		return fmt.Errorf("%w %q, want utf8, utf16le, latin1, ascii, base64, base64url or hex", ErrUnknownEncoding, string(e))
	}
	dec := text.New(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.in
	in.own()
	raw := slices.Concat(in.raw, in.borrowed[in.borrowedAt:]) // decoded when it is delivered
	in.forgetRaw()
	if in.decoder != nil {
		if in.text = in.decoder.End(in.decoder.Write(in.text, raw)); len(in.text) > 0 {
			in.decoded = unknownSource
		}
		raw = nil
	}
	in.raw = raw
	in.decoder, in.encoding = dec, Encoding(name)
	in.rescan()
	s.scheduleFlowLocked()
	return nil
}

// Encoding returns the encoding that SetEncoding has set, or "" if none.
//
// Node: socket.readableEncoding.
func (s *Socket) Encoding() Encoding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.encoding
}
