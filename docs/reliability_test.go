package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testName = regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`)

// testsOf maps the names of the module's tests and fuzz targets to their directories.
func testsOf(t testing.TB) map[string]string {
	names := map[string]string{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "bench") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && testName.MatchString(fn.Name.Name) {
				names[fn.Name.Name] = filepath.Dir(path)
			}
		}
		return nil
	})
	require.NoError(t, err)
	return names
}

// Each promise of docs/reliability.md names tests that exist, and the page names each test of package trust.
func TestReliabilityNamesItsTests(t *testing.T) {
	tests := testsOf(t)
	text, err := os.ReadFile("docs/reliability.md")
	require.NoError(t, err)
	named := map[string]bool{}
	for _, name := range testName.FindAllString(string(text), -1) {
		named[name] = true
		assert.NotEmpty(t, tests[name], "%s does not exist", name)
	}
	for name, dir := range tests {
		if dir == "trust" && name != "TestMain" {
			assert.True(t, named[name], "docs/reliability.md does not name %s", name)
		}
	}
	for _, row := range rows(t, "docs/reliability.md") {
		assert.Regexp(t, testName, strings.Join(row, " "), "the promise does not name a test")
	}
}
