// Package text decodes received bytes to UTF-8 text, as Node's socket.setEncoding does. A character that is split between
// two chunks is held back until the rest has arrived. The decoders of UTF-8 and UTF-16 are in utf.go, the others here.
//
// A Decoder belongs to one stream. Its owner calls it from one goroutine at a time, or under a lock. The package has no
// locks and no goroutines. It knows neither sockets nor events.
package text

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// Decoder turns the chunks of one stream into UTF-8 text. How the stream is split into chunks does not change the text as
// a whole, and no character is ever split.
type Decoder interface {
	// Write appends the text that p completes to dst. It does not keep p.
	Write(dst, p []byte) []byte
	// End appends the remaining text to dst, at the end of the stream. The Decoder can then decode another stream.
	End(dst []byte) []byte
	// Rest appends the bytes that are held back to dst, undecoded. It changes nothing.
	Rest(dst []byte) []byte
}

// Canonical returns the name of the encoding that name stands for, or "" if there is none. Names are case-insensitive.
// utf-8 and the empty name stand for utf8; ucs2, ucs-2 and utf-16le for utf16le; binary for latin1.
func Canonical(name string) string {
	// Only A to Z are converted: strings.ToLower would also turn U+0130 into an i, which no name contains.
	name = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
	switch name {
	case "", "utf8", "utf-8":
		return "utf8"
	case "utf16le", "utf-16le", "ucs2", "ucs-2":
		return "utf16le"
	case "latin1", "binary":
		return "latin1"
	case "ascii", "base64", "base64url", "hex":
		return name
	}
	return ""
}

// New returns a Decoder for the encoding, which Canonical knows, or nil.
func New(name string) Decoder {
	switch Canonical(name) {
	case "utf8":
		return &utf8Decoder{}
	case "utf16le":
		return &utf16Decoder{}
	case "latin1":
		return stateless(appendLatin1)
	case "ascii":
		return stateless(appendASCII)
	case "base64":
		return &base64Decoder{enc: base64.StdEncoding}
	case "base64url":
		return &base64Decoder{enc: base64.RawURLEncoding}
	case "hex":
		return stateless(hex.AppendEncode)
	}
	return nil
}

// base64Decoder holds back bytes until there are three, which become four digits.
type base64Decoder struct {
	enc  *base64.Encoding
	held [3]byte
	n    int
}

func (d *base64Decoder) Write(dst, p []byte) []byte {
	if d.n > 0 {
		n := copy(d.held[d.n:], p)
		d.n += n
		p = p[n:]
		if d.n < len(d.held) {
			return dst
		}
		dst = d.End(slices.Grow(dst, d.enc.EncodedLen(d.n+len(p))))
	}
	whole := len(p) - len(p)%len(d.held)
	d.n = copy(d.held[:], p[whole:])
	return d.enc.AppendEncode(dst, p[:whole])
}

func (d *base64Decoder) End(dst []byte) []byte {
	dst = d.enc.AppendEncode(dst, d.held[:d.n])
	d.n = 0
	return dst
}

func (d *base64Decoder) Rest(dst []byte) []byte { return append(dst, d.held[:d.n]...) }

// stateless is a decoder that holds back nothing.
type stateless func(dst, p []byte) []byte

func (f stateless) Write(dst, p []byte) []byte { return f(dst, p) }
func (f stateless) End(dst []byte) []byte      { return dst }
func (f stateless) Rest(dst []byte) []byte     { return dst }

func appendLatin1(dst, p []byte) []byte {
	high := 0
	for _, b := range p {
		high += int(b >> 7)
	}
	if high == 0 {
		return append(dst, p...)
	}
	dst = slices.Grow(dst, len(p)+high) // bytes from 80 on become two in UTF-8
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
