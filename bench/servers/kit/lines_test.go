package kit_test

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"evnet/bench/servers/kit"
)

var texts = []string{"", "\n", "a", "a\n", "a\nb", "one\n\ntwo\nthree\n", "one line\nand half"}

// Wherever a text is cut in pieces, the same lines come out.
func TestLinesAcrossPieces(t *testing.T) {
	for _, text := range texts {
		for first := 0; first <= len(text); first++ {
			for second := first; second <= len(text); second++ {
				var lines kit.Lines
				var got []string
				for _, piece := range []string{text[:first], text[first:second], text[second:]} {
					for line, rest := lines.Next([]byte(piece)); line != nil; line, rest = lines.Next(rest) {
						got = append(got, string(line))
					}
				}
				require.Equal(t, whole(text), got, "%q cut at %d and %d", text, first, second)
			}
		}
	}
}

func TestSplitLines(t *testing.T) {
	for _, text := range texts {
		scanner := bufio.NewScanner(strings.NewReader(text))
		scanner.Split(kit.SplitLines)
		var got []string
		for scanner.Scan() {
			got = append(got, scanner.Text())
		}
		require.NoError(t, scanner.Err())
		require.Equal(t, whole(text), got, "%q", text)
	}
}

// whole is the lines of text that have an end.
func whole(text string) (lines []string) {
	for _, line := range strings.SplitAfter(text, "\n") {
		if strings.HasSuffix(line, "\n") {
			lines = append(lines, line)
		}
	}
	return lines
}
