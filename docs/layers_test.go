package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const modulePath = "evnet"

// layerOf is one row of the table of layers in docs/design.md. Names are folder names; the root's name is modulePath.
type layerOf struct {
	layer   int
	group   bool // all packages of the folder
	imports []string
}

// section returns the text of a page from a heading to the next one of the same level.
func section(t testing.TB, file, name string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n## "+name+"\n")
	require.True(t, found, "%s has no section %q", file, name)
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

func readLayers(t testing.TB) map[string]layerOf {
	layers := map[string]layerOf{}
	for _, row := range rowsOf(section(t, "docs/design.md", "The layers")) {
		number, err := strconv.Atoi(row[0])
		if err != nil {
			continue // a row of another table
		}
		names := backticked.FindAllStringSubmatch(row[1], -1)
		require.Len(t, names, 1, "%q", row)
		name, group := strings.CutSuffix(names[0][1], "/...")
		l := layerOf{layer: number, group: group}
		for _, m := range backticked.FindAllStringSubmatch(row[2], -1) {
			l.imports = append(l.imports, m[1])
		}
		require.NotContains(t, layers, name, "two rows")
		layers[name] = l
	}
	require.Greater(t, len(layers), 15)
	return layers
}

// rowOf returns the row of a package, "" if there is none.
func rowOf(layers map[string]layerOf, name string) string {
	if _, ok := layers[name]; ok {
		return name
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if layers[dir].group {
			return dir
		}
	}
	return ""
}

// importsOf returns the packages of the module that each package imports, for all operating systems together, and
// separately those that its tests import. It skips other modules below the root.
func importsOf(t testing.TB) (code, tests map[string]map[string]bool) {
	code, tests = map[string]map[string]bool{}, map[string]map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, noModule := os.Stat(filepath.Join(file, "go.mod"))
			if file != "." && (noModule == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(filepath.Dir(file))
		if name == "." {
			name = modulePath
		}
		if code[name] == nil {
			code[name], tests[name] = map[string]bool{}, map[string]bool{}
		}
		to := code[name]
		if strings.HasSuffix(file, "_test.go") {
			to = tests[name]
		}
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if below, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
				to[below] = true
			} else if imported == modulePath {
				to[modulePath] = true
			}
		}
		return nil
	})
	require.NoError(t, err)
	return code, tests
}

func TestLayers_ImportsPointDown(t *testing.T) {
	layers := readLayers(t)
	code, tests := importsOf(t)
	imports := map[string]map[string]bool{} // by row of the table
	for _, name := range slices.Sorted(maps.Keys(code)) {
		row := rowOf(layers, name)
		if !assert.NotEmpty(t, row, "docs/design.md has no row for package %s", name) {
			continue
		}
		if imports[row] == nil {
			imports[row] = map[string]bool{}
		}
		for to := range code[name] {
			below := rowOf(layers, to)
			if below == row && layers[row].group {
				continue
			}
			imports[row][below] = true
			assert.Less(t, layers[row].layer, layers[below].layer, "%s imports %s", name, to)
		}
	}
	for name, row := range layers {
		assert.ElementsMatch(t, row.imports, slices.Collect(maps.Keys(imports[name])), "the imports of %s in docs/design.md", name)
	}
	for name := range code {
		if strings.HasPrefix(name, "internal/") {
			assert.NotContains(t, code[name], modulePath, "%s imports the root", name)
			assert.NotContains(t, tests[name], modulePath, "the tests of %s import the root", name)
		}
		if to := "internal/evtest"; !strings.HasPrefix(name, "conformance/") {
			assert.NotContains(t, code[name], to, "%s, which is not for tests, imports %s", name, to)
		}
	}
}

var linkTarget = regexp.MustCompile(`\]\(([^)]+)\)`)

// TestPaths_FunctionsExist checks the tables of the six paths: each row names functions and their file.
func TestPaths_FunctionsExist(t *testing.T) {
	text := section(t, "docs/design.md", "Six paths")
	assert.Equal(t, 6, strings.Count(text, "\n### "), "paths")
	functions := map[string]map[string]bool{} // by file
	functionsOf := func(file string) map[string]bool {
		if functions[file] == nil {
			functions[file] = map[string]bool{}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			for _, decl := range tree.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok {
					functions[file][receiver(fn)+fn.Name.Name] = true
				}
			}
		}
		return functions[file]
	}
	count := 0
	for _, row := range rowsOf(text) {
		require.Len(t, row, 4, "%q", row)
		link := linkTarget.FindStringSubmatch(row[1])
		require.NotNil(t, link, "no file in %q", row)
		file := filepath.Join("docs", link[1])
		qualifier := ""
		if dir := filepath.Dir(file); dir != "." {
			qualifier = filepath.Base(dir) + "."
		}
		names := backticked.FindAllStringSubmatch(row[0], -1)
		require.NotEmpty(t, names, "%q", row)
		for _, m := range names {
			count++
			name, qualified := strings.CutPrefix(m[1], qualifier)
			assert.True(t, qualified, "%s is not in package %s", m[1], qualifier)
			assert.True(t, functionsOf(file)[name], "%s has no %s", file, m[1])
		}
	}
	assert.Greater(t, count, 120)
}

var identifier = regexp.MustCompile(`^(?:\w+\.)?(\w+)$`)

// TestPaths_ProseNamesExist checks the names between the tables and in the section on locks.
func TestPaths_ProseNamesExist(t *testing.T) {
	declaredNames := map[string]bool{}
	note := func(_, name string, _ ...*ast.CommentGroup) {
		declaredNames[name[strings.LastIndex(name, ".")+1:]] = true
	}
	packages, _ := importsOf(t)
	for name := range packages {
		if name == modulePath {
			name = "."
		}
		declared(t, name, false, note)
	}
	for name := range testsOf(t) {
		declaredNames[name] = true
	}
	count := 0
	for _, name := range []string{"Locks", "Six paths", "Extension points"} {
		for _, span := range backticked.FindAllStringSubmatch(section(t, "docs/design.md", name), -1) {
			m := identifier.FindStringSubmatch(span[1])
			if m == nil || strings.HasPrefix(span[1], "net.") || strings.HasPrefix(span[1], "syscall.") {
				continue
			}
			count++
			assert.True(t, declaredNames[m[1]], "%s, in %q", span[1], name)
		}
	}
	assert.Greater(t, count, 150)
}
