package evnet

import (
	"bytes"
	"errors"

	"evnet/internal/text"
)

// SetEncoding turns received bytes into text, from which they cannot be computed. StartTLS and Detach need the bytes of
// buffered text, so the socket keeps them until the text is delivered.

// errNoSource is the error for buffered text whose bytes are unknown.
var errNoSource = errors.New("evnet: the bytes of the buffered text are unknown, because it was put back or decoded from two encodings")

const (
	sourceBlock      = 4 << 10
	longestCharacter = 8 // bytes: no encoding needs more for one character and an invalid sequence before it
)

// unknownSource is the value of receiveBuffer.decoded for text whose bytes are unknown.
const unknownSource = -1

// noteDecoded records p as the source of the text that is decoded from it next. borrowed says that p is valid only until
// keepSource.
func (in *inbound) noteDecoded(p []byte, borrowed bool) {
	switch {
	case len(in.text) == 0:
		in.source, in.decoded = p, 0
		if rest := in.decoder.Rest(nil); len(rest) > 0 {
			in.source, borrowed = append(rest, p...), false
		}
		in.sourceBorrowed = borrowed
	case in.decoded != unknownSource:
		in.ownSource()
		in.source = append(in.source, p...)
	}
}

// ownSource copies a borrowed source.
func (in *inbound) ownSource() {
	if in.sourceBorrowed {
		in.source, in.sourceBorrowed = bytes.Clone(in.source), false
	}
}

// forgetSource discards the bytes of text that was delivered.
func (in *inbound) forgetSource() { in.source, in.sourceBorrowed, in.decoded = nil, false, 0 }

// keepSource reduces the source to the bytes of the text that is still buffered, and copies them if they are borrowed.
func (in *inbound) keepSource() {
	switch {
	case len(in.text) == 0:
		in.forgetSource()
	case in.decoded > len(in.text):
		in.source = bytes.Clone(in.sourceOf(in.text))
		in.decoded, in.sourceBorrowed = len(in.text), false
	default:
		in.ownSource()
	}
}

// knowsSource reports whether the bytes of the buffered text are known.
func (in *inbound) knowsSource() bool { return len(in.text) <= max(in.decoded, 0) }

// sourceOf returns the bytes of rest, which is the end of the decoded text, and the bytes that the decoder holds back.
func (in *inbound) sourceOf(rest []byte) []byte {
	src := in.source
	whole := len(src) - len(in.decoder.Rest(nil))
	if in.encoding == UTF8 && whole >= len(rest) && bytes.Equal(src[whole-len(rest):whole], rest) {
		return src[whole-len(rest):]
	}
	var scratch []byte
	decode := func(p []byte) (out, used int) {
		d := text.New(string(in.encoding))
		scratch = d.Write(scratch[:0], p)
		return len(scratch), len(p) - len(d.Rest(nil))
	}
	skip := in.decoded - len(rest) // the length of the delivered text
	for size := sourceBlock; skip > 0 && size > 0; {
		size = min(size, len(src))
		if out, used := decode(src[:size]); out <= skip && used > 0 {
			src, skip = src[used:], skip-out
		} else if size > longestCharacter {
			size /= 2
		} else {
			size--
		}
	}
	if skip == 0 {
		return src
	}
	// An invalid sequence was delivered and the character that ends it was not, or a character was split.
	for n := 1; n < min(longestCharacter, len(src)); n++ {
		if out, _ := decode(src[n:]); out == len(rest) {
			return src[n:]
		}
	}
	for n := 1; n <= min(longestCharacter, len(src)); n++ {
		if out, used := decode(src[:n]); out > 0 {
			return src[used:]
		}
	}
	return nil
}
