//go:build !race

// Package race reports the memory accesses of raw system calls to the race detector, which cannot observe
// them. Any goroutine may call it. Without the race detector the functions do nothing.
package race

// Enabled is true in a program built with -race.
const Enabled = false

// Wrote reports that the calling goroutine has written to p.
func Wrote([]byte) {}

// Read reports that the calling goroutine reads p.
func Read([]byte) {}
