//go:build race

// Package race reports the memory accesses of raw system calls to the race detector, which cannot observe
// them. Any goroutine may call it. Without the race detector the functions do nothing.
package race

import (
	"runtime"
	"unsafe"
)

// Enabled is true in a program built with -race.
const Enabled = true

// Wrote reports that the calling goroutine has written to p.
func Wrote(p []byte) {
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&p[0]), len(p))
	}
}

// Read reports that the calling goroutine reads p.
func Read(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&p[0]), len(p))
	}
}
