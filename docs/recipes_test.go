package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
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

// The pages docs/recipes*.md have one section for each program of examples/recipes, which it links to. Their blocks are
//
//	```go       lines of the program, in their order, without their common indentation. A line with "…" or "// …"
//	            stands for lines that the block omits.
//	```sh       commands, with what they print: programs and flags exist
//	```console  commands after "$ ", with what they print: programs and flags exist

const recipesDir = "examples/recipes"

// isRecipes reports whether the Go blocks of a page are lines of the recipes' programs.
func isRecipes(file string) bool {
	matched, _ := filepath.Match("docs/recipes*.md", filepath.ToSlash(file))
	return matched
}

// recipe is one section of a page.
type recipe struct {
	at, title string // at is the file and the line
	program   string // that it links to
	first     int    // the number of its first line
	last      int
}

var (
	recipeLink = regexp.MustCompile(`\]\(\.\./examples/recipes/([\w-]+)/?(?:main\.go)?\)`)
	recipeRun  = regexp.MustCompile(`\./examples/recipes/([\w-]+)([^|;&>\n]*)`)
	flagWord   = regexp.MustCompile(`(?:^|\s)-([a-z][\w-]*)`)
)

// recipesOf returns the sections of a page.
func recipesOf(t *testing.T, file string) (all []recipe) {
	lines := prose(t, file)
	for i, line := range lines {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			all = append(all, recipe{at: file + ":" + strconv.Itoa(i+1), title: title, first: i + 1, last: len(lines)})
			if n := len(all); n > 1 {
				all[n-2].last = i
			}
		}
	}
	for i := range all {
		r := &all[i]
		for _, line := range lines[r.first:r.last] {
			if m := recipeLink.FindStringSubmatch(line); m != nil && r.program == "" {
				r.program = m[1]
			}
		}
	}
	return all
}

func recipePages(t *testing.T) []string {
	files, err := filepath.Glob("docs/recipes*.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// Each program of examples/recipes has one section, which links to it, and a test.
func TestRecipes_HaveSectionsAndTests(t *testing.T) {
	sections := map[string]string{}
	for _, file := range recipePages(t) {
		for _, r := range recipesOf(t, file) {
			if !assert.NotEmpty(t, r.program, "%s: a section without a link to its program", r.at) {
				continue
			}
			assert.Empty(t, sections[r.program], "%s: another section is about %s too", r.at, r.program)
			sections[r.program] = r.at
		}
	}
	mains, err := filepath.Glob(recipesDir + "/*/main.go")
	require.NoError(t, err)
	var programs []string
	for _, main := range mains {
		programs = append(programs, filepath.Base(filepath.Dir(main)))
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(sections)), programs)
	for _, program := range programs {
		assert.FileExists(t, filepath.Join(recipesDir, strings.ReplaceAll(program, "-", "_")+"_test.go"))
	}
}

// The table of contents of docs/recipes.md has every section, in order.
func TestRecipes_TableOfContents(t *testing.T) {
	text := strings.Join(prose(t, "docs/recipes.md"), "\n")
	contents, _, found := strings.Cut(text, "\n## ")
	require.True(t, found)
	for _, r := range recipesOf(t, "docs/recipes.md") {
		before, after, found := strings.Cut(contents, "["+r.title+"](#")
		if assert.True(t, found, "%s: %q is not in the table of contents, or not in this place", r.at, r.title) {
			assert.NotContains(t, before, "](#", "%s: the table of contents has another order", r.at)
			_, contents, _ = strings.Cut(after, ")")
		}
	}
	assert.NotContains(t, contents, "](#")
}

// Each block of Go consists of lines of the program, in their order.
func TestRecipes_BlocksAreLinesOfThePrograms(t *testing.T) {
	for _, file := range recipePages(t) {
		for _, r := range recipesOf(t, file) {
			count := 0
			for _, s := range snippets(t, file) {
				if s.language != "go" || s.line <= r.first || s.line > r.last {
					continue
				}
				count++
				sources, err := filepath.Glob(filepath.Join(recipesDir, r.program, "*.go"))
				require.NoError(t, err)
				assert.True(t, slices.ContainsFunc(sources, func(source string) bool {
					text, err := os.ReadFile(source)
					require.NoError(t, err)
					return hasLines(string(text), s.text)
				}), "%s:%d: these are not lines of a file of %s, in their order", s.file, s.line, r.program)
			}
			assert.NotZero(t, count, "%s: no block of Go", r.at)
		}
	}
}

// hasLines reports whether the parts of a block occur in a text, one after the other.
func hasLines(text, block string) bool {
	rest := strings.Split(text, "\n")
	for _, part := range parts(block) {
		at := slices.IndexFunc(slices.Collect(positions(rest, len(part))), func(window []string) bool {
			return slices.Equal(trimIndent(window), trimIndent(part))
		})
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return true
}

// positions yields each sequence of n lines.
func positions(lines []string, n int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for i := 0; i+n <= len(lines); i++ {
			if !yield(lines[i : i+n]) {
				return
			}
		}
	}
}

// parts returns the lines of a block, separated at the lines with "…".
func parts(block string) (all [][]string) {
	var part []string
	for line := range strings.SplitSeq(strings.TrimSuffix(block, "\n"), "\n") {
		if trimmed := strings.TrimSpace(line); trimmed != "…" && trimmed != "// …" {
			part = append(part, line)
			continue
		}
		all, part = append(all, part), nil
	}
	return append(all, part)
}

// trimIndent removes the indentation that all lines but empty ones have.
func trimIndent(lines []string) []string {
	common := -1
	for _, line := range lines {
		if n := len(line) - len(strings.TrimLeft(line, "\t")); line != "" && (common < 0 || n < common) {
			common = n
		}
	}
	trimmed := slices.Clone(lines)
	for i, line := range trimmed {
		if line != "" {
			trimmed[i] = line[common:]
		}
	}
	return trimmed
}

// Commands in the pages and in the comments of the programs name programs and flags that exist.
func TestRecipes_CommandsExist(t *testing.T) {
	check := func(at, text string) (count int) {
		for _, m := range recipeRun.FindAllStringSubmatch(text, -1) {
			count++
			main := filepath.Join(recipesDir, m[1], "main.go")
			if !assert.FileExists(t, main, at) {
				continue
			}
			flags := flagsOf(t, main)
			for _, f := range flagWord.FindAllStringSubmatch(m[2], -1) {
				assert.Contains(t, flags, f[1], "%s: a flag of %s", at, m[1])
			}
		}
		return count
	}
	for _, file := range recipePages(t) {
		for _, r := range recipesOf(t, file) {
			count := 0
			for _, s := range snippets(t, file) {
				if s.language != "go" && s.line > r.first && s.line <= r.last {
					count += check(s.file+":"+strconv.Itoa(s.line), s.text)
				}
			}
			assert.NotZero(t, count, "%s: no command that runs the program", r.at)
		}
	}
	mains, err := filepath.Glob(recipesDir + "/*/main.go")
	require.NoError(t, err)
	for _, main := range mains {
		tree, err := parser.ParseFile(token.NewFileSet(), main, nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		assert.NotZero(t, check(main, tree.Doc.Text()), "%s: the comment has no command that runs the program", main)
	}
}

// flagsOf returns the flags that a program defines with package flag.
func flagsOf(t *testing.T, file string) (all []string) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.SelectorExpr); !ok || !isPackage(f.X, "flag") {
			return true
		}
		for _, arg := range call.Args[:min(2, len(call.Args))] { // the first, or the second after a pointer
			if name, ok := arg.(*ast.BasicLit); ok && name.Kind == token.STRING {
				text, _ := strconv.Unquote(name.Value)
				all = append(all, text)
				break
			}
		}
		return true
	})
	return all
}

func isPackage(x ast.Expr, name string) bool {
	ident, ok := x.(*ast.Ident)
	return ok && ident.Name == name
}

func TestHasLines(t *testing.T) {
	text := "func f() {\n\tif x {\n\t\ty()\n\t}\n\n\tz()\n}\n"
	for block, want := range map[string]bool{
		"if x {\n\ty()\n}\n":           true,
		"if x {\n\ty()\n}\n\nz()\n":    true,
		"if x {\n\ty()\n}\n…\nz()\n":   true,
		"func f() {\n\t// …\n\tz()\n}": true,
		"if x {\ny()\n}\n":             false,
		"if x {\n\ty()\n}\nz()\n":      false,
		"z()\n…\ny()\n":                false,
		"y() // here\n":                false,
	} {
		assert.Equal(t, want, hasLines(text, block), "%q", block)
	}
}
