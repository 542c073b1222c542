package evnet

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type decoderOutput struct {
	Out []string `json:"out"`
	End string   `json:"end"`
}

type decoderVector struct {
	Encoding Encoding `json:"encoding"`
	Chunks   []string `json:"chunks"` // hex
	decoderOutput
	LoneSurrogate bool           `json:"loneSurrogate"`
	Recommended   *decoderOutput `json:"recommended"`
	Note          string         `json:"note"`
}

func (v decoderVector) name() string {
	return fmt.Sprintf("%s %s", v.Encoding, strings.Join(v.Chunks, " "))
}

// want is what Node puts out or, where that is half a surrogate pair, what Go should instead.
func (v decoderVector) want() decoderOutput {
	if v.LoneSurrogate {
		return *v.Recommended
	}
	return v.decoderOutput
}

func (v decoderVector) bytes(t testing.TB) [][]byte {
	chunks := make([][]byte, len(v.Chunks))
	for i, c := range v.Chunks {
		var err error
		chunks[i], err = hex.DecodeString(c)
		require.NoError(t, err)
	}
	return chunks
}

func decoderVectors(t testing.TB) []decoderVector {
	data, err := os.ReadFile("testdata/decoder-vectors.json")
	require.NoError(t, err)
	var vectors []decoderVector
	require.NoError(t, json.Unmarshal(data, &vectors))
	return vectors
}

func mustDecoder(t testing.TB, e Encoding) decoder {
	d, err := newDecoder(e)
	require.NoError(t, err)
	return d
}

// decodeStream returns what d puts out for a whole stream.
func decodeStream(d decoder, chunks [][]byte) decoderOutput {
	got := decoderOutput{Out: []string{}}
	for _, c := range chunks {
		got.Out = append(got.Out, string(d.write(nil, c)))
	}
	got.End = string(d.end(nil))
	return got
}

func TestDecoderVectors(t *testing.T) {
	ran := 0
	for _, v := range decoderVectors(t) {
		t.Run(v.name(), func(t *testing.T) {
			ran++
			assert.Equal(t, v.want(), decodeStream(mustDecoder(t, v.Encoding), v.bytes(t)), v.Note)
		})
	}
	assert.Equal(t, 220, ran)
}

// TestUTF8HoldsByLeadAlone finds out for every byte how many bytes it takes, followed by 80, 80 and
// so on, until something comes out.
func TestUTF8HoldsByLeadAlone(t *testing.T) {
	for b := 0; b <= 0xFF; b++ {
		want := 1
		switch {
		case 0xC0 <= b && b <= 0xDF:
			want = 2
		case 0xE0 <= b && b <= 0xEF:
			want = 3
		case 0xF0 <= b && b <= 0xF7:
			want = 4
		}
		d := mustDecoder(t, UTF8)
		got := 1
		for out := d.write(nil, []byte{byte(b)}); len(out) == 0 && got < 8; got++ {
			out = d.write(nil, []byte{0x80})
		}
		assert.Equal(t, want, got, "%#x", b)
	}
}

func TestUTF16HoldsHighSurrogatesOnly(t *testing.T) {
	edges := []uint16{0, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF}
	for _, a := range edges {
		for _, b := range edges {
			d := mustDecoder(t, UTF16LE)
			first := d.write(nil, binary.LittleEndian.AppendUint16(nil, a))
			assert.Equal(t, 0xD800 <= a && a <= 0xDBFF, len(first) == 0, "%#x", a)
			text := d.end(d.write(first, binary.LittleEndian.AppendUint16(nil, b)))
			assert.Equal(t, string(utf16.Decode([]uint16{a, b})), string(text), "%#x %#x", a, b)
		}
	}
}

func TestDecoderStartsAnewAfterEnd(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := mustDecoder(t, v.Encoding)
		decodeStream(d, v.bytes(t))
		assert.Equal(t, v.want(), decodeStream(d, v.bytes(t)), "%s", v.name())
	}
}

func TestDecoderAppendsToDst(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := mustDecoder(t, v.Encoding)
		// Spare capacity, so that an output that goes to the wrong place shows as well.
		dst := append(make([]byte, 0, 64), "€ "...)
		for _, c := range v.bytes(t) {
			dst = d.write(dst, c)
		}
		dst = d.end(dst)
		want := v.want()
		assert.Equal(t, "€ "+strings.Join(want.Out, "")+want.End, string(dst), "%s", v.name())
	}
}

func TestDecoderKeepsNothingOfTheChunk(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := mustDecoder(t, v.Encoding)
		var outs [][]byte
		for _, c := range v.bytes(t) {
			before := bytes.Clone(c)
			outs = append(outs, d.write(nil, c))
			require.Equal(t, before, c, "%s: the chunk was changed", v.name())
			for i := range c {
				c[i] = 'x'
			}
		}
		outs = append(outs, d.end(nil))
		want := v.want()
		assert.Equal(t, strings.Join(want.Out, "")+want.End, string(bytes.Join(outs, nil)), "%s", v.name())
	}
}

func TestEncodingCanonical(t *testing.T) {
	tests := []struct{ name, want Encoding }{
		{"", UTF8}, {"utf8", UTF8}, {"utf-8", UTF8}, {"UTF8", UTF8}, {"Utf-8", UTF8},
		{"utf16le", UTF16LE}, {"utf-16le", UTF16LE}, {"ucs2", UTF16LE}, {"ucs-2", UTF16LE},
		{"UTF16LE", UTF16LE}, {"UTF-16LE", UTF16LE}, {"UCS2", UTF16LE}, {"UCS-2", UTF16LE},
		{"latin1", Latin1}, {"binary", Latin1}, {"Latin1", Latin1}, {"BINARY", Latin1},
		{"ascii", ASCII}, {"ASCII", ASCII},
		{"base64", Base64}, {"BASE64", Base64},
		{"base64url", Base64URL}, {"Base64URL", Base64URL},
		{"hex", Hex}, {"HEX", Hex},
	}
	sample := []byte{0xE9, 0xC3, 0xA9, 'A', 0xFB}
	for _, tt := range tests {
		t.Run(string(tt.name), func(t *testing.T) {
			got, err := tt.name.canonical()
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)

			d := mustDecoder(t, tt.name)
			text := d.end(d.write(nil, sample))
			assert.Equal(t, decodeOracle[tt.want](sample), string(text))
		})
	}
}

func TestEncodingUnknown(t *testing.T) {
	names := []Encoding{
		"buffer", "utf", "utf16", "utf-16", "utf16be", "latin-1", "iso-8859-1", "us-ascii", "base-64",
		"base64-url", "base32", "he x", " utf8", "utf8 ", "utf8\x00", "h\xffex",
		"asc\u0130i", "a\u017fcii", // U+0130 and U+017F are i and s in some other case mappings
	}
	for _, name := range names {
		t.Run(string(name), func(t *testing.T) {
			got, err := name.canonical()
			assert.ErrorIs(t, err, ErrUnknownEncoding)
			assert.ErrorContains(t, err, fmt.Sprintf("%q", string(name)))
			assert.Empty(t, got)

			d, err := newDecoder(name)
			assert.ErrorIs(t, err, ErrUnknownEncoding)
			assert.Nil(t, d)
		})
	}
}

// decodeOracle has another way to decode a whole stream for each encoding.
var decodeOracle = map[Encoding]func([]byte) string{
	UTF8: decodeWHATWG,
	UTF16LE: func(p []byte) string {
		var units []uint16
		for ; len(p) >= 2; p = p[2:] {
			units = append(units, binary.LittleEndian.Uint16(p))
		}
		return string(utf16.Decode(units))
	},
	Latin1: func(p []byte) string {
		var runes []rune
		for _, b := range p {
			runes = append(runes, rune(b))
		}
		return string(runes)
	},
	ASCII: func(p []byte) string {
		var text strings.Builder
		for _, b := range p {
			text.WriteByte(b % 128)
		}
		return text.String()
	},
	Base64:    base64.StdEncoding.EncodeToString,
	Base64URL: base64.RawURLEncoding.EncodeToString,
	Hex:       func(p []byte) string { return fmt.Sprintf("%x", p) },
}

// decodeWHATWG is the UTF-8 decoder of the WHATWG Encoding Standard, written down step by step.
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
			i-- // the byte is looked at again
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

var fuzzedEncodings = []Encoding{UTF8, UTF16LE, Latin1, ASCII, Base64, Base64URL, Hex}

// FuzzDecoder checks that the text of a stream does not depend on how it is cut, that no piece of
// it ends within a character, and that it is what another decoder makes of the whole.
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

		whole := decodeStream(mustDecoder(t, e), [][]byte{data})
		require.Equal(t, want, whole.Out[0]+whole.End, "%s in one chunk", e)

		cut := decodeStream(mustDecoder(t, e), chunks)
		require.Equal(t, want, strings.Join(cut.Out, "")+cut.End, "%s in chunks", e)
		for _, piece := range cut.Out {
			require.True(t, utf8.ValidString(piece), "%s cut a character: %q", e, piece)
		}
	})
}

type decoderPayload struct {
	name     string
	encoding Encoding
	data     []byte
}

// decoderPayloads are size bytes each, one payload for every way a decoder can take.
func decoderPayloads(size int) []decoderPayload {
	fill := func(pattern string) []byte { return bytes.Repeat([]byte(pattern), size/len(pattern)+1)[:size] }
	return []decoderPayload{
		{"utf8 ascii", UTF8, fill("plain text ")},
		{"utf8 mixed", UTF8, fill("aé€😀")},
		{"utf8 invalid", UTF8, fill("text\xe2\x82 ")},
		{"utf16le ascii", UTF16LE, fill("t\x00")},
		{"utf16le pairs", UTF16LE, fill("\x3d\xd8\x00\xde")},
		{"latin1 ascii", Latin1, fill("plain text ")},
		{"latin1 mixed", Latin1, fill("na\xefve ")},
		{"ascii", ASCII, fill("plain text ")},
		{"base64", Base64, fill("plain text ")},
		{"base64url", Base64URL, fill("plain text ")},
		{"hex", Hex, fill("plain text ")},
	}
}

func TestDecoderAllocatesNothing(t *testing.T) {
	const size = 4096
	for _, p := range decoderPayloads(size) {
		t.Run(p.name, func(t *testing.T) {
			d := mustDecoder(t, p.encoding)
			dst := make([]byte, 0, 4*size)
			assert.Zero(t, testing.AllocsPerRun(20, func() {
				d.end(d.write(dst, p.data))
			}), "one chunk, room enough")
			assert.Zero(t, testing.AllocsPerRun(20, func() {
				out := dst
				for rest := p.data; len(rest) > 0; {
					n := min(5, len(rest))
					out = d.write(out, rest[:n])
					rest = rest[n:]
				}
				d.end(out)
			}), "small chunks, room enough")
		})
	}
}

func TestDecoderSizesNewBufferOnce(t *testing.T) {
	// The chunk comes again and again: it completes what held begins, and ends like held.
	tests := []struct {
		name        string
		encoding    Encoding
		held, chunk string
	}{
		{"utf8", UTF8, "", strings.Repeat("€", 1000)},
		{"utf8 cut", UTF8, "\xe2", "\x82\xac" + strings.Repeat("€", 1000) + "\xe2"},
		{"utf16le", UTF16LE, "", strings.Repeat("t\x00", 1000)},
		{"utf16le cut", UTF16LE, "t", "\x00" + strings.Repeat("t\x00", 1000) + "t"},
		{"latin1 ascii", Latin1, "", strings.Repeat("e", 1000)},
		{"latin1", Latin1, "", strings.Repeat("\xe9", 1000)},
		{"ascii", ASCII, "", strings.Repeat("\xe9", 1000)},
		{"base64", Base64, "", strings.Repeat("abc", 1000)},
		{"base64 cut", Base64, "c", "ab" + strings.Repeat("abc", 1000) + "c"},
		{"base64url cut", Base64URL, "bc", "a" + strings.Repeat("abc", 1000) + "bc"},
		{"hex", Hex, "", strings.Repeat("a", 1000)},
	}
	var buf []byte
	once := testing.AllocsPerRun(20, func() { buf = slices.Grow([]byte(nil), 4096) }) // 2 with -race
	require.NotNil(t, buf)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := mustDecoder(t, tt.encoding)
			d.write(nil, []byte(tt.held))
			chunk := []byte(tt.chunk)
			assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { buf = d.write(nil, chunk) }), once)
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		for _, p := range decoderPayloads(size) {
			b.Run(fmt.Sprintf("%s/%d", p.name, size), func(b *testing.B) {
				d := mustDecoder(b, p.encoding)
				dst := make([]byte, 0, 4*size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					d.end(d.write(dst, p.data))
				}
			})
		}
	}
}
