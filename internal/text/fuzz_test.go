package text

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// decodeOracle decodes a whole stream, for each encoding in another way than the package does.
var decodeOracle = map[string]func([]byte) string{
	"utf8": decodeWHATWG,
	"utf16le": func(p []byte) string {
		var units []uint16
		for ; len(p) >= 2; p = p[2:] {
			units = append(units, binary.LittleEndian.Uint16(p))
		}
		return string(utf16.Decode(units))
	},
	"latin1": func(p []byte) string {
		var runes []rune
		for _, b := range p {
			runes = append(runes, rune(b))
		}
		return string(runes)
	},
	"ascii": func(p []byte) string {
		var text strings.Builder
		for _, b := range p {
			text.WriteByte(b % 128)
		}
		return text.String()
	},
	"base64":    base64.StdEncoding.EncodeToString,
	"base64url": base64.RawURLEncoding.EncodeToString,
	"hex":       func(p []byte) string { return fmt.Sprintf("%x", p) },
}

// decodeWHATWG is the UTF-8 decoder of the WHATWG Encoding Standard, step by step.
func decodeWHATWG(p []byte) string {
	var out []rune
	var codePoint rune
	needed, seen := 0, 0
	lower, upper := byte(0x80), byte(0xBF)
	for i := 0; i < len(p); i++ {
		b := p[i]
		if needed == 0 {
			switch {
			case b <= 0x7F:
				out = append(out, rune(b))
			case 0xC2 <= b && b <= 0xDF:
				needed, codePoint = 1, rune(b&0x1F)
			case 0xE0 <= b && b <= 0xEF:
				if b == 0xE0 {
					lower = 0xA0
				}
				if b == 0xED {
					upper = 0x9F
				}
				needed, codePoint = 2, rune(b&0x0F)
			case 0xF0 <= b && b <= 0xF4:
				if b == 0xF0 {
					lower = 0x90
				}
				if b == 0xF4 {
					upper = 0x8F
				}
				needed, codePoint = 3, rune(b&0x07)
			default:
				out = append(out, 0xFFFD)
			}
			continue
		}
		bad := b < lower || b > upper
		lower, upper = 0x80, 0xBF
		if bad {
			out = append(out, 0xFFFD)
			needed, seen = 0, 0
			i-- // process the byte again
			continue
		}
		codePoint = codePoint<<6 | rune(b&0x3F)
		if seen++; seen == needed {
			out = append(out, codePoint)
			needed, seen = 0, 0
		}
	}
	if needed != 0 {
		out = append(out, 0xFFFD)
	}
	return string(out)
}

var fuzzedEncodings = []string{"utf8", "utf16le", "latin1", "ascii", "base64", "base64url", "hex"}

// FuzzDecoder checks that the text of a stream does not depend on how it is split, that no piece of the text ends within a
// character, and that another decoder has the same result for the whole.
func FuzzDecoder(f *testing.F) {
	for i := range fuzzedEncodings {
		e := byte(i)
		f.Add(e, []byte("plain ASCII, longer than a chunk"), []byte{5})
		f.Add(e, []byte("aé€😀\ufeff\ufffd"), []byte{1})
		f.Add(e, []byte("\xe2\x82A\xc0\x80\xe0\x80\x80\xed\xa0\x80\xf4\x90\x80\x80\xf5\x80\x80\xff\xf0\x9f"), []byte{2, 0, 1, 3})
		f.Add(e, []byte("\x3d\xd8\x00\xde\x3d\xd8\x3d\xd8\x00\xde\x00\xde\x61\x00\x3d\xd8\x61"), []byte{3, 1})
		f.Add(e, []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, encoding byte, data, cuts []byte) {
		e := fuzzedEncodings[int(encoding)%len(fuzzedEncodings)]
		var chunks [][]byte
		rest := data
		for i := 0; len(rest) > 0; i++ {
			n := 1
			if i < len(cuts) {
				n = min(int(cuts[i]), len(rest))
			}
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		want := decodeOracle[e](data)

		whole := decodeStream(New(e), [][]byte{data})
		require.Equal(t, want, whole.Out[0]+whole.End, "%s in one chunk", e)

		cut := decodeStream(New(e), chunks)
		require.Equal(t, want, strings.Join(cut.Out, "")+cut.End, "%s in chunks", e)
		for _, piece := range cut.Out {
			require.True(t, utf8.ValidString(piece), "%s split a character: %q", e, piece)
		}
	})
}
