//go:build !windows

package evnet

// Everywhere else the POSIX names in codes are the system's own numbers.
func platformCode(error) string { return "" }
