package evnet

import (
	"math/rand/v2"
	"testing"

	"evnet/internal/text"

	"github.com/stretchr/testify/require"
)

// The bytes of the rest of a text are found for each point at which a character ends, for any bytes in each encoding.
func TestSourceOf_FindsTheBytesOfTheRest(t *testing.T) {
	alphabets := map[string][]byte{
		"any":     nil,
		"invalid": {'a', 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80, 0xC3, 0xD8, 0x3D, 0xDC, 0, '\n'},
		"plain":   []byte("line\n"),
	}
	for _, encoding := range []Encoding{UTF8, UTF16LE, Latin1, ASCII, Base64, Base64URL, Hex} {
		for name, alphabet := range alphabets {
			t.Run(string(encoding)+" "+name, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				for _, size := range []int{1, 2, 7, 40, 3 * sourceBlock} {
					raw := make([]byte, size)
					for i := range raw {
						if raw[i] = byte(random.Uint32()); alphabet != nil {
							raw[i] = alphabet[random.IntN(len(alphabet))]
						}
					}
					in := inbound{receiveBuffer: &receiveBuffer{decoder: text.New(string(encoding)), encoding: encoding}}
					in.noteDecoded(raw, true)
					all := in.decoder.Write(nil, raw)
					in.decoded = len(all)
					for range 100 {
						at := random.IntN(size + 1)
						d := text.New(string(encoding))
						head := d.Write(nil, raw[:at])
						at -= len(d.Rest(nil))
						require.Equal(t, raw[at:], in.sourceOf(all[len(head):]), "%x at %d", raw, at)
					}
				}
			})
		}
	}
}

// An invalid sequence is separated from the character that ends it.
func TestSourceOf_SeparatesAnInvalidSequence(t *testing.T) {
	in := inbound{receiveBuffer: &receiveBuffer{decoder: text.New("utf8"), encoding: UTF8}}
	in.noteDecoded([]byte("\xe2\x82A\xe2"), false)
	all := in.decoder.Write(nil, in.source)
	require.Equal(t, "\uFFFDA", string(all))
	in.decoded = len(all)
	require.Equal(t, "A\xe2", string(in.sourceOf(all[3:])))
	require.Equal(t, "\xe2", string(in.sourceOf(nil)))
}
