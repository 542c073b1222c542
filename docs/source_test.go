package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// declared calls visit for each declaration of a directory's test files or other files: Name, Type.Method and
// Type.Field, with the comments that may document it.
func declared(t testing.TB, dir string, tests bool, visit func(file, name string, docs ...*ast.CommentGroup)) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") != tests {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range tree.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				visit(file, receiver(decl)+decl.Name.Name, decl.Doc)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							visit(file, name.Name, spec.Doc, spec.Comment, decl.Doc)
						}
					case *ast.TypeSpec:
						visit(file, spec.Name.Name, spec.Doc, decl.Doc)
						if s, ok := spec.Type.(*ast.StructType); ok {
							for _, field := range s.Fields.List {
								for _, name := range field.Names {
									visit(file, spec.Name.Name+"."+name.Name, field.Doc, field.Comment)
								}
							}
						}
					}
				}
			}
		}
	}
}

// receiver returns the receiver type of a method with a dot, and "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	return typ.(*ast.Ident).Name + "."
}

// exported reports whether every part of a name is exported.
func exported(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if !ast.IsExported(part) {
			return false
		}
	}
	return true
}
