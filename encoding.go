package evnet

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding names how received bytes become text. Names are case-insensitive, and Node's aliases
// are taken too: utf-8 for UTF8; ucs2, ucs-2 and utf-16le for UTF16LE; binary for Latin1. "" means
// UTF8. SetEncoding answers any other name with ErrUnknownEncoding. Node: the encodings of
// socket.setEncoding.
//
// A character that arrives in pieces is held back until it is complete. Bytes that are no text
// become U+FFFD, so the text is always valid UTF-8, and a byte order mark is kept as U+FEFF.
type Encoding string

const (
	// UTF8 replaces each maximal prefix of a character, and each byte that can begin none, with
	// one U+FFFD, as web browsers do; converting a []byte to []rune gives more of them. Node:
	// "utf8".
	UTF8 Encoding = "utf8"
	// UTF16LE is UTF-16 with the low byte first, whatever the byte order mark says. Half of a
	// surrogate pair becomes U+FFFD; an odd byte at the end of the stream is dropped. Node:
	// "utf16le", which hands over the halves of some split pairs one by one; here pairs stay
	// whole.
	UTF16LE Encoding = "utf16le"
	// Latin1 is ISO 8859-1: each byte is the code point of that number, 0x80 to 0x9F being control
	// characters. Node: "latin1".
	Latin1 Encoding = "latin1"
	// ASCII clears the top bit of each byte. Node: "ascii".
	ASCII Encoding = "ascii"
	// Base64 shows bytes in groups of three, the rest at the end of the stream padded with '='.
	// Node: "base64".
	Base64 Encoding = "base64"
	// Base64URL is Base64 with '-' and '_', without padding. Node: "base64url".
	Base64URL Encoding = "base64url"
	// Hex shows each byte as two lower-case digits. Node: "hex".
	Hex Encoding = "hex"
)

// canonical returns the one name that stands for e and its aliases, or an error that is
// ErrUnknownEncoding.
func (e Encoding) canonical() (Encoding, error) {
	// Only A to Z are folded: strings.ToLower also makes an i of U+0130, which no name has.
	name := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, string(e))
	switch name {
	case "", "utf8", "utf-8":
		return UTF8, nil
	case "utf16le", "utf-16le", "ucs2", "ucs-2":
		return UTF16LE, nil
	case "latin1", "binary":
		return Latin1, nil
	case "ascii", "base64", "base64url", "hex":
		return Encoding(name), nil
	}
	return "", fmt.Errorf("%w %q, want utf8, utf16le, latin1, ascii, base64, base64url or hex", ErrUnknownEncoding, string(e))
}

// decoder turns the chunks of one stream into UTF-8 text. How a stream is cut into chunks never
// changes the text as a whole, and no character is ever cut.
type decoder interface {
	// write appends the text that p completes to dst. p is not kept.
	write(dst, p []byte) []byte
	// end appends what is left at the end of the stream to dst. The decoder can then begin
	// another stream.
	end(dst []byte) []byte
	// rest appends what is held back to dst, as it came.
	rest(dst []byte) []byte
}

// newDecoder returns a decoder for e, or an error that is ErrUnknownEncoding.
func newDecoder(e Encoding) (decoder, error) {
	name, err := e.canonical()
	if err != nil {
		return nil, err
	}
	switch name {
	case UTF16LE:
		return &utf16Decoder{}, nil
	case Latin1:
		return stateless(appendLatin1), nil
	case ASCII:
		return stateless(appendASCII), nil
	case Base64:
		return &base64Decoder{enc: base64.StdEncoding}, nil
	case Base64URL:
		return &base64Decoder{enc: base64.RawURLEncoding}, nil
	case Hex:
		return stateless(hex.AppendEncode), nil
	default:
		return &utf8Decoder{}, nil
	}
}

// utf8Decoder holds back the beginning of a sequence that is still incomplete.
type utf8Decoder struct {
	held [utf8.UTFMax]byte
	n    int
}

func (d *utf8Decoder) write(dst, p []byte) []byte {
	if d.n > 0 {
		want := utf8Length(d.held[0])
		for d.n < want && len(p) > 0 && !utf8.RuneStart(p[0]) {
			d.held[d.n] = p[0]
			d.n++
			p = p[1:]
		}
		if d.n < want && len(p) == 0 {
			return dst
		}
		dst = d.end(slices.Grow(dst, d.n+len(p)))
	}
	whole := len(p) - utf8Tail(p)
	d.n = copy(d.held[:], p[whole:])
	return appendUTF8(dst, p[:whole])
}

func (d *utf8Decoder) end(dst []byte) []byte {
	dst = appendUTF8(dst, d.held[:d.n])
	d.n = 0
	return dst
}

func (d *utf8Decoder) rest(dst []byte) []byte { return append(dst, d.held[:d.n]...) }

// utf8Length returns how long a sequence is that begins with lead, going by its leading ones alone:
// like Node, also for leads that are never valid, such as C0 and F5. For a byte that is no lead it
// is less than 2.
func utf8Length(lead byte) int {
	if ones := bits.LeadingZeros8(^lead); ones <= utf8.UTFMax {
		return ones
	}
	return 0
}

// utf8Tail returns how many bytes at the end of p are an incomplete sequence. Cutting there is
// safe: a lead byte never belongs to what is before it, valid or not.
func utf8Tail(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if b := p[len(p)-n]; utf8.RuneStart(b) {
			if n < utf8Length(b) {
				return n
			}
			return 0
		}
	}
	return 0
}

// appendUTF8 appends p with its errors replaced as the WHATWG Encoding Standard has it. Nothing in
// the standard library does: utf8.DecodeRune takes one byte for each error, strings.ToValidUTF8 a
// whole run of bad bytes.
func appendUTF8(dst, p []byte) []byte {
	if utf8.Valid(p) {
		return append(dst, p...)
	}
	good := 0 // from here to i all is valid
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, p[good:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
			// A prefix that is not full could still become a character.
			for i+size < len(p) && !utf8.FullRune(p[i:i+size+1]) {
				size++
			}
			good = i + size
		}
		i += size
	}
	return append(dst, p[good:]...)
}

// utf16Decoder holds back an odd byte, and a high surrogate until the unit after it is complete: a
// Go string cannot carry half a pair.
type utf16Decoder struct {
	high   rune // 0: none
	odd    byte
	hasOdd bool
}

func (d *utf16Decoder) write(dst, p []byte) []byte {
	dst = slices.Grow(dst, (len(p)+1)/2)
	if d.hasOdd && len(p) > 0 {
		dst = d.unit(dst, rune(d.odd)|rune(p[0])<<8)
		d.hasOdd = false
		p = p[1:]
	}
	for ; len(p) >= 2; p = p[2:] {
		dst = d.unit(dst, rune(binary.LittleEndian.Uint16(p)))
	}
	if len(p) == 1 {
		d.odd, d.hasOdd = p[0], true
	}
	return dst
}

func (d *utf16Decoder) unit(dst []byte, u rune) []byte {
	if d.high != 0 {
		r := utf16.DecodeRune(d.high, u) // U+FFFD when u is no low surrogate
		d.high = 0
		dst = utf8.AppendRune(dst, r)
		if r != utf8.RuneError {
			return dst
		}
	}
	if 0xD800 <= u && u < 0xDC00 {
		d.high = u
		return dst
	}
	return utf8.AppendRune(dst, u) // U+FFFD for a lone low surrogate
}

func (d *utf16Decoder) end(dst []byte) []byte {
	if d.high != 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	*d = utf16Decoder{}
	return dst
}

func (d *utf16Decoder) rest(dst []byte) []byte {
	if d.high != 0 {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(d.high))
	}
	if d.hasOdd {
		dst = append(dst, d.odd)
	}
	return dst
}

// base64Decoder holds back bytes until there are three, which make four digits.
type base64Decoder struct {
	enc  *base64.Encoding
	held [3]byte
	n    int
}

func (d *base64Decoder) write(dst, p []byte) []byte {
	if d.n > 0 {
		n := copy(d.held[d.n:], p)
		d.n += n
		p = p[n:]
		if d.n < len(d.held) {
			return dst
		}
		dst = d.end(slices.Grow(dst, d.enc.EncodedLen(d.n+len(p))))
	}
	whole := len(p) - len(p)%len(d.held)
	d.n = copy(d.held[:], p[whole:])
	return d.enc.AppendEncode(dst, p[:whole])
}

func (d *base64Decoder) end(dst []byte) []byte {
	dst = d.enc.AppendEncode(dst, d.held[:d.n])
	d.n = 0
	return dst
}

func (d *base64Decoder) rest(dst []byte) []byte { return append(dst, d.held[:d.n]...) }

// stateless is a decoder that holds nothing back.
type stateless func(dst, p []byte) []byte

func (f stateless) write(dst, p []byte) []byte { return f(dst, p) }
func (f stateless) end(dst []byte) []byte      { return dst }
func (f stateless) rest(dst []byte) []byte     { return dst }

func appendLatin1(dst, p []byte) []byte {
	high := 0
	for _, b := range p {
		high += int(b >> 7)
	}
	if high == 0 {
		return append(dst, p...)
	}
	dst = slices.Grow(dst, len(p)+high) // a byte from 80 on takes two in UTF-8
	for _, b := range p {
		dst = utf8.AppendRune(dst, rune(b))
	}
	return dst
}

func appendASCII(dst, p []byte) []byte {
	start := len(dst)
	dst = append(dst, p...)
	text := dst[start:]
	for i := range text {
		text[i] &= 0x7F
	}
	return dst
}

// SetEncoding makes Data, Pipe, Scan and Chunks deliver text: whole characters, decoded to UTF-8 (for
// hex and base64, the digits), never half a character; what is left at the end comes before End. What
// is held already is decoded too. Names are those of Node, in any case; "" is utf8. With an unknown
// name it returns an error that is ErrUnknownEncoding and changes nothing. It cannot be undone; a
// second call first flushes what the first left incomplete. Node: socket.setEncoding.
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
	in.own()
	if in.decoder != nil {
		in.text = in.decoder.end(in.decoder.write(in.text, in.raw))
	} else {
		in.text = dec.write(dec.write(nil, in.raw), in.lent[in.lentAt:])
	}
	in.forgetRaw()
	in.decoder, in.encoding = dec, name
	in.lookAgain()
	s.scheduleFlow()
	return nil
}

// Encoding is what SetEncoding has set, "" if nothing. Node: socket.readableEncoding.
func (s *Socket) Encoding() Encoding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.encoding
}
