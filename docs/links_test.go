package docs_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// markdownFiles returns the pages of the repository, including the pages of its other modules.
func markdownFiles(t testing.TB) []string {
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			files = append(files, path)
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, files, "README.md")
	return files
}

var (
	codeSpan    = regexp.MustCompile("`+[^`]*`+")
	inlineLink  = regexp.MustCompile(`\]\(\s*<?([^)\s>]*)>?(?:\s+"[^"]*")?\s*\)`)
	definedLink = regexp.MustCompile(`^\s*\[[^\]]+\]:\s*<?([^\s>]+)`)
	htmlLink    = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]*)"`)
	htmlAnchor  = regexp.MustCompile(`\b(?:id|name)="([^"]*)"`)
	heading     = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	linkText    = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// prose returns the lines of a page, with the lines of code blocks empty.
func prose(t testing.TB, file string) []string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	fence := ""
	for i, line := range lines {
		m := fenceLine.FindStringSubmatch(line)
		switch {
		case fence == "" && m != nil:
			fence = m[1]
		case fence != "" && m != nil && m[1] == fence && m[2] == "":
			fence = ""
		case fence == "":
			continue
		}
		lines[i] = ""
	}
	return lines
}

// anchors returns the valid anchors of links into a page: the anchors that the usual hosts create for its headings, and
// explicit ones.
func anchors(t testing.TB, file string) map[string]bool {
	names := map[string]bool{}
	seen := map[string]int{}
	for _, line := range prose(t, file) {
		for _, m := range htmlAnchor.FindAllStringSubmatch(line, -1) {
			names[m[1]] = true
		}
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkText.ReplaceAllString(m[1], "$1"))
		if n := seen[slug]; n > 0 {
			names[fmt.Sprintf("%s-%d", slug, n)] = true
		}
		seen[slug]++
		names[slug] = true
	}
	return names
}

// Each link to a page, file or directory of the repository has an existing target, including its anchor.
func TestLinksHaveTargets(t *testing.T) {
	count := 0
	for _, file := range markdownFiles(t) {
		for i, line := range prose(t, file) {
			line = codeSpan.ReplaceAllString(line, "")
			for _, pattern := range []*regexp.Regexp{inlineLink, definedLink, htmlLink} {
				for _, m := range pattern.FindAllStringSubmatch(line, -1) {
					at := fmt.Sprintf("%s:%d: %q", file, i+1, m[1])
					to, err := url.Parse(m[1])
					if !assert.NoError(t, err, at) || to.Scheme != "" {
						continue
					}
					count++
					target := file
					if to.Path != "" {
						target = filepath.Join(filepath.Dir(file), filepath.FromSlash(to.Path))
					}
					if !assert.False(t, strings.HasPrefix(to.Path, "/"), "%s begins at the root", at) ||
						!assert.True(t, filepath.IsLocal(target), "%s is outside the repository", at) {
						continue
					}
					if _, err := os.Stat(target); !assert.NoError(t, err, at) || to.Fragment == "" {
						continue
					}
					if assert.Equal(t, ".md", filepath.Ext(target), "%s: an anchor of a file that is not a page", at) {
						assert.True(t, anchors(t, target)[to.Fragment], "%s: there is no such heading", at)
					}
				}
			}
		}
	}
	assert.Greater(t, count, 50)
}
