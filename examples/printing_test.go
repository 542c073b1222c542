package examples_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// called returns the package and the function of a call such as fmt.Println, and empty strings for any other call.
func called(call *ast.CallExpr) (pkg, name string) {
	if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
		if x, ok := selector.X.(*ast.Ident); ok {
			return x.Name, selector.Sel.Name
		}
	}
	return "", ""
}

// isPrintable reports whether an argument of a print function is known to be safe: a literal, or a result of printable.
func isPrintable(arg ast.Expr) bool {
	switch arg := arg.(type) {
	case *ast.BasicLit:
		return true
	case *ast.CallExpr:
		pkg, _ := called(arg)
		return pkg == "printable"
	}
	return false
}

// Every program prints through package printable; this test finds new lines of output that do not. What fmt prints to the
// standard outputs is a literal or was escaped, and the log is written through printable.Records.
func TestProgramsPrintThroughPrintable(t *testing.T) {
	mains, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, mains)
	for _, main := range mains {
		logs, guarded := false, false
		sources, err := filepath.Glob(filepath.Join(filepath.Dir(main), "*.go"))
		require.NoError(t, err)
		for _, source := range sources {
			if strings.HasSuffix(source, "_test.go") {
				continue
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, source, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				if builtin, ok := n.(*ast.Ident); ok && builtin.Name == "println" {
					assert.Fail(t, "println", "%s", files.Position(n.Pos()))
				}
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				args := call.Args
				switch pkg, name := called(call); {
				case pkg == "log" && name == "SetOutput":
					inner, ok := args[0].(*ast.CallExpr)
					require.True(t, ok)
					to, with := called(inner)
					guarded = to == "printable" && with == "Records"
					return true
				case pkg == "log":
					logs = true
					return true
				case pkg == "fmt" && strings.HasPrefix(name, "Print"):
				case pkg == "fmt" && strings.HasPrefix(name, "Fprint") && isStandardOutput(args[0]):
					args = args[1:]
				default:
					return true
				}
				unsafe := slices.ContainsFunc(args, func(arg ast.Expr) bool { return !isPrintable(arg) })
				assert.False(t, unsafe, "%s may print external input: use printable", files.Position(n.Pos()))
				return true
			})
		}
		assert.True(t, guarded || !logs, "%s: log.SetOutput(printable.Records(os.Stderr)) is missing", main)
	}
}

func isStandardOutput(e ast.Expr) bool {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == "os" && (selector.Sel.Name == "Stdout" || selector.Sel.Name == "Stderr")
}
