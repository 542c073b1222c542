package evnet_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table of speeds in the README is what bench/ has measured, and its Portuguese twin has the same figures.
func TestReadmeSpeeds(t *testing.T) {
	text, err := os.ReadFile("bench/results/results.md")
	require.NoError(t, err)
	var measured []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "| plain net |") || strings.Contains(line, "| best") {
			measured = append(measured, line)
		}
	}
	speeds := func(file, of string) (table [][]string) {
		for _, row := range rows(t, file) {
			if len(row) == 4 && (strings.Contains(row[1], of) || strings.Contains(row[1], "RSS") || strings.Contains(row[1], "CPU")) {
				table = append(table, row)
			}
		}
		return table
	}
	english, portuguese := speeds("README.md", " per "), speeds("README.pt-BR.md", " por ")
	require.Greater(t, len(english), 8)
	require.Len(t, portuguese, len(english))
	for i, row := range english {
		for k, against := range []string{"plain net", "best"} {
			figure := row[2+k]
			assert.Equal(t, figure, portuguese[i][2+k], row[0])
			found := figure == "–"
			for _, line := range measured {
				found = found || strings.HasPrefix(line, "| "+row[0]+" | evnet ") && strings.Contains(line, " | "+row[1]+" | "+against) &&
					strings.Contains(line, " | "+figure+" (")
			}
			assert.True(t, found, "%s, %s: %s against %s was not measured", row[0], row[1], figure, against)
		}
	}
}
