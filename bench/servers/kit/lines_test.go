package kit_test

import (
	"bufio"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"evnet/bench/servers/kit"
)

var texts = []string{"", "\n", "a", "a\n", "a\nb", "one\n\ntwo\nthree\n", "one line\nand half"}

// The lines do not depend on the places at which a text is split.
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
				require.Equal(t, whole(text), got, "%q split at %d and %d", text, first, second)
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

// whole returns the lines of text that end with a newline.
func whole(text string) (lines []string) {
	for _, line := range strings.SplitAfter(text, "\n") {
		if strings.HasSuffix(line, "\n") {
			lines = append(lines, line)
		}
	}
	return lines
}
