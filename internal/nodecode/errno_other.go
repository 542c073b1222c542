//go:build !windows

package nodecode

// platformCode returns "": the POSIX names in standard are the kernel's own numbers.
func platformCode(error) string { return "" }
