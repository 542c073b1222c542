package docs_test

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	pageComment = regexp.MustCompile(`\s*(?://|#).*`)
	pageLink    = regexp.MustCompile(`\]\(([^)]*)\)`)
	runExample  = regexp.MustCompile(`go run \./(examples/[\w-]+)`)
	runTests    = regexp.MustCompile(`go test -run '([^']*)'.* (\./\w+)`)
)

// shape returns the parts that a page and its translation have in common: the levels of its headings, its links, the
// code in its tables, and its code blocks without comments.
func shape(t *testing.T, file string) (all []string) {
	for _, line := range prose(t, file) {
		if m := heading.FindString(line); m != "" {
			all = append(all, m[:strings.IndexByte(m, ' ')])
		}
		if strings.HasPrefix(line, "|") {
			all = append(all, "row: "+strings.Join(codeSpan.FindAllString(line, -1), " "))
		}
		for _, m := range pageLink.FindAllStringSubmatch(line, -1) {
			all = append(all, "to "+m[1])
		}
	}
	for _, s := range snippets(t, file) {
		all = append(all, s.language+" "+s.with+"\n"+pageComment.ReplaceAllString(s.text, ""))
	}
	return all
}

func TestReadmeTwins(t *testing.T) {
	english, portuguese := shape(t, "README.md"), shape(t, "README.pt-BR.md")
	for _, all := range [][]string{english, portuguese} {
		i := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, "to README") })
		require.GreaterOrEqual(t, i, 0, "no link to the twin")
		all[i] = "to the twin"
	}
	assert.Equal(t, english, portuguese)
}

// The commands of the README exist, and the README names every example.
func TestReadmeCommands(t *testing.T) {
	for _, file := range []string{"README.md", "README.pt-BR.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		examples := runExample.FindAllStringSubmatch(string(text), -1)
		assert.Greater(t, len(examples), 5)
		for _, m := range examples {
			assert.FileExists(t, filepath.Join(m[1], "main.go"), "%s in %s", m[0], file)
		}
		tests := runTests.FindAllStringSubmatch(string(text), -1)
		assert.NotEmpty(t, tests)
		for _, m := range tests {
			names := map[string]bool{}
			declared(t, m[2], true, func(_, name string, _ ...*ast.CommentGroup) { names[name] = true })
			for name := range strings.SplitSeq(m[1], "|") {
				assert.True(t, names[name], "%s in %s", m[0], file)
			}
		}
		pages, err := filepath.Glob("examples/*/README.md")
		require.NoError(t, err)
		require.NotEmpty(t, pages)
		for _, page := range pages {
			assert.Contains(t, string(text), "("+page+")", "a row of the examples in %s", file)
		}
	}
}
