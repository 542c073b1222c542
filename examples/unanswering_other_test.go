//go:build !linux

package examples_test

import "testing"

func unansweringAddress(t *testing.T) string {
	t.Skip("operating systems handle a full queue of connections differently")
	return ""
}
