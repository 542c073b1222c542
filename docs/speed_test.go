package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	// measuredBy maps the names of the README's speed table to the rows of the results.
	measuredBy = map[string]string{
		"`OnRead`": "evnet onread", "`On.Data`": "evnet data", "`Scan`": "evnet scan", "`Relay`": "evnet relay",
		"dgram `OnRead`": "evnet dgram onread",
	}
	// measuredOf maps the units of the README's table to the metrics of the results.
	measuredOf = map[string]string{
		"lines per second": "messages per second", "deliveries per second": "messages per second",
		"connections per second": "messages per second",
	}
	// measuredIn has the headings of the workloads whose figures are not all in the table of targets.
	measuredIn = map[string]string{
		"15,000 idle connections": "\n## Memory of 15,000 idle connections\n",
		"Accept, one echo, close": "\n## Accept, one echo of 64 B, close: 32 connections at a time\n",
	}
)

// The figures of the README's speed table equal the results of bench/. The Portuguese README has the same figures.
func TestReadmeSpeeds(t *testing.T) {
	text, err := os.ReadFile("bench/results/results.md")
	require.NoError(t, err)
	measured := func(what, by, of, against, figure string) bool {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "| "+what+" | "+by+" | "+of+" | "+against) && strings.Contains(line, " | "+figure+" (") {
				return true
			}
		}
		_, section, _ := strings.Cut(string(text), measuredIn[what])
		section, _, _ = strings.Cut(section, "\n## ")
		_, row, _ := strings.Cut(section, "\n| "+by+" | ")
		row, _, _ = strings.Cut(row, "\n")
		return measuredIn[what] != "" && strings.Contains(row, " | "+figure+" (")
	}
	speeds := func(file string) (table [][]string) {
		for _, row := range rows(t, file) {
			if len(row) == 5 && measuredBy[row[1]] != "" {
				table = append(table, row)
			}
		}
		return table
	}
	english, portuguese := speeds("README.md"), speeds("README.pt-BR.md")
	require.Greater(t, len(english), 10)
	require.Len(t, portuguese, len(english))
	for i, row := range english {
		of := row[2]
		if measuredOf[of] != "" {
			of = measuredOf[of]
		}
		for k, against := range []string{"plain net", "best"} {
			figure := row[3+k]
			assert.Equal(t, strings.ReplaceAll(figure, ".", ","), portuguese[i][3+k], row[0])
			assert.True(t, figure == "–" || measured(row[0], measuredBy[row[1]], of, against, figure),
				"%s by %s, %s: the results have no %s relative to %s", row[0], row[1], row[2], figure, against)
		}
		assert.Equal(t, row[1], portuguese[i][1])
	}
}
