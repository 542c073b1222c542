package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"evnet/internal/evtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every Go block in the pages compiles and passes go vet, so that readers can copy it. A block is a complete
// program that begins with its package clause, or declarations, or statements. A comment before the block lists
// the names that statements use and do not declare:
//
//	<!-- with: c *evnet.Socket, ctx context.Context -->
//
// These names become the parameters of the function around the statements. Names that the statements declare count as
// used. Imports are derived from the names. Declarations with tests are run.

// snippetImports are the packages that snippets may use without an import, by name.
var snippetImports = map[string]string{
	"bufio": "bufio", "bytes": "bytes", "binary": "encoding/binary", "context": "context", "dgram": "evnet/dgram",
	"errors": "errors", "evnet": "evnet", "fmt": "fmt", "http": "net/http", "io": "io", "log": "log", "net": "net",
	"netip": "net/netip", "filepath": "path/filepath",
	"os": "os", "runtime": "runtime", "signal": "os/signal", "slog": "log/slog",
	"strings": "strings", "sync": "sync", "synctest": "testing/synctest", "syscall": "syscall",
	"expvar": "expvar", "watch": "evnet/watch",
	"testing": "testing", "time": "time", "tls": "crypto/tls", "x509": "crypto/x509",
}

// snippet is one block of code of a page.
type snippet struct {
	file     string
	line     int // the number of its first line
	language string
	with     string // the names from its comment
	text     string
}

var (
	fenceLine = regexp.MustCompile("^\\s*(```+|~~~+)\\s*([A-Za-z]*)")
	withLine  = regexp.MustCompile(`^<!--\s*with:\s*(.*?)\s*-->$`)
)

// snippets returns the code blocks of a page, in any language.
func snippets(t testing.TB, file string) []snippet {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var all []snippet
	var fence, before string
	for i, line := range strings.Split(string(text), "\n") {
		m := fenceLine.FindStringSubmatch(line)
		switch {
		case fence != "" && m != nil && m[1] == fence && m[2] == "":
			fence, before = "", ""
		case fence != "":
			all[len(all)-1].text += line + "\n"
		case m != nil:
			fence = m[1]
			s := snippet{file: file, line: i + 2, language: m[2]}
			if with := withLine.FindStringSubmatch(before); with != nil {
				s.with = with[1]
			}
			all = append(all, s)
		case strings.TrimSpace(line) != "":
			before = line
		}
	}
	require.Empty(t, fence, "%s: a block without an end", file)
	return all
}

var packageClause = regexp.MustCompile(`(?m)\A(\s*//.*\n)*\s*package \w+$`)

// source returns the snippet as a file of a separate package. Errors have the line numbers of the page.
func (s snippet) source(t *testing.T) []byte {
	at := fmt.Sprintf("\n//line %s:%d\n", filepath.Join(root(t), s.file), s.line)
	if packageClause.MatchString(s.text) {
		return []byte(at + s.text)
	}
	const head = "package snippet\n"
	body := ""
	if _, err := parseGo(head + s.text); err == nil {
		require.Empty(t, s.with, "%s:%d: declarations must declare all names that they use", s.file, s.line)
		body = at + s.text
	} else {
		body = "func snippet(" + s.with + ") {" + at + s.text
		tree, err := parseGo(head + body + "}")
		require.NoError(t, err, "%s:%d", s.file, s.line)
		body += "//line unused:1\n" + uses(tree) + "}\n"
	}
	tree, err := parseGo(head + body)
	require.NoError(t, err, "%s:%d", s.file, s.line)
	imports := map[string]bool{}
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && snippetImports[x.Name] != "" {
				imports["import "+strconv.Quote(snippetImports[x.Name])+"\n"] = true
			}
		}
		return true
	})
	return []byte(head + strings.Join(slices.Sorted(maps.Keys(imports)), "") + body)
}

func parseGo(text string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "", text, parser.SkipObjectResolution)
}

// uses returns statements that use the top-level declarations of a file's function.
func uses(tree *ast.File) string {
	text := ""
	use := func(name *ast.Ident) {
		if name.Name != "_" {
			text += "_ = &" + name.Name + "\n"
		}
	}
	for _, statement := range tree.Decls[0].(*ast.FuncDecl).Body.List {
		switch statement := statement.(type) {
		case *ast.AssignStmt:
			if statement.Tok == token.DEFINE {
				for _, name := range statement.Lhs {
					use(name.(*ast.Ident))
				}
			}
		case *ast.DeclStmt:
			for _, spec := range statement.Decl.(*ast.GenDecl).Specs {
				if vars, ok := spec.(*ast.ValueSpec); ok {
					for _, name := range vars.Names {
						use(name)
					}
				}
			}
		}
	}
	return text
}

// goCommand runs the go command in a module that can use this module, and no external one.
func goCommand(t testing.TB, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), evtest.Patience)
	defer cancel()
	run := exec.CommandContext(ctx, "go", args...)
	run.Dir = dir
	run.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOTOOLCHAIN=local", "GOWORK=off")
	printed, err := run.CombinedOutput()
	assert.NoError(t, err, "go %s\n%s", strings.Join(args, " "), printed)
}

func TestSnippetsOfGoCompile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "go.mod", fmt.Sprintf(
		"module snippets\n\ngo 1.25\n\nrequire evnet v0.0.0\n\nreplace evnet => %q\n", root(t)))
	count := 0
	var tests []string
	for _, file := range markdownFiles(t) {
		if filepath.Dir(filepath.Dir(file)) == "examples" {
			continue // the tests of the programs check these blocks
		}
		if isRecipes(file) {
			continue // so are theirs: see recipes_test.go
		}
		for _, s := range snippets(t, file) {
			if s.language != "go" {
				assert.Empty(t, s.with, "%s:%d: names for a block that is not Go", file, s.line)
				continue
			}
			count++
			source := s.source(t)
			name := fmt.Sprintf("s%03d", count)
			require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
			if bytes.Contains(source, []byte("func Test")) {
				tests = append(tests, "./"+name)
				writeFile(t, filepath.Join(dir, name), "snippet_test.go", string(source))
				continue
			}
			writeFile(t, filepath.Join(dir, name), "snippet.go", string(source))
		}
	}
	require.Greater(t, count, 25)
	goCommand(t, dir, "vet", "./...")
	require.NotEmpty(t, tests)
	goCommand(t, dir, append([]string{"test", "-count=1"}, tests...)...)
}

// Node accepts the JavaScript blocks.
func TestSnippetsOfNode(t *testing.T) {
	count := 0
	for _, file := range markdownFiles(t) {
		for _, s := range snippets(t, file) {
			if s.language != "js" {
				assert.NotContains(t, []string{"javascript", "mjs", "golang", "Go"}, s.language, "%s:%d", file, s.line)
				continue
			}
			count++
			dir := t.TempDir()
			writeFile(t, dir, "snippet.js", s.text)
			printed, err := evtest.Command(t, "node", "--check", filepath.Join(dir, "snippet.js")).CombinedOutput()
			assert.NoError(t, err, "%s:%d\n%s", file, s.line, printed)
		}
	}
	require.NotZero(t, count)
}
