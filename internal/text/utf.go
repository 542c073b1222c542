package text

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// utf8Decoder holds back a sequence that is still incomplete.
type utf8Decoder struct {
	held [utf8.UTFMax]byte
	n    int
}

func (d *utf8Decoder) Write(dst, p []byte) []byte {
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
		dst = d.End(slices.Grow(dst, d.n+len(p)))
	}
	whole := len(p) - utf8Tail(p)
	d.n = copy(d.held[:], p[whole:])
	return appendUTF8(dst, p[:whole])
}

func (d *utf8Decoder) End(dst []byte) []byte {
	dst = appendUTF8(dst, d.held[:d.n])
	d.n = 0
	return dst
}

func (d *utf8Decoder) Rest(dst []byte) []byte { return append(dst, d.held[:d.n]...) }

// utf8Length returns the length of a sequence that begins with lead. As in Node, only the leading ones of lead count, also
// for bytes that begin no valid sequence, such as C0 and F5. For any other byte the length is less than 2.
func utf8Length(lead byte) int {
	if ones := bits.LeadingZeros8(^lead); ones <= utf8.UTFMax {
		return ones
	}
	return 0
}

// utf8Tail returns the length of the incomplete sequence at the end of p. Splitting p there is safe: a lead byte never
// belongs to the bytes before it, valid or not.
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

// appendUTF8 appends p to dst and replaces invalid bytes as the WHATWG Encoding Standard does. The standard library has no
// such function: utf8.DecodeRune replaces each invalid byte, strings.ToValidUTF8 each run of invalid bytes.
func appendUTF8(dst, p []byte) []byte {
	if utf8.Valid(p) {
		return append(dst, p...)
	}
	valid := 0 // p[valid:i] is valid
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, p[valid:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
			// The longest prefix of a character is replaced as a whole.
			for i+size < len(p) && !utf8.FullRune(p[i:i+size+1]) {
				size++
			}
			valid = i + size
		}
		i += size
	}
	return append(dst, p[valid:]...)
}

// utf16Decoder holds back an odd byte, and a high surrogate until the next unit is complete: UTF-8 cannot encode half a
// pair.
type utf16Decoder struct {
	high   rune // 0 if none
	odd    byte
	hasOdd bool
}

func (d *utf16Decoder) Write(dst, p []byte) []byte {
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

// unit appends the character that the code unit u completes.
func (d *utf16Decoder) unit(dst []byte, u rune) []byte {
	if d.high != 0 {
		r := utf16.DecodeRune(d.high, u) // U+FFFD if u is not a low surrogate
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

func (d *utf16Decoder) End(dst []byte) []byte {
	if d.high != 0 {
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	*d = utf16Decoder{}
	return dst
}

func (d *utf16Decoder) Rest(dst []byte) []byte {
	if d.high != 0 {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(d.high))
	}
	if d.hasOdd {
		dst = append(dst, d.odd)
	}
	return dst
}
