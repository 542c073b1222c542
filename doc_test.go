package evnet_test

import (
	"go/ast"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Everything a user can see says what it is: types, functions, methods, values and fields.
func TestEverythingPublicIsDocumented(t *testing.T) {
	seen := 0
	for _, dir := range []string{".", "dgram", "watch"} {
		declared(t, dir, false, func(file, name string, docs ...*ast.CommentGroup) {
			if !exported(name) {
				return
			}
			seen++
			for _, d := range docs {
				if d.Text() != "" {
					return
				}
			}
			assert.Fail(t, "undocumented", "%s in %s", name, file)
		})
	}
	assert.Greater(t, seen, 150)
}
