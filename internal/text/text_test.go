package text

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type decoderOutput struct {
	Out []string `json:"out"`
	End string   `json:"end"`
}

type decoderVector struct {
	Encoding string   `json:"encoding"`
	Chunks   []string `json:"chunks"` // hex
	decoderOutput
	LoneSurrogate bool           `json:"loneSurrogate"`
	Recommended   *decoderOutput `json:"recommended"`
	Note          string         `json:"note"`
}

func (v decoderVector) name() string {
	return fmt.Sprintf("%s %s", v.Encoding, strings.Join(v.Chunks, " "))
}

// want returns the output of Node or, if that is half a surrogate pair, the one recommended for Go.
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

// decodeStream returns the output of d for a whole stream.
func decodeStream(d Decoder, chunks [][]byte) decoderOutput {
	got := decoderOutput{Out: []string{}}
	for _, c := range chunks {
		got.Out = append(got.Out, string(d.Write(nil, c)))
	}
	got.End = string(d.End(nil))
	return got
}

func TestDecoderVectors(t *testing.T) {
	ran := 0
	for _, v := range decoderVectors(t) {
		t.Run(v.name(), func(t *testing.T) {
			ran++
			assert.Equal(t, v.want(), decodeStream(New(v.Encoding), v.bytes(t)), v.Note)
		})
	}
	assert.Equal(t, 220, ran)
}

// For each byte, the test counts the bytes until there is output: the byte itself, and as many 80 as are needed.
func TestUTF8_LeadByteGivesLength(t *testing.T) {
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
		d := New("utf8")
		got := 1
		for out := d.Write(nil, []byte{byte(b)}); len(out) == 0 && got < 8; got++ {
			out = d.Write(nil, []byte{0x80})
		}
		assert.Equal(t, want, got, "%#x", b)
	}
}

func TestUTF16_HoldsBackHighSurrogates(t *testing.T) {
	edges := []uint16{0, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF}
	for _, a := range edges {
		for _, b := range edges {
			d := New("utf16le")
			first := d.Write(nil, binary.LittleEndian.AppendUint16(nil, a))
			assert.Equal(t, 0xD800 <= a && a <= 0xDBFF, len(first) == 0, "%#x", a)
			text := d.End(d.Write(first, binary.LittleEndian.AppendUint16(nil, b)))
			assert.Equal(t, string(utf16.Decode([]uint16{a, b})), string(text), "%#x %#x", a, b)
		}
	}
}

func TestDecoder_DecodesAnotherStreamAfterEnd(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := New(v.Encoding)
		decodeStream(d, v.bytes(t))
		assert.Equal(t, v.want(), decodeStream(d, v.bytes(t)), "%s", v.name())
	}
}

func TestDecoder_AppendsToDst(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := New(v.Encoding)
		// Spare capacity shows an output at the wrong place too.
		dst := append(make([]byte, 0, 64), "€ "...)
		for _, c := range v.bytes(t) {
			dst = d.Write(dst, c)
		}
		dst = d.End(dst)
		want := v.want()
		assert.Equal(t, "€ "+strings.Join(want.Out, "")+want.End, string(dst), "%s", v.name())
	}
}

func TestDecoder_DoesNotKeepTheChunk(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := New(v.Encoding)
		var outs [][]byte
		for _, c := range v.bytes(t) {
			before := bytes.Clone(c)
			outs = append(outs, d.Write(nil, c))
			require.Equal(t, before, c, "%s: the chunk was changed", v.name())
			for i := range c {
				c[i] = 'x'
			}
		}
		outs = append(outs, d.End(nil))
		want := v.want()
		assert.Equal(t, strings.Join(want.Out, "")+want.End, string(bytes.Join(outs, nil)), "%s", v.name())
	}
}

func TestCanonical(t *testing.T) {
	names := map[string][]string{
		"utf8":      {"", "utf8", "utf-8", "UTF8", "Utf-8"},
		"utf16le":   {"utf16le", "utf-16le", "ucs2", "ucs-2", "UTF16LE", "UTF-16LE", "UCS2", "UCS-2"},
		"latin1":    {"latin1", "binary", "Latin1", "BINARY"},
		"ascii":     {"ascii", "ASCII"},
		"base64":    {"base64", "BASE64"},
		"base64url": {"base64url", "Base64URL"},
		"hex":       {"hex", "HEX"},
	}
	sample := []byte{0xE9, 0xC3, 0xA9, 'A', 0xFB}
	for want, aliases := range names {
		for _, name := range aliases {
			assert.Equal(t, want, Canonical(name), "%q", name)
			d := New(name)
			assert.Equal(t, decodeOracle[want](sample), string(d.End(d.Write(nil, sample))), "%q", name)
		}
	}
}

func TestUnknown(t *testing.T) {
	names := []string{
		"buffer", "utf", "utf16", "utf-16", "utf16be", "latin-1", "iso-8859-1", "us-ascii", "base-64",
		"base64-url", "base32", "he x", " utf8", "utf8 ", "utf8\x00", "h\xffex",
		"asc\u0130i", "a\u017fcii", // U+0130 and U+017F are i and s in some other case mappings
	}
	for _, name := range names {
		assert.Empty(t, Canonical(name), "%q", name)
		assert.Nil(t, New(name), "%q", name)
	}
}

// Rest returns the bytes that are held back as they were received, and changes nothing.
func TestDecoder_Rest(t *testing.T) {
	for _, v := range decoderVectors(t) {
		d := New(v.Encoding)
		var received, restored []byte
		for _, c := range v.bytes(t) {
			d.Write(nil, c)
			received = append(received, c...)
			restored = d.Rest([]byte("before "))
			require.True(t, bytes.HasPrefix(restored, []byte("before ")))
			restored = restored[len("before "):]
			require.True(t, bytes.HasSuffix(received, restored), "%s", v.name())
		}
		assert.Equal(t, string(restored), string(d.Rest(nil)), "%s", v.name())
		again := New(v.Encoding)
		again.Write(nil, restored)
		assert.Equal(t, string(again.End(nil)), string(d.End(nil)), "%s", v.name())
		assert.Empty(t, d.Rest(nil))
	}
}

type decoderPayload struct {
	name     string
	encoding string
	data     []byte
}

// decoderPayloads returns payloads of size bytes, one for each path through a decoder.
func decoderPayloads(size int) []decoderPayload {
	fill := func(pattern string) []byte { return bytes.Repeat([]byte(pattern), size/len(pattern)+1)[:size] }
	return []decoderPayload{
		{"utf8 ascii", "utf8", fill("plain text ")},
		{"utf8 mixed", "utf8", fill("aé€😀")},
		{"utf8 invalid", "utf8", fill("text\xe2\x82 ")},
		{"utf16le ascii", "utf16le", fill("t\x00")},
		{"utf16le pairs", "utf16le", fill("\x3d\xd8\x00\xde")},
		{"latin1 ascii", "latin1", fill("plain text ")},
		{"latin1 mixed", "latin1", fill("na\xefve ")},
		{"ascii", "ascii", fill("plain text ")},
		{"base64", "base64", fill("plain text ")},
		{"base64url", "base64url", fill("plain text ")},
		{"hex", "hex", fill("plain text ")},
	}
}

func TestDecoder_Allocations(t *testing.T) {
	const size = 4096
	for _, p := range decoderPayloads(size) {
		t.Run(p.name, func(t *testing.T) {
			d := New(p.encoding)
			dst := make([]byte, 0, 4*size)
			assert.Zero(t, testing.AllocsPerRun(20, func() {
				d.End(d.Write(dst, p.data))
			}), "one chunk, enough room")
			assert.Zero(t, testing.AllocsPerRun(20, func() {
				out := dst
				for rest := p.data; len(rest) > 0; {
					n := min(5, len(rest))
					out = d.Write(out, rest[:n])
					rest = rest[n:]
				}
				d.End(out)
			}), "small chunks, enough room")
		})
	}
}

func TestDecoder_GrowsDstOnce(t *testing.T) {
	// The chunk is written several times: it completes what held begins, and ends with the same bytes as held.
	tests := []struct {
		name        string
		encoding    string
		held, chunk string
	}{
		{"utf8", "utf8", "", strings.Repeat("€", 1000)},
		{"utf8 cut", "utf8", "\xe2", "\x82\xac" + strings.Repeat("€", 1000) + "\xe2"},
		{"utf16le", "utf16le", "", strings.Repeat("t\x00", 1000)},
		{"utf16le cut", "utf16le", "t", "\x00" + strings.Repeat("t\x00", 1000) + "t"},
		{"latin1 ascii", "latin1", "", strings.Repeat("e", 1000)},
		{"latin1", "latin1", "", strings.Repeat("\xe9", 1000)},
		{"ascii", "ascii", "", strings.Repeat("\xe9", 1000)},
		{"base64", "base64", "", strings.Repeat("abc", 1000)},
		{"base64 cut", "base64", "c", "ab" + strings.Repeat("abc", 1000) + "c"},
		{"base64url cut", "base64url", "bc", "a" + strings.Repeat("abc", 1000) + "bc"},
		{"hex", "hex", "", strings.Repeat("a", 1000)},
	}
	var buf []byte
	once := testing.AllocsPerRun(20, func() { buf = slices.Grow([]byte(nil), 4096) }) // 2 with -race
	require.NotNil(t, buf)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(tt.encoding)
			d.Write(nil, []byte(tt.held))
			chunk := []byte(tt.chunk)
			assert.LessOrEqual(t, testing.AllocsPerRun(20, func() { buf = d.Write(nil, chunk) }), once)
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		for _, p := range decoderPayloads(size) {
			b.Run(fmt.Sprintf("%s/%d", p.name, size), func(b *testing.B) {
				d := New(p.encoding)
				dst := make([]byte, 0, 4*size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					d.End(d.Write(dst, p.data))
				}
			})
		}
	}
}
