package docs_test

import (
	"encoding/xml"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README's picture shows the session on the page of the trace example, which that program's test plays.
func TestReadmePicture(t *testing.T) {
	picture, err := os.ReadFile("docs/running.svg")
	require.NoError(t, err)
	var svg struct {
		Texts []struct {
			Inner string `xml:",innerxml"`
		} `xml:"text"`
	}
	require.NoError(t, xml.Unmarshal(picture, &svg))
	tag := regexp.MustCompile(`<[^>]*>`)
	var shown []string
	for _, text := range svg.Texts {
		shown = append(shown, tag.ReplaceAllString(text.Inner, ""))
	}
	for _, s := range snippets(t, "examples/trace/README.md") {
		if session := strings.TrimSuffix(s.text, "\n"); strings.HasPrefix(session, "$ go run ./examples/trace\n") {
			assert.Equal(t, strings.Split(session, "\n"), shown)
			return
		}
	}
	assert.Fail(t, "the page has no such session")
}
