package printable

import (
	"bytes"
	"errors"
	"log"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestText_KeepsOrdinaryText(t *testing.T) {
	for _, text := range []string{
		"", "hello", "Olá, você aí: até amanhã!", "naïve café", "日本語", "русский", "שלום", "مرحبا", "می\u200cخواهم",
		"👩\u200d🚀 ☂\ufe0f 🇧🇷", `C:\path "quoted" <a&b>`, "a\u00a0b\u3000c", "\ufffd",
	} {
		assert.Equal(t, text, Text(text))
		assert.Equal(t, text, Lines(text))
	}
}

func TestText_Escapes(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b]0;pwned\x07":         `\x1b]0;pwned\a`,
		"\x1b[2J":                  `\x1b[2J`,
		"100%\rdone":               `100%\rdone`,
		"one\ntwo\r\n":             `one\ntwo\r\n`,
		"a\tb\x00\x7f":             `a\tb\x00\x7f`,
		"\u009b31m\u0085":          `\u009b31m\u0085`,
		"\xff\xc3x\x9b":            `\xff\xc3x\x9b`,
		"gpj.\u202eexe":            `gpj.\u202eexe`,
		"\u200e\u200f\u061c":       `\u200e\u200f\u061c`,
		"\u202a\u2066\u2069":       `\u202a\u2066\u2069`,
		"\u2028\u2029":             `\u2028\u2029`,
		"\u200b\ufeff\u00ad\u2060": `\u200b\ufeff\u00ad\u2060`,
		"a\u3164b\u115f":           `a\u3164b\u115f`,
		"\U000e0041\ue000":         `\U000e0041\ue000`,
	} {
		assert.Equal(t, want, Text(text))
	}
}

func TestLines_KeepsLineEndsOnly(t *testing.T) {
	assert.Equal(t, "one\ntwo\r\n\n", Lines("one\ntwo\r\n\n"))
	assert.Equal(t, "one\\r\r\n\\rtwo\\r", Lines("one\r\r\n\rtwo\r"))
	assert.Equal(t, "\\x1b\n\\u2028", Lines("\x1b\n\u2028"))
}

func TestRecords_NoRecordLooksLikeTwo(t *testing.T) {
	var out bytes.Buffer
	l := log.New(Records(&out), "", 0)
	l.Println(errors.New("bad name\nroot logged in\x1b[1A"))
	l.Print("next")
	assert.Equal(t, "bad name\\nroot logged in\\x1b[1A\nnext\n", out.String())

	_, err := Records(failing{}).Write([]byte("x"))
	assert.Error(t, err)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no") }

// The output is valid UTF-8 without control characters for every input.
func FuzzText(f *testing.F) {
	f.Add("\x1b]0;x\x07\u202e\r\n\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range []string{Text(s), strings.ReplaceAll(strings.ReplaceAll(Lines(s), "\r\n", ""), "\n", "")} {
			require.True(t, utf8.ValidString(out))
			for _, r := range out {
				require.False(t, unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control), "%q", out)
			}
		}
		require.Equal(t, Text(s), Text(Text(s)))
	})
}
