//go:build !linux

package examples_test

import "testing"

// fullListener is "" where no queue can be filled.
func fullListener(*testing.T) string { return "" }
