package evnet_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everything a user can see says what it is: types, functions, methods, values and fields.
func TestEverythingPublicIsDocumented(t *testing.T) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	seen := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ParseComments)
		require.NoError(t, err)
		check := func(name string, docs ...*ast.CommentGroup) {
			seen++
			for _, d := range docs {
				if d.Text() != "" {
					return
				}
			}
			assert.Fail(t, "undocumented", "%s in %s", name, e.Name())
		}
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Name.IsExported() && exportedReceiver(decl) {
					check(decl.Name.Name, decl.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							if name.IsExported() {
								check(name.Name, spec.Doc, spec.Comment, decl.Doc)
							}
						}
					case *ast.TypeSpec:
						if !spec.Name.IsExported() {
							continue
						}
						check(spec.Name.Name, spec.Doc, decl.Doc)
						if s, ok := spec.Type.(*ast.StructType); ok {
							for _, f := range s.Fields.List {
								for _, name := range f.Names {
									if name.IsExported() {
										check(spec.Name.Name+"."+name.Name, f.Doc, f.Comment)
									}
								}
							}
						}
					}
				}
			}
		}
	}
	assert.Greater(t, seen, 150)
}

func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}
