package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests in this file keep phrases out of everything that people read: pages, comments, strings of the programs
// (flag help, log records, error texts) and names of tests.

// avoided lists the phrases: a pattern, what to write instead, an example that the pattern must find, and, if there
// are any, correct uses of the same words. Patterns ignore case and match whole words. Add a line to extend the list.
var avoided = []struct{ pattern, instead, finds, except string }{
	{`tell|tells|told|telling|untold`, "emit (an event), report (an error, a value), call (a callback), distinguish", "the loop tells the caller", ""},
	{`hear|hears|heard|unheard|hearing`, "handle; no Error listener", "an unheard error", ""},
	{`ask(s|ed|ing)? for`, "request", "it asks for more", ""},
	{`in vain`, "no progress; spurious", "tried in vain", ""},
	{`gone`, "removed, closed, detached, returned", "the file is gone", ""},
	{`(has|have|had) (come|left)`, "arrived, received, closed, disconnected, sent", "what has come", ""},
	{`go(es|ing)? on|went on`, "continue", "the server goes on", ""},
	{`for nothing`, "spurious wakeup; unnecessarily", "it waits for nothing", ""},
	{`(stand|stands|stood|standing) still`, "idle; stall", "a loop that stands still", ""},
	{`(get|gets|got) round to`, "process", "when it gets round to it", ""},
	{`mend|mends|mended`, "fix", "this mends the leak", ""},
	{`found wanting`, "bug; failure", "it was found wanting", ""},
	{`who (do|does|did|is|has|have|never|reads?|writes?|sends?|says?|falls?|connects?|comes?|asks?|wants?|uses?|waits?)`,
		"a peer that …, a client that …", "one who does not read", "people who|programmers who|user who"},
	{`whoever|somebody|nobody|everybody|anybody`, "the caller; the user; a peer; no listener", "somebody else", ""},
	{`what (came|has come|comes|is there|was there|is held|is read|was read)`, "received data; buffered data; pending bytes", "what came before", ""},
	{`the system`, "the kernel; the operating system", "the system does not take it", `the system(('s)? (root|call|calls|certificate|clock|resolver|limit)|d )`},
	{`lend|lends|lent|(give|gives|gave|given|giving) (it |them )?(back|away)`, "borrowed; valid until the callback returns; return to the pool", "a slice that is lent", ""},
	{`in its turn`, "on the next turn of the loop", "each in its turn", ""},
	{`soon`, "asynchronously; on the next turn of the loop", "it runs soon", "as soon as"},
	{`at once`, "immediately; at the same time", "returns at once", ""},
	{`in time`, "before the deadline", "who does not answer in time", ""},
	{`by readiness|by goroutines|transport of goroutines`, "the epoll transport; the goroutine transport", "served by readiness", ""},
	{`strangers?|guests?|odd conns?|blames?|calms?|rouses?|heeds?`, "untrusted client; external handle; non-conforming conn; attribute; back off; wake; check", "limits against strangers", ""},
	{`last figures`, "latest results", "the last figures", ""},
	{`(is|are|was|were) no`, `is not a …; does not have …`, "a conn that is no socket", `there (is|are|was|were) no|(is|are|was|were) no (longer|more|less|fewer|later|earlier|different|larger|smaller)`},
	{`that of|those of`, "repeat the noun, or use 's", "its error is that of the peer", "that of course"},
	{`, for (it|they|the|a|an|there|its|each|that|no|we) (\S+ )?(is|are|was|has|have|would|will|can|cannot|may|must|does|do|takes?|needs?)`,
		"because", "not closed, for it is shared", ""},
	{`but for`, "except", "all but for one", ""},
	{`for ever`, "forever", "it waits for ever", ""},
	{`time-outs?`, "timeout", "an idle time-out", ""},
	{`the other way about`, "conversely", "or the other way about", ""},
}

// passage is a text that people read: a paragraph, a comment, a string or the name of a test.
type passage struct {
	file string
	line int
	text string
}

func (p passage) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// portuguese lists the pages in the other language.
var portuguese = []string{"README.pt-BR.md", "docs/aula.md"}

// unchecked is this file, which has the phrases themselves.
const unchecked = "docs/words_test.go"

// pageBreak separates passages of a page: an empty line, an item, a heading, a row of a table.
var pageBreak = regexp.MustCompile(`^\s*($|[-*] |\d+\. |#|\||<)`)

// pagePassages returns the paragraphs of a page, without its code.
func pagePassages(t testing.TB, file string) (all []passage) {
	start := true
	for i, line := range prose(t, file) {
		blank := strings.TrimSpace(line) == ""
		if start = start || pageBreak.MatchString(line); start && !blank {
			all = append(all, passage{file, i + 1, ""})
			start = false
		}
		if !blank {
			all[len(all)-1].text += strings.TrimSpace(codeSpan.ReplaceAllString(line, "`code`")) + " "
		}
	}
	for _, s := range snippets(t, file) {
		for i, line := range strings.Split(s.text, "\n") {
			if _, comment, ok := strings.Cut(line, "// "); ok && s.language == "go" {
				all = append(all, passage{file, s.line + i, comment})
			}
		}
	}
	return all
}

var (
	testPrefix = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)[A-Z_]`)
	nameBreak  = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)
	directive  = regexp.MustCompile(`^//(go|line|nolint)\b`)
)

// sourcePassages returns the comments, the strings and the names of tests of a Go file.
func sourcePassages(t testing.TB, path string) (all []passage) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	add := func(at token.Pos, text string) {
		all = append(all, passage{path, set.Position(at).Line, text})
	}
	for _, group := range tree.Comments {
		if !directive.MatchString(group.List[0].Text) {
			add(group.Pos(), strings.Join(strings.Fields(group.Text()), " "))
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				text, err := strconv.Unquote(n.Value)
				require.NoError(t, err)
				add(n.Pos(), strings.Join(strings.Fields(text), " "))
			}
		case *ast.FuncDecl:
			if name := n.Name.Name; n.Recv == nil && testPrefix.MatchString(name) {
				add(n.Pos(), nameBreak.ReplaceAllString(strings.ReplaceAll(name, "_", " "), "$1$3 $2$4"))
			}
		}
		return true
	})
	return all
}

// remark matches a comment in a script, and the reason for a difference in the data of the traces.
var remark = regexp.MustCompile(`(?:^|\s)(?:#|//|because:)\s(.*)`)

// scriptPassages returns the comments of a file that is neither a page nor Go.
func scriptPassages(t testing.TB, path string) (all []passage) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for i, line := range strings.Split(string(text), "\n") {
		if m := remark.FindStringSubmatch(line); m != nil {
			all = append(all, passage{path, i + 1, m[1]})
		}
	}
	return all
}

// scripts lists the kinds of files that have comments for scriptPassages.
var scripts = []string{".c", ".js", ".py", ".s", ".txt"}

// passages returns what people read, of all modules.
func passages(t testing.TB) (all []passage) {
	for _, file := range markdownFiles(t) {
		if !slices.Contains(portuguese, filepath.ToSlash(file)) {
			all = append(all, pagePassages(t, file)...)
		}
	}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "fuzz"):
			return fs.SkipDir
		case slices.Contains(scripts, filepath.Ext(path)):
			all = append(all, scriptPassages(t, path)...)
		case filepath.Ext(path) == ".go" && filepath.ToSlash(path) != unchecked:
			all = append(all, sourcePassages(t, path)...)
		}
		return nil
	}))
	return slices.Concat(all, scriptPassages(t, "Makefile"), scriptPassages(t, ".ci/run"))
}

// finder compiles a pattern of whole words, in any case.
func finder(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|\b)(?:` + pattern + `)\b`)
}

func TestWords_PhrasesToAvoid(t *testing.T) {
	all := passages(t)
	assert.Greater(t, len(all), 5000)
	var patterns []string
	for _, a := range avoided {
		patterns = append(patterns, a.pattern)
	}
	anyOf := finder(strings.Join(patterns, "|")) // most passages have none, and one search is faster than many
	all = slices.DeleteFunc(all, func(p passage) bool { return !anyOf.MatchString(p.text) })
	for _, a := range avoided {
		find := finder(a.pattern)
		assert.True(t, find.MatchString(a.finds), "%q does not find %q", a.pattern, a.finds)
		var except *regexp.Regexp
		if a.except != "" {
			except = finder(a.except)
		}
		for _, p := range all {
			text := p.text
			if except != nil {
				text = except.ReplaceAllString(text, "·")
			}
			if found := find.FindString(text); found != "" {
				assert.Fail(t, "a phrase to avoid", "%v: %q: write %s\n%s", p, found, a.instead, p.text)
			}
		}
	}
}

// longest is the number of words of the longest sentence in a page. Plain English has about 25.
const longest = 30

var sentenceEnd = regexp.MustCompile(`[.!?:;](\s|$)|\||·`)

func TestWords_SentencesAreShort(t *testing.T) {
	for _, file := range markdownFiles(t) {
		for _, p := range pagePassages(t, file) {
			for _, sentence := range sentenceEnd.Split(p.text, -1) {
				if n := len(strings.Fields(sentence)); n > longest {
					assert.Fail(t, "a long sentence", "%v: %d words: split it\n%s", p, n, sentence)
				}
			}
		}
	}
}
